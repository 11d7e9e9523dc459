"""Product against line, pair by pair: the weight of a pair, and the line on which the product's choice is least.

Every rule here takes a least key with ties by index, so the choice among N instances is the one that no other
instance precedes: a statement about all pairs is a statement about all N (see ``reduction.py``).
"""

from __future__ import annotations

from typing import Any

import z3

from proofs.cluster import chooses, plain, scores
from proofs.ops import Z3
from proofs.terms import number
from proofs.theorem import Theorem, theorem
from scheduler import formulas
from scheduler.indicators import Indicators
from scheduler.policies.catalogue import policy
from scheduler.policies.reading import chosen


def line_scores(instances: list[Indicators], rate: Any) -> list[Any]:
    """The line's score of every instance at a weight; the shipped rule ``linear`` is this line (a theorem)."""
    return [formulas.line(x.p_token, x.batch_size, rate) for x in instances]


def product_scores(instances: list[Indicators]) -> list[Any]:
    """The scores of the shipped product."""
    return scores(policy("lmetric"), instances)


def twins(a: Indicators, b: Indicators) -> Any:
    """Both indicators are equal: no rule on these two can tell the instances apart."""
    return z3.And(a.p_token == b.p_token, a.batch_size == b.batch_size)


def at(name: str, tokens: int, batch: int) -> tuple[Indicators, Any]:
    """An instance with these indicators, and the condition that says so."""
    (x,) = plain(name)
    return x, z3.And(x.p_token == number(tokens), x.batch_size == number(batch))


@theorem
def product_is_the_line_at_the_ratio_of_means() -> Theorem:
    """In each pair the product is the line whose weight is the pair's own ratio of means.

    Claim: pairwise_exchange_rate.
    """
    i, j = plain("i", "j")
    rate = formulas.pairwise_rate(i.p_token, i.batch_size, j.p_token, j.batch_size)
    product_i, product_j = product_scores([i, j])
    line_i, line_j = line_scores([i, j], rate)
    half_i, half_j = line_scores([i, j], rate / 2)
    return Theorem(
        given={"batch sizes are positive": i.batch_size + j.batch_size > 0},
        claim=z3.And(
            (product_i < product_j) == (line_i < line_j),
            (product_i == product_j) == (line_i == line_j),
        ),
        faults={
            "half the rate": (product_i < product_j) == (half_i < half_j),
            "flipped": (product_i < product_j) == (line_i > line_j),
        },
        reached={"a tie of both": z3.And(product_i == product_j, i.p_token != j.p_token, i.p_token > 0)},
    )


@theorem
def a_line_prefers_the_fuller_instance_below_the_rate_of_indifference() -> Theorem:
    """Of two instances the one with the larger batch is preferred exactly below the weight at which both are equal.

    That weight is positive, so that it matters, exactly if the fuller instance has fewer tokens.

    Claim: pairwise_exchange_rate.
    """
    i, j = plain("i", "j")
    rate = z3.Real("w")
    threshold = formulas.indifference_rate(i.p_token, i.batch_size, j.p_token, j.batch_size)
    line_i, line_j = line_scores([i, j], rate)
    return Theorem(
        given={"the first has the larger batch": i.batch_size > j.batch_size},
        claim=z3.And(
            (line_i < line_j) == (rate < threshold),
            (line_i == line_j) == (rate == threshold),
            (threshold > 0) == (i.p_token < j.p_token),
        ),
        faults={
            "flipped": (line_i < line_j) == (rate > threshold),
            "a tie counted as preferred": (line_i < line_j) == (rate <= threshold),
            "half the rate": (line_i < line_j) == (rate < threshold / 2),
        },
        reached={"indifference": z3.And(line_i == line_j, rate > 0, i.p_token > 0, j.batch_size >= 1)},
    )


@theorem
def no_line_orders_three_instances_as_the_product_does() -> Theorem:
    """The weight differs from pair to pair: here no weight whatever gives the product's order of three instances.

    Claim: pairwise_exchange_rate.
    """
    (a, at_a), (b, at_b), (c, at_c) = at("a", 12, 1), at("b", 4, 4), at("c", 9, 2)
    product_a, product_b, product_c = product_scores([a, b, c])
    line_a, line_b, line_c = line_scores([a, b, c], z3.Real("w"))
    return Theorem(
        domain=(at_a, at_b, at_c),
        claim=z3.And(product_a < product_b, product_b < product_c, z3.Not(z3.And(line_a < line_b, line_b < line_c))),
        faults={
            "no line orders the first two": z3.Not(line_a < line_b),
            "no line orders the last two": z3.Not(line_b < line_c),
        },
    )


@theorem
def a_product_choice_is_least_on_its_own_line() -> Theorem:
    """At ``w = P_k/B_k`` the line of a product choice k is less than that of any instance that is not its twin.

    Claim: product_choice_is_a_tuned_line.
    """
    k, j = plain("k", "j")
    product_k, product_j = product_scores([k, j])
    line_k, line_j = line_scores([k, j], formulas.tuned_rate(k.p_token, k.batch_size))
    upside_down_k, upside_down_j = line_scores([k, j], k.batch_size / k.p_token)
    return Theorem(
        given={
            "P-tokens are positive": z3.And(k.p_token > 0, j.p_token > 0),
            "batch sizes are positive": z3.And(k.batch_size > 0, j.batch_size > 0),
            "k is a product choice": product_k <= product_j,
        },
        claim=z3.And(line_k <= line_j, z3.Or(line_k < line_j, twins(k, j))),
        faults={
            "less than a twin": line_k < line_j,
            "flipped": line_k > line_j,
            "ratio upside down": upside_down_k <= upside_down_j,
        },
        reached={
            "a twin": line_k == line_j,
            "a product tie that is no tie on the line": z3.And(product_k == product_j, line_k < line_j),
        },
    )


@theorem
def no_pair_defeats_every_weight() -> Theorem:
    """With the product's own tie rule, its choice's own line takes the same instance, whichever of the two it is.

    So no state exists on which every weight disagrees with the product.

    Claim: product_choice_is_a_tuned_line.
    """
    pair = plain("0", "1")
    both = [True, True]

    def line_takes(index: int) -> Any:
        own = formulas.tuned_rate(pair[index].p_token, pair[index].batch_size)
        return chosen(Z3, [(score,) for score in line_scores(pair, own)], both, index)

    def product_takes(index: int) -> Any:
        return chooses(policy("lmetric"), pair, index)

    return Theorem(
        given={
            "P-tokens are positive": z3.And([x.p_token > 0 for x in pair]),
            "batch sizes are positive": z3.And([x.batch_size > 0 for x in pair]),
        },
        claim=z3.And(
            z3.Implies(product_takes(0), line_takes(0)),
            z3.Implies(product_takes(1), line_takes(1)),
        ),
        faults={
            "the other one's line": z3.Implies(product_takes(1), line_takes(0)),
            "the line of the first does for both": product_takes(0) == line_takes(0),
        },
    )
