"""Coverage: how much of the traffic a class may have, by count and by work.

``x`` share of the class, ``M`` of ``N`` instances hold its prefix, ``a`` and ``b`` the flows to a holder and to another
instance. All are real numbers here, which proves more than whole ones need.
"""

from __future__ import annotations

from typing import Any

import z3

from proofs.theorem import Theorem, theorem
from scheduler import formulas


def _shares() -> tuple[Any, Any, Any, Any]:
    share, holders, instances, rate = z3.Reals("share holders instances rate")
    return share, holders, instances, rate


@theorem
def a_class_is_covered_by_its_share_of_the_instances() -> Theorem:
    """A holder receives no more than another instance, the odds compare, and ``x <= M/N``, are one condition.

    Claim: coverage_law.
    """
    share, holders, instances, rate = _shares()
    covered = formulas.covered(share, holders, instances)
    hot, cold = formulas.hot_rate(share, holders, rate), formulas.cold_rate(share, holders, instances, rate)
    odds = share / (1 - share) <= holders / (instances - holders)
    return Theorem(
        given={
            "some instance holds the prefix": holders > 0,
            "some instance does not": holders < instances,
            "there is other traffic": share < 1,
            "requests arrive": rate > 0,
        },
        claim=z3.And((hot <= cold) == covered, odds == covered),
        faults={
            "share against the others": odds == (share * (instances - holders) <= holders),
            "flipped": (hot >= cold) == covered,
            "strict": odds == (share * instances < holders),
        },
        reached={"level": z3.And(covered, hot == cold, share == z3.Q(1, 4))},
    )


@theorem
def completions_do_not_change_the_law() -> Theorem:
    """With one residence time for all, residents order at every time after an equal start as the flows do.

    Claim: coverage_law.
    """
    start, hot, cold, residence, passed = z3.Reals("start hot cold residence passed")
    inside, outside = (
        formulas.residents_between(start, formulas.steady_residents(flow, residence), passed) for flow in (hot, cold)
    )
    return Theorem(
        given={"time has passed": passed > 0, "residence takes time": residence > 0},
        claim=(inside <= outside) == (hot <= cold),
        faults={
            "only from an empty start": (inside <= outside) == z3.And(hot <= cold, start == 0),
            "flipped": (inside >= outside) == (hot <= cold),
        },
    )


@theorem
def the_share_of_work_decides() -> Theorem:
    """With different residence times, steady residents are level exactly if the share of work is covered.

    Claim: coverage_law_by_work.
    """
    share, holders, instances, rate = _shares()
    own, other = z3.Reals("own_s other_s")
    hot = formulas.steady_residents(formulas.hot_rate(share, holders, rate), own)
    cold = formulas.steady_residents(formulas.cold_rate(share, holders, instances, rate), other)
    work = formulas.work_share(share, own, other)
    return Theorem(
        domain=(share >= 0, share <= 1),
        given={
            "some instance holds the prefix": holders > 0,
            "some instance does not": holders < instances,
            "requests arrive": rate > 0,
            "residence takes time": z3.And(own > 0, other > 0),
        },
        claim=(hot <= cold) == formulas.covered(work, holders, instances),
        faults={
            "share by count": (hot <= cold) == formulas.covered(share, holders, instances),
            "times exchanged": (hot <= cold)
            == formulas.covered(formulas.work_share(share, other, own), holders, instances),
        },
        reached={"level": z3.And(hot == cold, own == 3 * other)},
    )


@theorem
def longer_residence_weighs_more_than_its_count() -> Theorem:
    """The share of work exceeds the share by count exactly if the class stays longer than the others.

    Claim: coverage_law_by_work.
    """
    share, own, other = z3.Reals("share own_s other_s")
    work = formulas.work_share(share, own, other)
    return Theorem(
        given={
            "there is traffic of the class": share > 0,
            "there is other traffic": share < 1,
            "residence takes time": z3.And(own > 0, other > 0),
        },
        claim=(work > share) == (own > other),
        faults={"flipped": (work > share) == (own < other), "twice as long": (work > share) == (own > 2 * other)},
        reached={"a quarter of the requests, half of the work": z3.And(share == z3.Q(1, 4), work == z3.Q(1, 2))},
    )


