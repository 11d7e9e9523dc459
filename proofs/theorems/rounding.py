"""Choices by numbers that are a little off: noise in the indicators, rounding in the keys.

Both are one argument. A key that is seen within ``[a, b]`` times its true value makes a choice within ``b/a`` of the
best, and a certain one if the runner-up's is more than that above. Noise gives ``a = (1-e)(1-d)``, a rounding ``1-u``.

Glossary: ``e`` and ``d`` relative errors of P-token and batch, ``p`` and ``b`` absolute ones, ``u`` unit roundoff.
"""

from __future__ import annotations

from typing import Any

import z3

from proofs.cluster import observed, plain, scores
from proofs.ops import Z3
from proofs.terms import number
from proofs.theorem import Theorem, theorem
from proofs.theorems.robustness import LMETRIC, positive
from scheduler import formulas
from scheduler.domains import REQUESTS_MAX, TOKENS_MAX
from scheduler.indicators import Indicators
from scheduler.policies.catalogue import policy

#: Up to here binary64 holds every whole number, and up to twice as far every even one.
EXACT_MAX = 2**53
_ERRORS = "errors lie within their bounds"
_BEYOND = "the runner-up is beyond the noise"


def _within_factors(seen: Indicators, true: Indicators, e: Any, d: Any) -> Any:
    return z3.And(
        (1 - e) * true.p_token <= seen.p_token,
        seen.p_token <= (1 + e) * true.p_token,
        (1 - d) * true.batch_size <= seen.batch_size,
        seen.batch_size <= (1 + d) * true.batch_size,
    )


def _within_amounts(seen: Indicators, true: Indicators, p: Any, b: Any) -> Any:
    tokens, batch = seen.p_token - true.p_token, seen.batch_size - true.batch_size
    return z3.And(tokens <= p, -tokens <= p, batch <= b, -batch <= b)


@theorem
def a_noisy_choice_costs_no_more_than_its_factor() -> Theorem:
    """Chosen by indicators within factors ``1 +- e`` and ``1 +- d``, k is within ``(1+e)(1+d)/((1-e)(1-d))`` of j.

    Claim: noise_margin.
    """
    k, j, seen_k, seen_j = plain("k", "j", "seen_k", "seen_j")
    e, d = z3.Reals("e d")
    true_k, true_j, score_k, score_j = scores(LMETRIC, [k, j, seen_k, seen_j])
    bound = formulas.noise_factor(e, d) * true_j
    return Theorem(
        domain=(*positive(k, j), e >= 0, e < 1, d >= 0, d < 1),
        given={
            _ERRORS: z3.And(_within_factors(seen_k, k, e, d), _within_factors(seen_j, j, e, d)),
            "the product takes k by what it sees": score_k <= score_j,
        },
        claim=true_k <= bound,
        faults={
            "the errors of one indicator": true_k <= formulas.noise_factor(e, 0) * true_j,
            "the errors of one instance": true_k * (1 - e) * (1 - d) <= true_j,
        },
        reached={"equality at real errors": z3.And(true_k == bound, e == number(0.5), d == number(0.25))},
    )


@theorem
def a_margin_beyond_the_noise_makes_the_choice_certain() -> Theorem:
    """If j is seen at more than ``(1+e)(1+d)/((1-e)(1-d))`` times k, then k is truly better.

    Claim: noise_margin.
    """
    k, j, seen_k, seen_j = plain("k", "j", "seen_k", "seen_j")
    e, d = z3.Reals("e d")
    true_k, true_j, score_k, score_j = scores(LMETRIC, [k, j, seen_k, seen_j])
    errors = z3.And(_within_factors(seen_k, k, e, d), _within_factors(seen_j, j, e, d))
    factor = formulas.noise_factor(e, d)
    return Theorem(
        domain=(*positive(k, j), e >= 0, e < 1, d >= 0, d < 1),
        given={_ERRORS: errors, _BEYOND: score_j > factor * score_k},
        claim=true_k < true_j,
        faults={"by a token and slot": true_k + 1 < true_j, "other instance": true_j < true_k},
    )


