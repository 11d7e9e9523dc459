"""Requests that come in sessions: what a session counts for.

A session of m requests contributes the share Y of its requests that belong to the class. Chernoff's argument needs of
Y only that it lies in [0, 1], so the promise holds with sessions counted; the design effect matches the variance only.
"""

from __future__ import annotations

import z3

from proofs.theorem import Theorem, theorem
from scheduler import formulas


@theorem
def growing_steps_lie_below_their_chord() -> Theorem:
    """If steps never shrink, the first j of m steps climb at most ``j/m`` of the way: the induction over m.

    With the steps ``s^(i+1) - s^i`` of a power, ``s = z^(1/m) >= 1``, it says ``z^(j/m) <= 1 + (j/m)(z - 1)``.

    Claim: sessions_count_as_requests.
    """
    j, m, part, whole, step = z3.Reals("j m climbed_by_j climbed_by_m step")
    return Theorem(
        domain=(j >= 0, m >= j, m > 0),
        given={
            "induction: the first j of m are below the chord": part * m <= j * whole,
            "no later step is smaller than the mean of the first": part <= j * step,
        },
        claim=part * (m + 1) <= j * (whole + step),
        faults={"the chord of the step alone": part * (m + 1) <= j * step},
        reached={"equal steps": z3.And(part * (m + 1) == j * (whole + step), j == 2, m == 5, step == 1)},
    )


@theorem
def the_steps_of_a_power_never_shrink() -> Theorem:
    """The next step of a power is s times the last, ``s >= 1``; and it is at least the mean of all before it.

    Claim: sessions_count_as_requests.
    """
    s, step, j, part = z3.Reals("s step j climbed_by_j")
    return Theorem(
        domain=(step >= 0, j >= 0),
        given={"the tilt is at least 1": s >= 1, "induction: the step is at least the mean so far": part <= j * step},
        claim=z3.And(step * s >= step, part + step <= (j + 1) * (step * s)),
        faults={"strictly": step * s > step},
        reached={"a tilt of 1": z3.And(step * s == step, step == 1)},
    )


@theorem
def a_share_in_a_session_is_tilted_no_more_than_a_request() -> Theorem:
    """``E z^Y <= x z + 1 - x`` for a session with mean share x: the step over the values that Y may take.

    ``weight`` is the probability of the values so far, ``mean`` their part of x, ``tilted`` their part of ``E z^Y``.

    Claim: sessions_count_as_requests.
    """
    tilt, weight, mean, tilted = z3.Reals("z weight mean tilted")
    chance, value, power = z3.Reals("chance y z_to_y")

    def bound(mean: z3.ArithRef, weight: z3.ArithRef) -> z3.ArithRef:
        return formulas.tilted_mean(mean, tilt) - (1 - weight)

    after_mean, after_weight, after = mean + chance * value, weight + chance, tilted + chance * power
    return Theorem(
        domain=(tilt >= 1, chance >= 0, value >= 0, value <= 1, weight >= 0),
        given={
            "a power lies below its chord": power <= formulas.tilted_mean(value, tilt),
            "induction: the values so far are tilted no more": tilted <= bound(mean, weight),
        },
        claim=z3.And(
            after <= bound(after_mean, after_weight),
            z3.Implies(after_weight == 1, after <= formulas.tilted_mean(after_mean, tilt)),
        ),
        faults={"the last value forgotten": after <= bound(mean, after_weight)},
        reached={"one request a session": z3.And(after == bound(after_mean, after_weight), value == 1, chance > 0)},
    )


@theorem
def one_more_request_adds_its_covariances() -> Theorem:
    """The variance of the sum over a session of m requests is ``m s^2 (1 + (m - 1) icc)``: the step over m.

    Claim: session_design_effect.
    """
    m, variance, correlation, of_sum, after = z3.Reals("m s2 icc variance_of_sum variance_after")

    def of(m: z3.ArithRef) -> z3.ArithRef:
        return m * variance * formulas.design_effect(m, correlation)

    return Theorem(
        domain=(m >= 1, variance > 0, correlation >= 0, correlation <= 1, of(z3.RealVal(1)) == variance),
        given={
            "induction: the formula holds for m requests": of_sum == of(m),
            "any two requests of a session are equally correlated": after
            == of_sum + 2 * m * correlation * variance + variance,
        },
        claim=after == of(m + 1),
        faults={"m in place of m - 1": after == (m + 1) * variance * formulas.design_effect(m + 2, correlation)},
    )


@theorem
def the_design_effect_is_no_bound_of_the_error() -> Theorem:
    """One session of two requests, icc 1/2, alarm if both are of the class: likelier than ``exp(-W_eff KL(1 || x))``.

    Both are of the class with probability ``x^2 + icc x (1 - x)``; the promise would be ``x^W_eff``, ``W_eff = 4/3``.

    Claim: design_effect_keeps_the_promise.
    """
    share = z3.Real("x")
    requests = formulas.effective_requests(z3.Q(2, 1), z3.Q(2, 1), z3.Q(1, 2))
    effective = z3.simplify(requests).as_fraction()
    both = share * share + (1 - share) * share / 2
    left, right = z3.RealVal(1), z3.RealVal(1)
    for _ in range(effective.denominator):
        left *= both
    for _ in range(effective.numerator):
        right *= share
    return Theorem(domain=(share > 0, share < 1), claim=left <= right, refuted=True)
