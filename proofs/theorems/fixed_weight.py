"""No fixed weight fits all states: two pairs on which it errs in opposite directions, and where such pairs begin.

Whole numbers ``1 <= P <= P_max``, ``1 <= B <= B_max``. In a pair, i has fewer tokens and the larger batch. A line
prices batch too dear if the product prefers i and the line j, too cheap if the product prefers j and the line i.
``F = greatest_step(B_max)`` and ``G = greatest_step(P_max)``. Terms are real; that numbers are whole enters as the
premise that two of them differ by at least one or not at all, because solvers are weak in products of integers.
"""

from __future__ import annotations

from typing import Any

import z3

from proofs.cluster import plain
from proofs.ops import Z3
from proofs.theorem import Theorem, theorem
from proofs.theorems.exchange import line_scores, product_scores
from scheduler import formulas
from scheduler.indicators import Indicators


def prefer(i: Indicators, j: Indicators, rate: Any) -> tuple[Any, Any]:
    """That product and line differ strictly on a pair: batch too dear, batch too cheap."""
    product_i, product_j = product_scores([i, j])
    line_i, line_j = line_scores([i, j], rate)
    return z3.And(product_i < product_j, line_j < line_i), z3.And(product_j < product_i, line_i < line_j)


def whole(low: Any, high: Any) -> Any:
    """What being whole means for the order of two numbers: less is less by one at least."""
    return z3.Or(high <= low, high >= low + 1)


def within(x: Indicators, tokens_max: Any, batch_max: Any) -> Any:
    """That the indicators lie in the range."""
    return z3.And(x.p_token >= 1, x.p_token <= tokens_max, x.batch_size >= 1, x.batch_size <= batch_max)


@theorem
def whole_numbers_differ_by_one() -> Theorem:
    """Of two different whole numbers the less is less by one at least: what the premises here use of being whole.

    Claim: no_weight_fits_all_states.
    """
    low, high = z3.Ints("low high")
    return Theorem(
        claim=whole(low, high),
        faults={"by two": z3.Or(high <= low, high >= low + 2), "never equal": z3.Or(high < low, high >= low + 1)},
    )


@theorem
def the_greatest_step_is_half_the_range() -> Theorem:
    """``F = floor((B_max - 1)/2)`` is whole, at least 1 from ``B_max = 3`` on, and ``2 F + 1 <= B_max <= 2 F + 2``.

    Claim: no_weight_fits_all_states.
    """
    most = z3.Int("most")
    step = formulas.greatest_step(Z3, z3.ToReal(most))
    return Theorem(
        given={"the range reaches 3": most >= 3},
        claim=z3.And(step >= 1, 2 * step + 1 <= z3.ToReal(most), z3.ToReal(most) <= 2 * step + 2),
        faults={
            "half of it rounded up": z3.ToReal(most) <= 2 * step + 1,
            "half of it": 2 * step + 2 <= z3.ToReal(most),
        },
        reached={"an odd range": z3.ToReal(most) == 2 * step + 1, "an even range": z3.ToReal(most) == 2 * step + 2},
    )


@theorem
def a_pair_finds_batch_too_dear() -> Theorem:
    """Above ``1/F``: (1, 2F + 1) and (2, F + 1) lie in the range; the product prefers the first, the line the second.

    Claim: no_weight_fits_all_states.
    """
    i, j = plain("i", "j")
    rate, step, tokens_max, batch_max = z3.Reals("w F P_max B_max")
    too_dear, too_cheap = prefer(i, j, rate)
    return Theorem(
        domain=(
            batch_max >= 2 * step + 1,
            step >= 1,
            z3.And(i.p_token == 1, i.batch_size == 2 * step + 1, j.p_token == 2, j.batch_size == step + 1),
        ),
        given={"the range reaches 3": tokens_max >= 3, "the weight is above the lower end": rate * step > 1},
        claim=z3.And(within(i, tokens_max, batch_max), within(j, tokens_max, batch_max), too_dear),
        faults={"the other direction": too_cheap, "a wider pair fits": i.batch_size + 1 <= batch_max},
    )


@theorem
def a_pair_finds_batch_too_cheap() -> Theorem:
    """Below ``G``: (G + 1, 2) and (2G + 1, 1) lie in the range; the product prefers the second, the line the first.

    Claim: no_weight_fits_all_states.
    """
    i, j = plain("i", "j")
    rate, step, tokens_max, batch_max = z3.Reals("w G P_max B_max")
    too_dear, too_cheap = prefer(i, j, rate)
    return Theorem(
        domain=(
            tokens_max >= 2 * step + 1,
            step >= 1,
            z3.And(i.p_token == step + 1, i.batch_size == 2, j.p_token == 2 * step + 1, j.batch_size == 1),
        ),
        given={"the range reaches 3": batch_max >= 3, "the weight is below the upper end": rate < step},
        claim=z3.And(within(i, tokens_max, batch_max), within(j, tokens_max, batch_max), too_cheap),
        faults={"the other direction": too_dear, "a wider pair fits": j.p_token + 1 <= tokens_max},
    )


def _wholes(i: Indicators, j: Indicators, step: Any, near: Any, gap: Any) -> Any:
    """The consequences of being whole that the bounds use."""
    product_i, product_j = product_scores([i, j])
    return z3.And(
        whole(product_i, product_j),
        whole(product_j, product_i),
        whole(near, step + 1),
        whole(step + 1, near),
        whole(0, gap),
        whole(1, gap),
    )


