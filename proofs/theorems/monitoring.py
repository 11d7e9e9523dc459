"""The monitor's test: why classes that exclude each other count as N, why holders may change, why no step is missed."""

from __future__ import annotations

import z3

from proofs.theorem import Theorem, theorem
from scheduler import formulas


@theorem
def the_chance_of_an_alarm_bends_upwards_up_to_the_coverage() -> Theorem:
    """The slope of the binomial tail grows with the share while x <= c, if ``k - 1 >= c (w - 1)``.

    Its logarithm has the slope ``(k-1)/x - (w-k)/(1-x)``, see the derivation.

    Claim: disjoint_classes_count_as_n.
    """
    share, coverage, count, window = z3.Reals("x c k w")
    bend = (count - 1) / share - (window - count) / (1 - share)
    return Theorem(
        domain=(share > 0, share < 1, coverage > 0, coverage < 1, window >= 2),
        given={
            "the class is covered": share <= coverage,
            "the threshold lies beyond the coverage": count - 1 >= coverage * (window - 1),
        },
        claim=bend >= 0,
        faults={"strictly": bend > 0, "it bends downwards": bend <= 0},
        reached={"no bend": z3.And(bend == 0, window == 11, coverage == z3.Q(1, 2))},
    )


@theorem
def a_chance_with_a_rising_slope_is_below_its_chord() -> Theorem:
    """From 0 at share 0 to delta at the coverage: at a share between, at most ``(x/c) delta``.

    Claim: disjoint_classes_count_as_n.
    """
    share, coverage, chance, error = z3.Reals("x c chance delta")
    return Theorem(
        domain=(share > 0, share < coverage, chance >= 0, error > 0),
        given={"the slope rises": chance / share <= (error - chance) / (coverage - share)},
        claim=chance <= share / coverage * error,
        faults={
            "half of it": chance <= share / coverage * error / 2,
            "by the square": chance <= share / coverage * share / coverage * error,
        },
        reached={"the chord": z3.And(chance == share / coverage * error, coverage == z3.Q(1, 4))},
    )


@theorem
def covered_classes_that_exclude_each_other_err_as_n() -> Theorem:
    """However many classes, and whoever holds them: together at most N parts of the error, the step over the classes.

    Claim: disjoint_classes_count_as_n.
    """
    share, before, holders, instances, error, total, last = z3.Reals("x shares M N delta total last")
    part = formulas.error_share(error, instances, 1)
    after = total + last
    return Theorem(
        domain=(share >= 0, before >= 0, instances >= 1, error > 0),
        given={
            "someone holds it": holders >= 1,
            "its chance is below the chord": last <= share * instances / holders * part,
            "the classes exclude each other": before + share <= 1,
            "induction: the classes so far err in proportion": total <= before * error,
        },
        claim=z3.And(after <= (before + share) * error, after <= error),
        faults={
            "half of it": after <= (before + share) * error / 2,
            "the last class for nothing": after <= before * error,
        },
        reached={"all of it": z3.And(after == error, holders == 1, share == z3.Q(1, 4), instances == 8)},
    )


@theorem
def more_holders_lower_the_evidence() -> Theorem:
    """While the share seen is above the coverage, a further holder makes the evidence smaller; below it, greater.

    Claim: alarms_hold_while_holders_change.
    """
    seen, coverage = z3.Reals("s c")
    slope = formulas.kl_slope(seen, coverage)
    return Theorem(
        domain=(seen > 0, seen < 1, coverage > 0, coverage < 1),
        claim=(slope < 0) == (coverage < seen),
        faults={"always": slope < 0, "the other way round": (slope < 0) == (coverage > seen)},
        reached={"flat": z3.And(slope == 0, seen == z3.Q(1, 4))},
    )


@theorem
def more_holders_lower_the_imbalance() -> Theorem:
    """The fluid imbalance at a share falls with the number of holders.

    Claim: alarms_hold_while_holders_change.
    """
    share, fewer, more, instances = z3.Reals("x M more N")

    def imbalance(holders: z3.ArithRef) -> z3.ArithRef:
        return formulas.hot_rate(share, holders, 1) / formulas.cold_rate(share, holders, instances, 1)

    return Theorem(
        domain=(share > 0, share < 1, fewer >= 1, more < instances, fewer < instances),
        given={"there are more of them": fewer < more},
        claim=imbalance(more) < imbalance(fewer),
        faults={
            "to less than half": imbalance(more) < imbalance(fewer) / 2,
            "in proportion to the holders": imbalance(more) * more == imbalance(fewer) * fewer,
        },
    )


@theorem
def the_last_request_of_the_class_sees_all_since_the_step() -> Theorem:
    """Of m requests since a step, the last of the class has the first of the class in every window of w >= m.

    So a class that is looked at only when a request of it comes loses nothing by that.

    Claim: detector_fires_in_time.
    """
    step, first, last, requests, window = z3.Reals("step first last m w")
    return Theorem(
        given={
            "the window is long enough": requests <= window,
            "it came after the step": first >= step + 1,
            "no more than m have come since": last <= step + requests,
        },
        claim=first > last - window,
        faults={
            "with one request less": first > last - (window - 1),
            "twice over": first > last - window / 2,
        },
        reached={"just in": z3.And(first == last - window + 1, requests == 32)},
    )


@theorem
def an_alarm_with_a_run_is_no_likelier_than_the_alarm() -> Theorem:
    """Whatever the run says, alarm and run together have at most the chance of the alarm: confirming adds no error.

    Claim: confirmation.
    """
    alarm, both, alarm_alone, run_alone, error = z3.Reals("alarm both alarm_alone run_alone delta")
    return Theorem(
        domain=(both >= 0, run_alone >= 0, both + alarm_alone + run_alone <= 1, alarm == both + alarm_alone),
        given={"a chance is not negative": alarm_alone >= 0, "the alarm errs by delta": alarm <= error},
        claim=both <= error,
        faults={
            "half of it": both <= error / 2,
            "the run alone is as seldom": both + run_alone <= error,
        },
        reached={"a run at every alarm": z3.And(both == error, error == z3.Q(1, 100), run_alone > z3.Q(1, 2))},
    )
