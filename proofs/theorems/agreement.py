"""At which weights a line takes a product choice: the exact interval, its inside, its ends, its order in lambda.

Instance k is a product choice, j any other. A choice among N is made in the pairs (see ``reduction.py``), and the
interval among N is the common part of the pairs' intervals (``more_instances_meet_in_one_interval``); so the
statements about pairs hold for any number of instances.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import z3

from proofs.cluster import plain
from proofs.ops import Z3
from proofs.terms import number
from proofs.theorem import Theorem, theorem
from proofs.theorems.exchange import line_scores, product_scores, twins
from scheduler import formulas
from scheduler.indicators import Indicators
from scheduler.policies.catalogue import policy
from scheduler.policies.linear import BATCH_SCALE, TOKEN_SCALE
from scheduler.policies.reading import read
from scheduler.policies.rule import Policy

#: Stands for infinity: above every weight that a theorem speaks of.
UNBOUNDED = z3.Real("unbounded")


def interval(k: Indicators, others: Sequence[Indicators]) -> tuple[Any, Any]:
    """The shipped formulas for the ends of k's interval."""
    own, pairs = (k.p_token, k.batch_size), [(x.p_token, x.batch_size) for x in others]
    return formulas.agreement_low(Z3, own, pairs), formulas.agreement_high(Z3, own, pairs, UNBOUNDED)


SAME_BATCH = "none with the same batch has fewer tokens"


def same_batch_premise(k: Indicators, j: Indicators) -> Any:
    """What the interval needs of k; every product choice has it (``the_own_ratio_lies_strictly_inside``)."""
    return z3.Implies(j.batch_size == k.batch_size, k.p_token <= j.p_token)


def product_premises(k: Indicators, j: Indicators) -> dict[str, Any]:
    """What makes k a product choice beside j."""
    product_k, product_j = product_scores([k, j])
    return {
        "P-tokens are positive": z3.And(k.p_token > 0, j.p_token > 0),
        "batch sizes are positive": z3.And(k.batch_size > 0, j.batch_size > 0),
        "k is a product choice": product_k <= product_j,
    }


@theorem
def a_line_takes_an_instance_exactly_within_its_interval() -> Theorem:
    """``P_k + w B_k <= P_j + w B_j`` iff ``lo <= w <= hi``; no product is spoken of yet.

    Claim: agreement_interval.
    """
    k, j = plain("k", "j")
    rate = z3.Real("w")
    low, high = interval(k, [j])
    line_k, line_j = line_scores([k, j], rate)
    return Theorem(
        domain=(rate >= 0, rate < UNBOUNDED),
        given={SAME_BATCH: same_batch_premise(k, j)},
        claim=(line_k <= line_j) == z3.And(low <= rate, rate <= high),
        faults={
            "the lower end left out": (line_k <= line_j) == (rate <= high),
            "the upper end left out": (line_k <= line_j) == (low <= rate),
            "open ends": (line_k <= line_j) == z3.And(low < rate, rate < high),
        },
        reached={
            "the lower end": z3.And(line_k == line_j, rate == low, rate > 0),
            "the upper end": z3.And(line_k == line_j, rate == high),
        },
    )


@theorem
def inside_agrees_outside_differs_and_an_end_is_a_tie() -> Theorem:
    """Inside, k is strictly less than all but its twins; outside, some j is strictly less; at an end they are equal.

    At ``w = 0`` the end that is clamped there is none: k may be alone in having the fewest tokens.

    Claim: agreement_interval.
    """
    k, j = plain("k", "j")
    rate = z3.Real("w")
    low, high = interval(k, [j])
    line_k, line_j = line_scores([k, j], rate)
    inside = z3.And(low < rate, rate < high)
    outside = z3.Or(rate < low, high < rate)
    at_an_end = z3.Or(rate == low, rate == high)
    return Theorem(
        domain=(rate < UNBOUNDED,),
        given={SAME_BATCH: same_batch_premise(k, j), "the weight is positive": rate > 0},
        claim=z3.And(
            z3.Or(line_k < line_j, twins(k, j)) == inside,
            (line_j < line_k) == outside,
            z3.And(line_k == line_j, z3.Not(twins(k, j))) == at_an_end,
        ),
        faults={
            "inside beats a twin": (line_k < line_j) == inside,
            "an end belongs to the outside": (line_j < line_k) == z3.Not(inside),
            "outside is one side": (line_j < line_k) == (high < rate),
        },
    )


@theorem
def the_own_ratio_lies_strictly_inside() -> Theorem:
    """``lo < P_k/B_k < hi`` for every product choice, also one of several: so ``lo < hi``, and k is a vertex.

    Claim: agreement_interval.
    """
    k, j = plain("k", "j")
    low, high = interval(k, [j])
    own = formulas.tuned_rate(k.p_token, k.batch_size)
    product_k, product_j = product_scores([k, j])
    return Theorem(
        domain=(own < UNBOUNDED,),
        given=product_premises(k, j),
        claim=z3.And(low < own, own < high, same_batch_premise(k, j)),
        faults={
            "twice the ratio": z3.And(low < 2 * own, 2 * own < high),
            "upside down": z3.And(low < 1 / own, 1 / own < high),
        },
        reached={"tied products of different instances": z3.And(product_k == product_j, k.batch_size != j.batch_size)},
    )


