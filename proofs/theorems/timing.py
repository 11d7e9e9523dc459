"""How late a sliding window alarms, and how long a run of confirmations takes."""

from __future__ import annotations

import z3

from proofs.theorem import Theorem, theorem
from scheduler import formulas


@theorem
def the_gap_grows_exactly_outside_the_coverage() -> Theorem:
    """Over any row of arrivals, mean batch of the holders less mean batch of the others grows iff share > coverage.

    Claim: window_alarm_is_gap_growth.
    """
    share, holders, instances = z3.Reals("x M N")
    grows = formulas.gap_growth(share, holders, instances) > 0
    return Theorem(
        domain=(holders >= 1, share >= 0, share <= 1),
        given={"some instance does not hold the prefix": holders < instances},
        claim=grows == z3.Not(formulas.covered(share, holders, instances)),
        faults={
            "every share": grows,
            "holders against the others": grows == z3.Not(formulas.covered(share, holders, instances - holders)),
        },
        reached={
            "growth of zero": z3.And(
                formulas.gap_growth(share, holders, instances) == 0, holders == 2, instances == 8, share > 0
            )
        },
    )


@theorem
def the_gap_changes_by_the_sum_over_its_arrivals() -> Theorem:
    """Over W arrivals, K of them of the class, the gap changes by ``K/M - (W - K)/(N - M)``: W times gap_growth(K/W).

    The step over arrivals; no fluid is assumed, and the order of arrivals does not matter.

    Claim: window_alarm_is_gap_growth.
    """
    holders, instances, window, hot, change, after, is_hot = z3.Reals("M N W K change change_after is_hot")

    def total(hot: z3.ArithRef, window: z3.ArithRef) -> z3.ArithRef:
        return window * formulas.gap_growth(hot / window, holders, instances)

    return Theorem(
        domain=(holders >= 1, holders < instances, window >= 1, z3.Or(is_hot == 0, is_hot == 1)),
        given={
            "induction: the sum holds for W arrivals": change == total(hot, window),
            "hot requests go to holders, others elsewhere, and none completes": after
            == change + is_hot / holders - (1 - is_hot) / (instances - holders),
        },
        claim=after == total(hot + is_hot, window + 1),
        faults={
            "every arrival is of the class": after == total(hot + 1, window + 1),
            "arrivals of others do not count": after == total(hot + is_hot, window + is_hot),
        },
    )


@theorem
def a_sliding_window_crosses_after_its_share_of_requests() -> Theorem:
    """After a step from x_0 to x_1 the window's share reaches c exactly ``W (c - x_0)/(x_1 - x_0)`` requests later.

    Claim: sliding_window_alarm_delay.
    """
    before, after, window, threshold, since = z3.Reals("x_0 x_1 W c m")
    seen = formulas.window_share(before, after, window, since) >= threshold
    delay = formulas.alarm_delay(before, after, window, threshold)
    return Theorem(
        domain=(window > 0, before >= 0, after <= 1, before != after, since >= 0, since <= window),
        given={"the threshold lies between": z3.And(before <= threshold, threshold <= after)},
        claim=z3.And(seen == (since >= delay), delay >= 0, delay <= window),
        faults={
            "never late": seen,
            "the whole window late": seen == (since >= window),
            "counted from the other share": seen
            == (since >= formulas.alarm_delay(1 - after, 1 - before, window, threshold)),
        },
        reached={"half a window": z3.And(delay == window / 2, before == 0, threshold > 0)},
    )


@theorem
def slack_of_the_rest_of_the_window_makes_up_for_the_delay() -> Theorem:
    """At the alarm the gap is no greater than it was before n requests of slack, iff n is at least W less the delay.

    Claim: sliding_window_alarm_delay.
    """
    before, after, window, holders, instances, slack = z3.Reals("x_0 x_1 W M N n")
    delay = formulas.alarm_delay(before, after, window, holders / instances)
    change = slack * formulas.gap_growth(before, holders, instances) + delay * formulas.gap_growth(
        after, holders, instances
    )
    return Theorem(
        domain=(window > 0, holders >= 1, holders < instances, before >= 0, after <= 1, before < after, slack >= 0),
        given={"before the step the gap shrinks": before * instances < holders},
        claim=(change <= 0) == (slack >= window - delay),
        faults={
            "no slack needed": change <= 0,
            "slack as long as the delay": (change <= 0) == (slack >= delay),
        },
        reached={"level at the alarm": z3.And(change == 0, slack == 3, delay == 1)},
    )


@theorem
def a_longer_run_waits_for_the_shorter_one_first() -> Theorem:
    """From ``E_(r+1) = E_r + 1 + (1 - p) E_(r+1)`` the mean wait is ``(1 - p^r)/((1 - p) p^r)``: base and step.

    Claim: confirmation_run_length.
    """
    success, chance, wait, after = z3.Reals("p p_to_r wait wait_after")
    return Theorem(
        domain=(success > 0, success < 1, chance > 0, chance < 1),
        given={
            "induction: the formula holds for r": wait == formulas.run_wait(success, chance),
            "trials are independent": after == wait + 1 + (1 - success) * after,
        },
        claim=z3.And(
            formulas.run_wait(success, formulas.run_chance(success, 1)) == 1 / success,
            after == formulas.run_wait(success, chance * success),
        ),
        faults={
            "one more success doubles the wait": after >= 2 * wait,
            "the run need not start again": after == wait + 1 / success,
        },
    )
