"""Scores that no rescaling of an indicator affects: why they can only order by ``P^a B^b``, and what the exponent buys.

In logarithms a rescaling is a shift, so the score is a function ``T(x, y)`` of ``x = ln P`` and ``y = ln B``, and no
shift changes its order. A *step* ``(x, y)`` has the sign of ``T(x, y) - T(0, 0)``; it is neutral if that is 0: then the
two factors cancel. The theorems are the steps of an induction:

1. Signs add (:func:`signs_of_steps_add`), so a step, its multiples and its fractions have one sign; a neutral step is
   neutral both ways (:func:`a_neutral_step_is_neutral_both_ways`). Hence one neutral step makes all rational multiples
   of it neutral.
2. A rational multiple between squeezes every other step (:func:`a_step_off_the_line_has_the_sign_of_the_power`).
3. Some step is neutral: else uncountably many intervals of scores would be disjoint
   (:func:`without_a_neutral_step_intervals_of_scores_are_disjoint`).

Glossary: ``c`` the ratio ``a/b`` of the exponents, ``(r, -c r)`` a neutral step, ``rho`` leverage.
"""

from __future__ import annotations

from typing import Any

import z3

from proofs.cluster import plain, scores
from proofs.theorem import Theorem, theorem
from proofs.theorems.robustness import LMETRIC
from scheduler import formulas

_SHIFTS = "rescaling does not change the order"
_INCREASING = "the score increases in both"


def score_of_logs() -> Any:
    """An unknown score of the logarithms of P and B."""
    return z3.Function("T", z3.RealSort(), z3.RealSort(), z3.RealSort())


def unchanged(T: Any, a: tuple[Any, Any], b: tuple[Any, Any], shift: tuple[Any, Any]) -> Any:
    """The order of two points is that after a shift of both: one instance of what is known of the score."""
    before = T(*a), T(*b)
    after = tuple(T(x + shift[0], y + shift[1]) for x, y in (a, b))
    return z3.And((before[0] < before[1]) == (after[0] < after[1]), (before[0] > before[1]) == (after[0] > after[1]))


@theorem
def signs_of_steps_add() -> Theorem:
    """Two steps with a sign, or neutral, have it together: the induction step from n to n + 1 times a step.

    Claim: exponent_is_the_hidden_weight.
    """
    T = score_of_logs()
    x, y, x_more, y_more = z3.Reals("x y x_more y_more")
    origin = T(0, 0)
    one, more, both = T(x, y), T(x_more, y_more), T(x + x_more, y + y_more)
    zero = z3.RealVal(0), z3.RealVal(0)
    return Theorem(
        given={_SHIFTS: unchanged(T, (x, y), zero, (x_more, y_more))},
        claim=z3.And(
            z3.Implies(z3.And(one > origin, more >= origin), both > origin),
            z3.Implies(z3.And(one < origin, more <= origin), both < origin),
            z3.Implies(z3.And(one == origin, more == origin), both == origin),
        ),
        faults={
            "of one": z3.Implies(one > origin, both > origin),
            "of either kind": z3.Implies(z3.And(one > origin, more <= origin), both == origin),
        },
    )


@theorem
def a_neutral_step_is_neutral_both_ways() -> Theorem:
    """If two factors cancel, so do their reciprocals.

    Claim: exponent_is_the_hidden_weight.
    """
    T = score_of_logs()
    x, y = z3.Reals("x y")
    zero = z3.RealVal(0), z3.RealVal(0)
    return Theorem(
        given={
            _SHIFTS: unchanged(T, (x, y), zero, (-x, -y)),
            "the step is neutral": T(x, y) == T(0, 0),
        },
        claim=T(-x, -y) == T(0, 0),
        faults={"cheaper": T(-x, -y) < T(0, 0), "mirrored": T(-x, y) == T(0, 0)},
    )


@theorem
def a_step_off_the_line_has_the_sign_of_the_power() -> Theorem:
    """With ``(r, -c r)`` neutral for rational r, a step ``(x, y)`` is dearer if ``c x + y > 0``, cheaper if < 0.

    Between ``-y/c`` and x lies a rational r, whichever is greater. So the score strictly prefers an instance wherever
    ``P^c B`` does.

    Claim: exponent_is_the_hidden_weight.
    """
    T = score_of_logs()
    x, y, r, c = z3.Reals("x y r c")
    power = c * x + y
    return Theorem(
        domain=(c > 0,),
        given={
            _INCREASING: z3.And(
                z3.Implies(z3.And(r <= x, -c * r < y), T(r, -c * r) < T(x, y)),
                z3.Implies(z3.And(x <= r, y < -c * r), T(x, y) < T(r, -c * r)),
            ),
            "the step is neutral": T(r, -c * r) == T(0, 0),
            "a rational multiple lies between": z3.Or(
                z3.And(power > 0, r <= x, -y < c * r), z3.And(power < 0, x <= r, c * r < -y)
            ),
        },
        claim=z3.And(
            z3.Implies(power > 0, T(x, y) > T(0, 0)),
            z3.Implies(power < 0, T(x, y) < T(0, 0)),
        ),
        faults={
            "the product, whatever c": z3.Implies(x + y > 0, T(x, y) > T(0, 0)),
            "flipped": z3.Implies(power > 0, T(x, y) < T(0, 0)),
        },
    )


