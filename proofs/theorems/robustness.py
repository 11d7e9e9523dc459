"""What a fixed weight costs, how much noise a choice stands, and which weights agree with the product in any case.

All claims are about a pair: the chosen instance k and any other. The rules here take a least key without filter, so a
claim about all pairs holds for any number of instances (claim ``choice_is_pairwise``).

Glossary: ``w`` price of one batch slot [token/request], ``r = w B/P``, ``s`` a factor between weights, ``e`` and ``d``
relative errors, ``p`` and ``b`` absolute ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import z3

from proofs.cluster import plain, scores
from proofs.ops import Z3
from proofs.theorem import Theorem, fixed, theorem
from scheduler import formulas
from scheduler.indicators import Indicators
from scheduler.policies.catalogue import policy
from scheduler.policies.linear import BATCH_SCALE, LINEAR, TOKEN_SCALE
from scheduler.policies.rule import Policy

LMETRIC = policy("lmetric")
LINE_PICKS = "the line takes k"
PRODUCT_PICKS = "the product takes m"
#: A slip: the lesser where the greater is meant.
MINIMUM = dataclasses.replace(Z3, max_=Z3.min_)


def line_of(weight: Any) -> Policy:
    """The shipped line on P-token and batch size, its weight a number or a term."""
    return Policy(LINEAR, {"weight": weight, "form": "p_token", "ties": "first"})


def positive(*instances: Indicators) -> tuple[Any, ...]:
    """P-token and batch size are positive by construction: the floor is one token, the request itself counts."""
    return tuple(z3.And(x.p_token > 0, x.batch_size > 0) for x in instances)


def lines_at(rate: Any, instances: Sequence[Indicators]) -> list[Any]:
    """Scores of the line at a rate; the shipped line is this one (:func:`the_shipped_line_is_a_line`)."""
    return [formulas.line(x.p_token, x.batch_size, rate) for x in instances]


@theorem
def the_shipped_line_is_a_line() -> Theorem:
    """The shipped rule with weight ``1/(1 + w/256)`` scores by ``P + w B``: every positive w is one of its weights.

    Claim: price_of_a_fixed_weight.
    """
    [x] = plain("k")
    rate = z3.Real("w")
    scale = TOKEN_SCALE / BATCH_SCALE
    [score] = scores(line_of(1 / (1 + rate / int(scale))), [x])
    [expected] = lines_at(rate, [x])
    return Theorem(
        domain=(rate > 0,),
        claim=score == expected,
        faults={
            "other scales": scores(line_of(1 / (1 + rate / 255)), [x])[0] == expected,
            "price of a token": score == formulas.line(x.batch_size, x.p_token, rate),
        },
    )


@theorem
def a_line_costs_the_product_no_more_than_its_price() -> Theorem:
    """If the line takes k, then ``P_k B_k <= (1+r)^2/(4r) P_m B_m`` for every m, with ``r = w B_m/P_m``.

    Claim: price_of_a_fixed_weight.
    """
    k, m = plain("k", "m")
    rate, relative = z3.Reals("w r")
    line_k, line_m = lines_at(rate, (k, m))
    product_k, product_m = scores(LMETRIC, [k, m])
    bound = formulas.price_of_weight(relative) * product_m
    return Theorem(
        domain=(*positive(k, m), rate > 0, relative == formulas.relative_rate(rate, m.p_token, m.batch_size)),
        given={LINE_PICKS: line_k <= line_m},
        claim=product_k <= bound,
        faults={
            "a tenth less": product_k <= bound * 9 / 10,
            "its root": product_k * product_k <= bound * product_m,
            "price of twice the weight": product_k <= formulas.price_of_weight(2 * relative) * product_m,
        },
        reached={"equality away from r = 1": z3.And(product_k == bound, relative == 4)},
    )


@theorem
def the_product_costs_a_line_no_more_than_the_root_of_its_price() -> Theorem:
    """If the product takes m, its line score is at most ``(1+r)/(2 sqrt r)`` times that of any k: stated squared.

    Claim: price_of_a_fixed_weight.
    """
    k, m = plain("k", "m")
    rate, relative = z3.Reals("w r")
    line_k, line_m = lines_at(rate, (k, m))
    product_k, product_m = scores(LMETRIC, [k, m])
    bound = formulas.price_of_weight(relative) * line_k * line_k
    return Theorem(
        domain=(*positive(k, m), rate > 0, relative == formulas.relative_rate(rate, m.p_token, m.batch_size)),
        given={PRODUCT_PICKS: product_m <= product_k},
        claim=line_m * line_m <= bound,
        faults={
            "a tenth less": line_m * line_m <= bound * 9 / 10,
            "not less than the best": line_m <= line_k,
        },
        reached={"equality away from r = 1": z3.And(line_m * line_m == bound, relative == 4)},
    )


@theorem
def the_price_of_a_weight_has_no_bound() -> Theorem:
    """At every weight and for every F there is a state on which the line's choice costs more than F times the best.

    Claim: price_of_a_fixed_weight.
    """
    k, m = plain("k", "m")
    rate, factor = z3.Reals("w F")
    line_k, line_m = lines_at(rate, (k, m))
    product_k, product_m = scores(LMETRIC, [k, m])
    # The state: m = (1, 4F/w), where r = 4F, and k on m's line with both terms equal.
    state = (
        m.p_token == 1,
        rate * m.batch_size == 4 * factor,
        2 * k.p_token == line_m,
        2 * rate * k.batch_size == line_m,
    )
    return Theorem(
        domain=(*positive(k, m), rate > 0, factor > 0, *state),
        claim=z3.And(line_k <= line_m, product_k > factor * product_m),
        faults={
            "strictly less": line_k < line_m,
            "twice the factor": product_k > 2 * factor * product_m,
        },
    )


@theorem
def the_price_of_the_products_choice_has_no_bound() -> Theorem:
    """At every weight and for every F there is a state on which the product's choice costs the line F times the best.

    Claim: price_of_a_fixed_weight.
    """
    k, m = plain("k", "m")
    rate, factor = z3.Reals("w F")
    line_k, line_m = lines_at(rate, (k, m))
    product_k, product_m = scores(LMETRIC, [k, m])
    # The state: equal products, m = (1, 4 F^2/w), where r = 4 F^2, and k = (2 F, 2 F/w).
    state = (
        m.p_token == 1,
        rate * m.batch_size == 4 * factor * factor,
        k.p_token == 2 * factor,
        rate * k.batch_size == 2 * factor,
    )
    return Theorem(
        domain=(*positive(k, m), rate > 0, factor > 0, *state),
        claim=z3.And(product_m <= product_k, line_m > factor * line_k),
        faults={"strictly less": product_m < product_k, "twice the factor": line_m > 2 * factor * line_k},
    )


@theorem
def on_a_range_the_price_is_that_of_an_end() -> Theorem:
    """With P and B in ranges, the price is at most the worse of ``r = w B_low/P_high`` and ``r = w B_high/P_low``.

    Claim: price_of_a_fixed_weight.
    """
    k, m = plain("k", "m")
    rate, tokens_low, tokens_high, batch_low, batch_high = z3.Reals("w P_low P_high B_low B_high")
    relative = formulas.relative_rate(rate, m.p_token, m.batch_size)
    ends = (rate, tokens_low, tokens_high, batch_low, batch_high)
    bound = formulas.price_of_weight_on_range(Z3, *ends)
    price = formulas.price_of_weight(relative)
    return Theorem(
        domain=(rate > 0, tokens_low > 0, batch_low > 0, tokens_low <= tokens_high, batch_low <= batch_high),
        given={
            "P-tokens lie in the range": z3.And(tokens_low <= m.p_token, m.p_token <= tokens_high),
            "batch sizes lie in the range": z3.And(batch_low <= m.batch_size, m.batch_size <= batch_high),
        },
        claim=price <= bound,
        faults={
            "the better end": price <= formulas.price_of_weight_on_range(MINIMUM, *ends),
            "no more than 2": price <= 2,
        },
        reached={
            "equality within the range": z3.And(price == bound, tokens_low < tokens_high, batch_low < batch_high),
            # r = 1/4 and r = 4 at the ends, k halfway on the line of m: all of the price is paid within the range.
            "by a choice of the line within the range": z3.And(
                *fixed({"w": 1, "P_low": 1, "P_high": 4, "B_low": 1, "B_high": 4, "P_m": 4, "B_m": 1}),
                *fixed({"P_k": Fraction(5, 2), "B_k": Fraction(5, 2)}),
                formulas.line(k.p_token, k.batch_size, rate) <= formulas.line(m.p_token, m.batch_size, rate),
                k.p_token * k.batch_size == bound * m.p_token * m.batch_size,
            ),
        },
    )


@theorem
def a_margin_makes_every_weight_within_its_factor_agree() -> Theorem:
    """If j's product exceeds ``(1+s)^2/(4s)`` times k's, every weight within a factor s of ``P_k/B_k`` prefers k.

    Claim: margin_buys_weight_robustness.
    """
    k, j = plain("k", "j")
    rate, factor, other_rate = z3.Reals("w s v")
    product_k, product_j = scores(LMETRIC, [k, j])
    line_k, line_j = lines_at(rate, (k, j))
    other_k, other_j = lines_at(other_rate, (k, j))

    def within(rate: Any, factor: Any) -> Any:
        relative = formulas.relative_rate(rate, k.p_token, k.batch_size)
        return z3.And(relative <= factor, relative * factor >= 1)

    return Theorem(
        domain=(*positive(k, j), rate > 0, other_rate > 0, factor >= 1),
        given={
            "the runner-up's product exceeds the margin": product_j > formulas.price_of_weight(factor) * product_k,
            "the weight is within the factor": within(rate, factor),
        },
        claim=line_k < line_j,
        faults={
            "within twice the factor": z3.Implies(within(other_rate, 2 * factor), other_k < other_j),
            "other instance": line_j < line_k,
        },
    )


@theorem
def no_smaller_margin_will_do() -> Theorem:
    """At a margin of exactly ``(1+s)^2/(4s)`` there is a state on which the weight ``s P_k/B_k`` no longer prefers k.

    Claim: margin_buys_weight_robustness.
    """
    k, j = plain("k", "j")
    rate, factor = z3.Reals("w s")
    product_k, product_j = scores(LMETRIC, [k, j])
    line_k, line_j = lines_at(rate, (k, j))
    # The state: j halfway on k's line, both of its terms equal.
    state = (2 * j.p_token == line_k, 2 * rate * j.batch_size == line_k)
    return Theorem(
        domain=(*positive(k, j), rate > 0, factor >= 1, rate * k.batch_size == factor * k.p_token, *state),
        claim=z3.And(product_j == formulas.price_of_weight(factor) * product_k, line_j == line_k),
        faults={
            "a line that still prefers k": line_k < line_j,
            "the margin of half the factor": product_j == formulas.price_of_weight(factor / 2) * product_k,
        },
    )


@theorem
def weights_around_the_choice_agree_in_every_state() -> Theorem:
    """Batch sizes being whole, each weight in ``[P_k/(B_k+1), P_k/(B_k-1)]`` prefers k; inside, strictly.

    For ``B_k = 1`` there is no upper end.

    Claim: margin_buys_weight_robustness.
    """
    k, j = plain("k", "j")
    rate, other_rate = z3.Reals("w v")
    product_k, product_j = scores(LMETRIC, [k, j])
    line_k, line_j = lines_at(rate, (k, j))
    other_k, other_j = lines_at(other_rate, (k, j))
    low, high = (end(k.p_token, k.batch_size) for end in (formulas.sure_rate_low, formulas.sure_rate_high))
    alone = k.batch_size <= 1
    inside = z3.And(low < rate, z3.Or(alone, rate < high))
    same = z3.And(k.p_token == j.p_token, k.batch_size == j.batch_size)
    difference = j.batch_size - k.batch_size
    return Theorem(
        domain=(k.p_token > 0, j.p_token > 0, k.batch_size >= 1, j.batch_size >= 1, rate > 0),
        given={
            "the product takes k": product_k <= product_j,
            "batch sizes differ by whole requests": z3.Or(difference == 0, difference >= 1, difference <= -1),
            "the weight is not below the interval": low <= rate,
            "the weight is not above the interval": z3.Or(alone, rate <= high),
        },
        claim=z3.And(line_k <= line_j, z3.Implies(z3.And(inside, z3.Not(same)), line_k < line_j)),
        faults={
            "down to P/(B+2)": z3.Implies(
                other_rate >= formulas.sure_rate_low(k.p_token, k.batch_size + 1), other_k <= other_j
            ),
            "up to any weight": z3.Implies(other_rate >= low, other_k <= other_j),
            "strictly at the ends": z3.Or(same, line_k < line_j),
        },
        reached={
            "a tie at the lower end": z3.And(line_k == line_j, rate == low, difference == 1),
            "a tie at the upper end": z3.And(line_k == line_j, rate == high, difference == -1),
        },
    )
