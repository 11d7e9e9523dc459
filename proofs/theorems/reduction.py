"""From all instances to pairs: why a statement about every pair is a statement about any number of instances."""

from __future__ import annotations

import z3

from proofs.ops import Z3
from proofs.theorem import Theorem, theorem
from scheduler.policies.reading import chosen

#: Instances of the bounded check.
COUNT = 6


@theorem
def a_choice_without_filter_is_made_pair_by_pair() -> Theorem:
    """The shipped choice among N instances is the conjunction of its choices in the pairs with each other instance.

    ``chosen`` is, by its definition, a conjunction over the other instances of a condition on the two keys and the
    order of the two indices. Here the solver confirms it of the shipped formula, for keys of any values. The general
    step is the form of the formula: with one more instance it gains one more conjunct about one more pair.

    Claim: choice_is_pairwise.
    """
    keys = [(z3.Real(f"key_{index}"),) for index in range(COUNT)]
    everyone = [True] * COUNT
    claims, faults = [], []
    for index in range(COUNT):
        among_all = chosen(Z3, keys, everyone, index)
        pairs = [
            chosen(Z3, [keys[min(index, other)], keys[max(index, other)]], [True, True], int(other < index))
            for other in range(COUNT)
            if other != index
        ]
        claims.append(among_all == z3.And(pairs))
        faults.append(among_all == z3.And(pairs[1:]))
    return Theorem(claim=z3.And(claims), faults={"one pair left out": z3.And(faults)}, bound=f"up to {COUNT} instances")