@theorem
def without_a_neutral_step_intervals_of_scores_are_disjoint() -> Theorem:
    """If no smaller B made up for a greater P, all scores at one P would lie below those at any greater P.

    Then each P had an interval of scores of its own; but only countably many disjoint intervals fit into the reals.

    Claim: exponent_is_the_hidden_weight.
    """
    T = score_of_logs()
    x, x_greater, y, y_greater = z3.Reals("x x_greater y y_greater")
    zero = z3.RealVal(0), z3.RealVal(0)
    step = x_greater - x, y - y_greater
    return Theorem(
        domain=(x < x_greater, y < y_greater),
        given={
            _SHIFTS: unchanged(T, step, zero, (x, y_greater)),
            "no smaller B makes up for the greater P": T(*step) > T(0, 0),
            _INCREASING: z3.And(T(x, y) < T(x, y_greater), T(x_greater, y) < T(x_greater, y_greater)),
        },
        claim=z3.And(T(x, y) < T(x, y_greater), T(x, y_greater) < T(x_greater, y)),
        faults={
            "no greater B lengthens an interval": T(x_greater, y_greater) - T(x_greater, y)
            <= T(x, y_greater) - T(x, y),
            "overlapping": T(x, y_greater) >= T(x_greater, y),
        },
    )


@theorem
def a_multiplicative_score_is_unaffected_by_rescaling() -> Theorem:
    """The converse: ``f(P) g(B)`` with ``f(uv) = f(u) f(v)`` and g alike, as powers are, keeps its order.

    Claim: exponent_is_the_hidden_weight.
    """
    f_i, f_j, g_i, g_j, f_scale, g_scale = z3.Reals("f_P_i f_P_j g_B_i g_B_j f_scale g_scale")
    f_scaled_i, f_scaled_j, g_scaled_i, g_scaled_j = z3.Reals("f_uP_i f_uP_j g_vB_i g_vB_j")
    before = f_i * g_i < f_j * g_j
    products = [f_scaled_i == f_scale * f_i, f_scaled_j == f_scale * f_j]
    products += [g_scaled_i == g_scale * g_i, g_scaled_j == g_scale * g_j]
    return Theorem(
        given={
            "powers are positive": z3.And(f_scale > 0, g_scale > 0),
            "a power of a product is the product of the powers": z3.And(products),
        },
        claim=before == (f_scaled_i * g_scaled_i < f_scaled_j * g_scaled_j),
        faults={
            "a sum": (f_i + g_i < f_j + g_j) == (f_scaled_i + g_scaled_i < f_scaled_j + g_scaled_j),
            "flipped": before == (f_scaled_i * g_scaled_i > f_scaled_j * g_scaled_j),
        },
    )


@theorem
def the_exponents_cap_the_leverage() -> Theorem:
    """A score ``P^a B^b`` takes m over j only if ``(B_m/B_j)^b <= rho^a``, that is ``B_m <= rho^(a/b) B_j``.

    Stated with any increasing powers f of P-tokens and g of batches; the cap is where ``g(cap) = f(rho)``.

    Claim: exponent_is_the_hidden_weight.
    """
    g = z3.Function("g", z3.RealSort(), z3.RealSort())
    ratio, cap, f_leverage, f_m, f_j, g_m, g_j = z3.Reals("B_ratio cap f_rho f_P_m f_P_j g_B_m g_B_j")
    return Theorem(
        domain=(f_m > 0, g_j > 0, f_leverage > 0),
        given={
            "the score takes m": f_m * g_m <= f_j * g_j,
            "a power of a product is the product of the powers": z3.And(f_j == f_leverage * f_m, g_m == g(ratio) * g_j),
            "powers increase": (ratio <= cap) == (g(ratio) <= g(cap)),
            "the cap is the leverage's power": g(cap) == f_leverage,
        },
        claim=ratio <= cap,
        faults={"half the cap": ratio <= cap / 2, "at least the cap": ratio >= cap},
        reached={"the cap": ratio == cap},
    )


@theorem
def the_product_is_the_power_with_equal_exponents() -> Theorem:
    """The shipped product is ``P^a B^b`` at ``a = b = 1``: nothing is left to tune.

    Claim: exponent_is_the_hidden_weight.
    """
    [x] = plain("i")
    [product] = scores(LMETRIC, [x])
    return Theorem(
        claim=product == formulas.power_score(x.p_token, x.batch_size, 1, 1),
        faults={
            "batch squared": product == formulas.power_score(x.p_token, x.batch_size, 1, 2),
            "tokens squared": product == formulas.power_score(x.p_token, x.batch_size, 2, 1),
        },
    )