@theorem
def a_class_covered_by_count_can_fail_by_work() -> Theorem:
    """False: that coverage by count is enough.

    Claim: count_coverage_suffices.
    """
    share, holders, instances, _ = _shares()
    own, other = z3.Reals("own_s other_s")
    return Theorem(
        domain=(share > 0, share < 1, holders >= 1, holders < instances, own > 0, other > 0),
        given={"covered by count": formulas.covered(share, holders, instances)},
        claim=formulas.covered(formulas.work_share(share, own, other), holders, instances),
        refuted=True,
    )


def _loaded() -> tuple[Any, Any, Any, Any, Any]:
    rate, base, slope, residents = z3.Reals("rate base_s slope residents")
    return rate, base, slope, residents, base + slope * residents


@theorem
def residence_that_grows_with_the_batch_has_one_fixed_point() -> Theorem:
    """Little's law ``b = a (T_0 + s b)`` has a solution exactly if ``a s < 1``, and it is the closed form.

    Claim: coverage_law_by_work.
    """
    rate, base, slope, residents, residence = _loaded()
    steady = formulas.steady_residents(rate, base, slope)
    return Theorem(
        domain=(rate >= 0, slope >= 0),
        given={"residence takes time": base > 0, "no batch is negative": residents >= 0},
        claim=(residents == rate * residence) == z3.And(rate * slope < 1, residents == steady),
        faults={
            "slope forgotten": (residents == rate * residence)
            == z3.And(rate * slope < 1, residents == formulas.steady_residents(rate, base)),
            "up to half": (residents == rate * residence) == z3.And(rate * slope < z3.Q(1, 2), residents == steady),
        },
        reached={"twice the batch at half the limit": z3.And(rate * slope == z3.Q(1, 2), steady == 2 * rate * base)},
    )


@theorem
def past_the_limit_the_batch_grows_for_ever() -> Theorem:
    """The batch rises exactly while it is below the fixed point; from ``a s >= 1`` on it rises at any size.

    Requests leave at the rate ``b/T(b)``.

    Claim: coverage_law_by_work.
    """
    rate, base, slope, residents, residence = _loaded()
    rises = rate > residents / residence
    steady = formulas.steady_residents(rate, base, slope)
    return Theorem(
        domain=(rate >= 0, slope >= 0),
        given={"residence takes time": base > 0, "no batch is negative": residents >= 0},
        claim=rises == z3.Or(rate * slope >= 1, residents < steady),
        faults={
            "the limit is stable": rises == z3.And(rate * slope < 1, residents < steady),
            "past twice the limit": rises == z3.Or(rate * slope >= 2, residents < steady),
        },
    )


@theorem
def load_makes_a_hot_spot_worse_than_its_flows() -> Theorem:
    """With the same residence time function, residents are more unequal than the flows, level flows stay level.

    Claim: coverage_law_by_work.
    """
    hot, cold, base, slope = z3.Reals("hot cold base_s slope")
    inside, outside = (formulas.steady_residents(flow, base, slope) for flow in (hot, cold))
    return Theorem(
        domain=(cold > 0, slope > 0, hot > 0),
        given={
            "residence takes time": base > 0,
            "both have a steady state": z3.And(hot * slope < 1, cold * slope < 1),
        },
        claim=z3.And((inside / outside > hot / cold) == (hot > cold), (inside <= outside) == (hot <= cold)),
        faults={
            "as unequal as the flows": inside / outside <= hot / cold,
            "flipped": (inside / outside > hot / cold) == (hot < cold),
        },
        reached={"ten times the ratio of the flows": inside * cold == 10 * hot * outside},
    )
