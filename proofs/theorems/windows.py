"""What a window of requests promises: Chernoff's bound step by step, its simple form, and errors that add up.

The solver has no logarithm. The bound is proved for every window by an induction in which ``g = (x z + 1 - x)^W`` and
``t = z^(-K)`` are free positive terms; that the best z makes it ``exp(-W KL)`` is the derivation ``alarm_window``.
"""

from __future__ import annotations

import z3

from proofs.theorem import Theorem, theorem
from scheduler import formulas

HALF = z3.Q(1, 2)


def inside(*shares: z3.ArithRef) -> list[z3.BoolRef]:
    """Shares strictly between 0 and 1."""
    return [condition for share in shares for condition in (share > 0, share < 1)]


@theorem
def before_the_first_request_the_bound_is_the_certain_event() -> Theorem:
    """With no request seen, K <= 0 successes are certain and ``z^(-K) >= 1``: the induction begins.

    ``power`` is ``z^m`` with m >= 0, built up factor by factor.

    Claim: alarm_window.
    """
    tilt, power = z3.Reals("z power")
    return Theorem(
        given={"the tilt is at least 1": tilt >= 1, "induction: the power so far is at least 1": power >= 1},
        claim=power * tilt >= 1,
        faults={"strictly": power * tilt > 1},
        reached={"certainty": power * tilt == 1},
    )


@theorem
def one_more_request_multiplies_the_bound_by_the_tilted_mean() -> Theorem:
    """If ``P(K successes in W) <= g z^(-K)`` for all K, then with one more request the factor is ``x z + 1 - x``.

    Here ``t = z^(-K-1)``: the tail for K is bounded by ``g t z``, that for K + 1 by ``g t``.

    Claim: alarm_window.
    """
    share, tilt, g, t = z3.Reals("x z g t")
    fewer, same, after = z3.Reals("tail_of_K tail_of_K_plus_1 tail_after")
    bound = g * formulas.tilted_mean(share, tilt) * t
    return Theorem(
        domain=(share >= 0, share <= 1, tilt >= 1, g > 0, t > 0),
        given={
            "arrivals are independent": after == share * fewer + (1 - share) * same,
            "induction: the bound holds for W requests": z3.And(fewer <= g * t * tilt, same <= g * t),
        },
        claim=after <= bound,
        faults={
            "the factor forgotten": after <= g * t,
            "successes and failures exchanged": after <= g * formulas.tilted_mean(1 - share, tilt) * t,
        },
        reached={"the bound": z3.And(after == bound, share == HALF, tilt == 3)},
    )


@theorem
def the_best_tilt_is_at_least_one_on_the_safe_side() -> Theorem:
    """The tilt that gives the divergence is allowed: ``z >= 1`` exactly if the share is at most the threshold.

    The other error is the same one with successes and failures exchanged.

    Claim: alarm_window.
    """
    threshold, share = z3.Reals("c x")
    tilt = formulas.best_tilt(threshold, share)
    return Theorem(
        domain=(*inside(threshold, share),),
        claim=(tilt >= 1) == (share <= threshold),
        faults={"on either side": tilt >= 1, "exchanged": (tilt >= 1) == (share >= threshold)},
    )


@theorem
def the_divergence_rises_faster_than_the_simple_form() -> Theorem:
    """Moving away from the threshold, KL rises at least as fast as ``2 eps^2``, whose slope times eps is ``4 eps^2``.

    Both are 0 at the threshold, so ``KL >= 2 eps^2``, and the error is least small at distance exactly eps.

    Claim: alarm_window.
    """
    threshold, share = z3.Reals("c x")
    eps = share - threshold
    rise = formulas.kl_slope(threshold, share) * eps
    return Theorem(
        domain=(*inside(threshold, share),),
        claim=rise >= 2 * formulas.hoeffding_bound(eps),
        faults={
            "a constant of 3": rise >= 3 * formulas.hoeffding_bound(eps),
            "not away but nearer": rise <= 2 * formulas.hoeffding_bound(eps),
        },
        reached={"equal slopes": z3.And(rise == 2 * formulas.hoeffding_bound(eps), eps > 0)},
    )


@theorem
def below_one_half_the_miss_needs_the_longer_window() -> Theorem:
    """With coverage at most one half, ``KL(c || c - eps) - KL(c || c + eps)`` grows from 0 with eps.

    So the smaller of the two, which sets the window, is that of the miss.

    Claim: miss_sets_the_window.
    """
    threshold, eps = z3.Reals("c eps")
    growth = -formulas.kl_slope(threshold, threshold - eps) - formulas.kl_slope(threshold, threshold + eps)
    return Theorem(
        domain=(eps > 0, *inside(threshold - eps, threshold + eps)),
        given={"the coverage is at most one half": threshold <= HALF},
        claim=growth >= 0,
        faults={"flipped": growth <= 0, "never equal": growth > 0},
        reached={"both alike": growth == 0},
    )


@theorem
def shares_of_the_error_add_up_to_it() -> Theorem:
    """Tests that err by their share each, err by delta together; they need not be independent.

    The step over the tests, and its end at ``classes * decisions`` of them.

    Claim: error_budget.
    """
    error, classes, decisions, tests, total, last = z3.Reals("delta classes decisions m total last")
    each = formulas.error_share(error, classes, decisions)
    after = total + last
    return Theorem(
        domain=(error > 0, classes >= 1, decisions >= 1, tests >= 0),
        given={
            "each test errs by its share": last <= each,
            "induction: the tests so far err by theirs": total <= tests * each,
        },
        claim=z3.And(after <= (tests + 1) * each, z3.Implies(tests + 1 == classes * decisions, after <= error)),
        faults={
            "half of the share": last <= each / 2,
            "one test fewer": after <= tests * each,
        },
        reached={"all of it": z3.And(after == error, tests + 1 == classes * decisions, classes == 2, decisions == 3)},
    )


@theorem
def an_endless_row_of_decisions_errs_by_less_than_delta() -> Theorem:
    """With ``delta/(n (n + 1))`` for the n-th decision, the first n err by at most ``delta n/(n + 1)``.

    Claim: error_budget.
    """
    error, decision, total, last = z3.Reals("delta n total last")
    after = total + last
    return Theorem(
        domain=(error > 0, decision >= 0),
        given={
            "each decision errs by its part": last <= formulas.error_of_decision(error, decision + 1),
            "induction: the decisions so far err by theirs": total <= error - error / (decision + 1),
        },
        claim=z3.And(after <= error - error / (decision + 2), after < error),
        faults={"half of it": after <= error / 2, "one decision fewer": after <= error - error / (decision + 1)},
        reached={"the sum": z3.And(after == error - error / (decision + 2), decision == 3)},
    )