@theorem
def at_the_noise_itself_nothing_is_certain() -> Theorem:
    """At exactly the factor a truth that ties is among the possible ones: the margin cannot be smaller.

    Claim: noise_margin.
    """
    k, j, seen_k, seen_j = plain("k", "j", "seen_k", "seen_j")
    e, d = z3.Reals("e d")
    true_k, true_j, score_k, score_j = scores(LMETRIC, [k, j, seen_k, seen_j])
    state = (
        seen_k.p_token == (1 - e) * k.p_token,
        seen_k.batch_size == (1 - d) * k.batch_size,
        seen_j.p_token == (1 + e) * j.p_token,
        seen_j.batch_size == (1 + d) * j.batch_size,
    )
    return Theorem(
        domain=(*positive(k, j), e >= 0, e < 1, d >= 0, d < 1, *state),
        claim=(score_j == formulas.noise_factor(e, d) * score_k) == (true_k == true_j),
        faults={
            "truly better": z3.Implies(score_j == formulas.noise_factor(e, d) * score_k, true_k < true_j),
            "half the errors": (score_j == formulas.noise_factor(e / 2, d) * score_k) == (true_k == true_j),
        },
    )


@theorem
def a_margin_beyond_absolute_errors_makes_the_choice_certain() -> Theorem:
    """If the least that j can be, ``max(1, P-p) max(1, B-b)``, exceeds the most that k can be, k is truly better.

    Claim: noise_margin.
    """
    k, j, seen_k, seen_j = plain("k", "j", "seen_k", "seen_j")
    p, b = z3.Reals("p b")
    true_k, true_j = scores(LMETRIC, [k, j])
    least = formulas.least_product(Z3, seen_j.p_token, seen_j.batch_size, p, b)
    most = formulas.most_product(seen_k.p_token, seen_k.batch_size, p, b)
    errors = z3.And(_within_amounts(seen_k, k, p, b), _within_amounts(seen_j, j, p, b))
    truth = z3.And(true_j == least, true_k == most, p > 0, b > 0, seen_j.p_token > p)
    return Theorem(
        domain=(k.p_token >= 1, j.p_token >= 1, k.batch_size >= 1, j.batch_size >= 1, p >= 0, b >= 0),
        given={_ERRORS: errors, _BEYOND: least > most},
        claim=true_k < true_j,
        faults={"by a token and slot": true_k + 1 < true_j, "other instance": true_j < true_k},
        reached={"least and most": truth},
    )


@theorem
def bare_differences_will_do() -> Theorem:
    """``(P_j - p)(B_j - b) > (P_k + p)(B_k + b)`` suffices too: two negative factors have a product below ``p b``.

    Claim: noise_margin.
    """
    k, j, seen_k, seen_j = plain("k", "j", "seen_k", "seen_j")
    p, b = z3.Reals("p b")
    true_k, true_j = scores(LMETRIC, [k, j])
    bare = formulas.most_product(seen_j.p_token, seen_j.batch_size, -p, -b)
    errors = z3.And(_within_amounts(seen_k, k, p, b), _within_amounts(seen_j, j, p, b))
    return Theorem(
        domain=(*positive(k, j), p >= 0, b >= 0),
        given={
            _ERRORS: errors,
            "no indicator is seen as negative": z3.And(
                *(z3.And(x.p_token >= 0, x.batch_size >= 0) for x in (seen_k, seen_j))
            ),
            "the bare difference is beyond the noise": bare
            > formulas.most_product(seen_k.p_token, seen_k.batch_size, p, b),
        },
        claim=true_k < true_j,
        faults={"by a token and slot": true_k + 1 < true_j, "other instance": true_j < true_k},
    )


@theorem
def one_more_rounding_widens_the_bounds_by_its_factor() -> Theorem:
    """From ``[a, b]`` to ``[a (1-u), b (1+u)]``: the step of the induction over k roundings.

    Claim: float_choice_is_near_exact.
    """
    true, rounded, again, a, b, u, margin = z3.Reals("S S_rounded S_again a b u margin")
    low, high = a * (1 - u), b * (1 + u)
    return Theorem(
        domain=(true > 0, a > 0, b > 0, u > 0, u < 1),
        given={
            "the key is within its bounds so far": z3.And(a * true <= rounded, rounded <= b * true),
            "a rounding errs by at most u": z3.And((1 - u) * rounded <= again, again <= (1 + u) * rounded),
            "the margin so far is the ratio of the bounds": b == margin * a,
        },
        claim=z3.And(low * true <= again, again <= high * true, high == margin * formulas.rounding_margin(1, u) * low),
        faults={
            "no wider": z3.And(a * true <= again, again <= b * true),
            "half the factor": high == margin * formulas.rounding_margin(1, u / 2) * low,
        },
        reached={"the upper bound": z3.And(again == high * true, b > 1)},
    )


