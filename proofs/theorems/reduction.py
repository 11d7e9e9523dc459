"""From all instances to pairs: why a statement about every pair is a statement about any number of instances.

A rule whose key for an instance reads nothing of the others (no aggregates, no filter) takes the first instance with
the least key. That is the one which no other instance, compared with it alone, is taken before.
"""

from __future__ import annotations

from typing import Any

import z3

from proofs.ops import Z3
from proofs.theorem import Theorem, theorem
from scheduler.policies.reading import chosen

#: Instances of the bounded check.
COUNT = 6


def taken_in_a_pair(key: Any, other: Any, comes_first: Any) -> Any:
    """The shipped choice between two instances, by their keys and their order in the list."""
    first = chosen(Z3, [(key,), (other,)], [True, True], 0)
    second = chosen(Z3, [(other,), (key,)], [True, True], 1)
    return z3.If(comes_first, first, second)


@theorem
def the_first_least_of_any_number_is_taken_in_every_pair() -> Theorem:
    """For any number N of instances: i is the first with the least key iff it is taken in the pair with each other one.

    Claim: choice_is_pairwise.
    """
    key = z3.Function("key", z3.IntSort(), z3.RealSort())
    count, i, j = z3.Ints("N i j")
    is_another = z3.And(j >= 0, j < count, j != i)
    first_least = z3.ForAll([j], z3.Implies(is_another, z3.And(key(i) <= key(j), z3.Implies(j < i, key(i) < key(j)))))
    ignoring_order = z3.ForAll([j], z3.Implies(is_another, key(i) <= key(j)))
    in_every_pair = z3.ForAll([j], z3.Implies(is_another, taken_in_a_pair(key(i), key(j), i < j)))
    in_the_last_pair = z3.Implies(count - 1 != i, taken_in_a_pair(key(i), key(count - 1), i < count - 1))
    return Theorem(
        domain=(i >= 0, i < count),
        claim=first_least == in_every_pair,
        faults={
            "ties do not count": ignoring_order == in_every_pair,
            "one pair is enough": first_least == in_the_last_pair,
        },
    )


@theorem
def the_unrolled_choice_is_made_pair_by_pair() -> Theorem:
    """The shipped condition of a choice among N instances is the conjunction of its conditions in the pairs.

    Claim: unrolled_choice_is_pairwise.
    """
    keys = [(z3.Real(f"key_{index}"),) for index in range(COUNT)]
    everyone = [True] * COUNT
    claims, faults = [], []
    for index in range(COUNT):
        among_all = chosen(Z3, keys, everyone, index)
        pairs = [
            taken_in_a_pair(keys[index][0], keys[other][0], index < other) for other in range(COUNT) if other != index
        ]
        claims.append(among_all == z3.And(pairs))
        faults.append(among_all == z3.And(pairs[1:]))
    return Theorem(claim=z3.And(claims), faults={"one pair left out": z3.And(faults)}, bound=f"up to {COUNT} instances")