@theorem
def an_end_lies_beyond_the_tokens_over_the_other_batch() -> Theorem:
    """The end that j sets is ``P_k/B_j - D/(B_j (B_j - B_k))``; so ``lo <= P_k/B_j`` or ``P_k/B_j <= hi``.

    Claim: agreement_interval.
    """
    k, j = plain("k", "j")
    product_k, product_j = product_scores([k, j])
    excess = product_j - product_k
    low, high = interval(k, [j])
    end = formulas.agreement_end(k.p_token, k.batch_size, j.batch_size, excess)
    lower = z3.If(end > 0, end, number(0))
    ratio = k.p_token / j.batch_size
    return Theorem(
        domain=(end < UNBOUNDED, j.batch_size != k.batch_size),
        given=product_premises(k, j),
        claim=z3.If(
            j.batch_size > k.batch_size,
            z3.And(low == lower, low <= ratio),
            z3.And(high == end, high >= ratio),
        ),
        faults={
            "the same side for both": z3.And(low <= ratio, high <= ratio),
            "strictly beyond": z3.If(j.batch_size > k.batch_size, low < ratio, high > ratio),
            "own batch": z3.If(
                j.batch_size > k.batch_size, low == lower, high == end - excess / (j.batch_size * k.batch_size)
            ),
        },
        reached={"equality": z3.Or(low == ratio, high == ratio)},
    )


@theorem
def more_instances_meet_in_one_interval() -> Theorem:
    """With one more instance the interval becomes its common part with the interval of that pair.

    The formulas fold over the other instances, so each further one is one more such step.

    Claim: agreement_interval.
    """
    k, i, j = plain("k", "i", "j")
    rate = z3.Real("w")

    def within(others: Sequence[Indicators]) -> Any:
        low, high = interval(k, others)
        return z3.And(low <= rate, rate <= high)

    return Theorem(
        domain=(rate >= 0, rate < UNBOUNDED),
        claim=z3.And(within([]), within([i, j]) == z3.And(within([i]), within([j]))),
        faults={
            "the last one counts": within([i, j]) == within([j]),
            "either will do": within([i, j]) == z3.Or(within([i]), within([j])),
        },
    )


@theorem
def in_lambda_the_order_reverses() -> Theorem:
    """A greater weight lambda of the prefill term is a lesser price w, and each gives the other back.

    Claim: agreement_interval.
    """
    first, second = z3.Reals("w_first w_second")
    token_scale, batch_scale = z3.Reals("P_scale B_scale")
    weight_first, weight_second = (formulas.weight_of_rate(w, token_scale, batch_scale) for w in (first, second))
    return Theorem(
        domain=(first >= 0, second >= 0),
        given={"scales are positive": z3.And(token_scale > 0, batch_scale > 0)},
        claim=z3.And(
            (first < second) == (weight_first > weight_second),
            weight_first > 0,
            weight_first <= 1,
            formulas.exchange_rate(weight_first, token_scale, batch_scale) == first,
        ),
        faults={
            "the same order": (first < second) == (weight_first < weight_second),
            "lambda never reaches 1": weight_first < 1,
        },
        reached={"lambda = 1": weight_first == 1},
    )


@theorem
def the_shipped_line_is_the_line_at_the_rate_of_its_weight() -> Theorem:
    """The rule ``linear:form=p_token`` at ``lambda`` orders as ``lambda P/8192 + (1 - lambda) B/32`` and as the line.

    Claim: agreement_interval.
    """
    i, j = plain("i", "j")
    weight, rate = z3.Reals("lambda w")
    shipped = policy("linear:form=p_token")
    (key_i, key_j), _ = read(Policy(shipped.rule, {**shipped.values, "weight": weight}), Z3, [i, j])
    line_i, line_j = line_scores([i, j], rate)
    sum_i, sum_j = (weight * x.p_token / TOKEN_SCALE + (1 - weight) * x.batch_size / BATCH_SCALE for x in (i, j))
    return Theorem(
        given={
            "the weight lambda is positive": weight > 0,
            "w is the price at lambda": rate * weight * BATCH_SCALE == (1 - weight) * TOKEN_SCALE,
        },
        claim=z3.And(
            (key_i[0] < key_j[0]) == (line_i < line_j),
            (key_i[0] < key_j[0]) == (sum_i < sum_j),
        ),
        faults={
            "flipped": (key_i[0] < key_j[0]) == (line_j < line_i),
            "the weight on the other term": (key_i[0] < key_j[0])
            == (
                (1 - weight) * i.p_token / TOKEN_SCALE + weight * i.batch_size / BATCH_SCALE
                < (1 - weight) * j.p_token / TOKEN_SCALE + weight * j.batch_size / BATCH_SCALE
            ),
        },
    )