@theorem
def a_sum_of_positive_terms_keeps_the_bounds() -> Theorem:
    """Terms within ``[a, b]`` and within the tighter ``[c, d]`` sum to within ``[a, b]``: only a chain adds up.

    Claim: float_choice_is_near_exact.
    """
    x, y, seen_x, seen_y, a, b, c, d = z3.Reals("x y x_seen y_seen a b c d")
    total = seen_x + seen_y
    return Theorem(
        given={
            "terms are positive": z3.And(x > 0, y > 0),
            "terms are within their bounds": z3.And(a * x <= seen_x, seen_x <= b * x, c * y <= seen_y, seen_y <= d * y),
            "one has the tighter bounds": z3.And(a > 0, a <= c, c <= d, d <= b),
        },
        claim=z3.And(a * (x + y) <= total, total <= b * (x + y)),
        faults={"the tighter bounds": z3.And(c * (x + y) <= total, total <= d * (x + y))},
        reached={"the upper bound": z3.And(total == b * (x + y), b > 1)},
    )


@theorem
def a_choice_by_rounded_keys_is_near_the_best() -> Theorem:
    """Keys within ``[a, b]`` choose within ``b/a`` of the best, and surely the best if the runner-up is beyond that.

    Claim: float_choice_is_near_exact.
    """
    key_k, key_j, seen_k, seen_j, a, b = z3.Reals("S_k S_j S_k_seen S_j_seen a b")
    sure = z3.Implies(seen_j * a > seen_k * b, key_k < key_j)
    return Theorem(
        domain=(key_k > 0, key_j > 0, a > 0, b >= a),
        given={
            "the key is within its bounds so far": z3.And(
                *(z3.And(a * true <= seen, seen <= b * true) for true, seen in ((key_k, seen_k), (key_j, seen_j)))
            ),
            "the rounded keys take k": seen_k <= seen_j,
        },
        claim=z3.And(key_k * a <= b * key_j, sure),
        faults={
            "the best": z3.And(key_k <= key_j, sure),
            "certain at the margin": z3.Implies(seen_j * a >= seen_k * b, key_k < key_j),
        },
        reached={"the margin": z3.And(key_k * a == b * key_j, b > a)},
    )


@theorem
def products_in_the_domains_are_exact() -> Theorem:
    """Unless both counts are at their limit, ``P B <= 2^53``: binary64 holds the product exactly.

    Claim: float_product_choice_is_exact.
    """
    [x], domain = observed(1)
    [product] = scores(LMETRIC, [x])
    return Theorem(
        domain=tuple(domain),
        given={"the counts are not both at their limit": x.running + x.waiting <= 2 * REQUESTS_MAX - 1},
        claim=product <= EXACT_MAX,
        faults={"half of it": product <= EXACT_MAX // 2},
        reached={"the last exact one": product == EXACT_MAX},
    )


@theorem
def delays_in_the_domains_are_exact() -> Theorem:
    """``q + n B <= 2^53`` always: binary64 holds the least-harm key without decode exactly.

    Claim: float_product_choice_is_exact.
    """
    [x], domain = observed(1)
    [delay] = scores(policy("marginal_delay"), [x])
    return Theorem(domain=tuple(domain), claim=delay <= EXACT_MAX, faults={"half of it": delay <= EXACT_MAX // 2})


@theorem
def inexact_products_stay_apart() -> Theorem:
    """Products beyond ``2^53`` all have the greatest batch, and are further apart than binary64's spacing of 2 there.

    So rounding, which is monotone, keeps their order strict, and the least of them stays above ``2^53``.

    Claim: float_product_choice_is_exact.
    """
    tokens, other = z3.Ints("P_i P_j")
    batch = 2 * REQUESTS_MAX + 1
    apart = z3.Implies(tokens < other, batch * other - batch * tokens > 2)
    above = z3.Implies(batch * tokens > EXACT_MAX, batch * tokens > EXACT_MAX + 2)
    return Theorem(
        domain=(tokens >= 1, other >= 1, tokens <= 2 * TOKENS_MAX, other <= 2 * TOKENS_MAX),
        claim=z3.And(apart, above, batch * tokens <= 2 * EXACT_MAX),
        faults={
            "exact": batch * tokens <= EXACT_MAX,
            "a wider spacing": z3.Implies(batch * tokens > EXACT_MAX, batch * tokens > EXACT_MAX + REQUESTS_MAX * 2),
        },
    )