@theorem
def batch_is_too_dear_only_above_the_lower_end() -> Theorem:
    """In the range, a pair that finds batch too dear has ``w F > 1``.

    Claim: no_weight_fits_all_states.
    """
    i, j = plain("i", "j")
    rate, step, batch_max = z3.Reals("w F B_max")
    too_dear, _ = prefer(i, j, rate)
    return Theorem(
        domain=(batch_max <= 2 * step + 2, step >= 1),
        given={
            "indicators are whole": _wholes(i, j, step, j.batch_size, j.p_token - i.p_token),
            "the range is kept": z3.And(i.p_token >= 1, j.batch_size >= 1, i.batch_size <= batch_max),
            "i has fewer tokens and the larger batch": z3.And(i.p_token < j.p_token, i.batch_size > j.batch_size),
            "batch is too dear": too_dear,
        },
        claim=rate * step > 1,
        faults={"twice as high": rate * step > 2, "at one": rate > 1},
    )


@theorem
def batch_is_too_cheap_only_below_the_upper_end() -> Theorem:
    """In the range, a pair that finds batch too cheap has ``w < G``.

    Claim: no_weight_fits_all_states.
    """
    i, j = plain("i", "j")
    rate, step, tokens_max = z3.Reals("w G P_max")
    _, too_cheap = prefer(i, j, rate)
    return Theorem(
        domain=(tokens_max <= 2 * step + 2, step >= 1),
        given={
            "indicators are whole": _wholes(i, j, step, i.p_token, i.batch_size - j.batch_size),
            "the range is kept": z3.And(i.p_token >= 1, j.batch_size >= 1, j.p_token <= tokens_max),
            "i has fewer tokens and the larger batch": z3.And(i.p_token < j.p_token, i.batch_size > j.batch_size),
            "batch is too cheap": too_cheap,
        },
        claim=rate < step,
        faults={"half as high": 2 * rate < step, "at one": rate < 1},
    )


@theorem
def a_difference_among_many_is_one_of_a_pair() -> Theorem:
    """Where the product's choice k is not the line's choice l, the pair of both errs in one of the two directions.

    Neither has both indicators less, so one has fewer tokens and the larger batch: the bounds on pairs hold for N.

    Claim: no_weight_fits_all_states.
    """
    k, m = plain("k", "l")
    rate = z3.Real("w")
    product_k, product_m = product_scores([k, m])
    line_k, line_m = line_scores([k, m], rate)
    dear, _ = prefer(k, m, rate)
    _, cheap = prefer(m, k, rate)
    k_is_i = z3.And(k.p_token < m.p_token, k.batch_size > m.batch_size)
    m_is_i = z3.And(m.p_token < k.p_token, m.batch_size > k.batch_size)
    return Theorem(
        domain=(k.batch_size > 0, m.batch_size > 0, k.p_token > 0, m.p_token > 0),
        given={
            "the weight is positive": rate > 0,
            "the choices differ": z3.And(product_k < product_m, line_m < line_k),
        },
        claim=z3.Or(z3.And(k_is_i, dear), z3.And(m_is_i, cheap)),
        faults={"always too dear": z3.And(k_is_i, dear), "always too cheap": z3.And(m_is_i, cheap)},
    )


@theorem
def the_smallest_pairs() -> Theorem:
    """For a whole weight ``w > 2`` no pair that finds batch too cheap is smaller than (w + 2, 2), (2w + 3, 1).

    Smaller means fewer tokens and requests in all. The smallest pair that finds it too dear is (1, 2), (3, 1).

    Claim: no_weight_fits_all_states.
    """
    i, j = plain("i", "j")
    rate = z3.Real("w")
    too_dear, too_cheap = prefer(i, j, rate)
    gap = i.batch_size - j.batch_size
    total = i.p_token + i.batch_size + j.p_token + j.batch_size
    product_i, product_j = product_scores([i, j])
    line_i, line_j = line_scores([i, j], rate)
    smallest = 3 * rate + 8
    return Theorem(
        domain=(rate >= 3,),
        given={
            "indicators and weight are whole": z3.And(
                whole(product_j, product_i),
                whole(product_i, product_j),
                whole(line_i, line_j),
                whole(line_j, line_i),
                whole(0, gap),
                whole(1, gap),
                whole(i.p_token, j.p_token),
            ),
            "the range is kept": z3.And(i.p_token >= 1, j.batch_size >= 1),
            "i has fewer tokens and the larger batch": z3.And(i.p_token < j.p_token, i.batch_size > j.batch_size),
        },
        claim=z3.And(z3.Implies(too_cheap, total >= smallest), z3.Implies(too_dear, total >= 7)),
        faults={
            "one more is needed": z3.Implies(too_cheap, total >= smallest + 1),
            "one more token": z3.Implies(too_dear, total >= 8),
        },
        reached={
            "the smallest pair for too cheap": z3.And(too_cheap, total == smallest),
            "the smallest pair for too dear": z3.And(
                too_dear, i.p_token == 1, i.batch_size == 2, j.p_token == 3, j.batch_size == 1
            ),
        },
    )
