"""What the product heals by itself, what a filter does, and how many copies cover a class.

Where it matters that a count is whole, it is a solver integer, read as a real number by the formulas. One such number
and one rounding are as much as the solver decides, so the others are any real numbers, which proves more.
"""

from __future__ import annotations

from typing import Any

import z3

from proofs.ops import Z3
from proofs.theorem import Theorem, theorem
from scheduler import formulas


def whole(*names: str) -> list[Any]:
    """Whole numbers as terms of sort Real."""
    return [z3.ToReal(z3.Int(name)) for name in names]


def rounded_up(term: Any, count: Any) -> tuple[Any, Any]:
    """A constant for ``ceil(term)``, and what is known of it for a whole count.

    Solvers do not mix products of unknowns with rounding; so this is proved apart, for any number, by
    :func:`a_count_reaches_what_is_rounded_up`.
    """
    rounded = z3.Real("rounded_up")
    return rounded, z3.And(rounded >= term, rounded < term + 1, (count >= term) == (count >= rounded))


def with_term(formula: Any, term: Any, rounded: Any) -> Any:
    """The formula with a constant for ``ceil(term)``, written as formulas write it."""
    return z3.substitute(formula, (-Z3.floor(-term), rounded))


@theorem
def a_count_reaches_what_is_rounded_up() -> Theorem:
    """A whole number is no less than a number exactly if it is no less than that number rounded up.

    Claims: replicate_to_coverage, product_heals_only_to_its_leverage.
    """
    number, instances = z3.Reals("number instances")
    [count] = whole("count")
    needed = z3.substitute(formulas.copies_needed(Z3, number, instances), (number * instances, number))
    return Theorem(
        claim=z3.And(needed >= number, needed < number + 1, (count >= number) == (count >= needed)),
        faults={
            "rounded down": (count >= number) == (count >= needed - 1),
            "one more": (count > number) == (count >= needed),
        },
        reached={"already whole": z3.And(needed == number, number == 9), "rounded": needed > number},
    )


@theorem
def spilling_stops_at_the_leverage() -> Theorem:
    """With steady residents there is no spill at any load exactly if ``M (x + rho (1 - x)) >= x N``.

    Claim: product_heals_only_to_its_leverage.
    """
    share, holders, instances, rate, rho = z3.Reals("share holders instances rate rho")
    hot, cold = formulas.hot_rate(share, holders, rate), formulas.cold_rate(share, holders, instances, rate)
    quiet = share * instances / (share + rho * (1 - share))
    return Theorem(
        domain=(share >= 0, rho >= 1),
        given={
            "some instance holds the prefix": holders > 0,
            "some instance does not": holders < instances,
            "there is other traffic": share < 1,
            "requests arrive": rate > 0,
        },
        claim=(hot <= rho * cold) == (holders >= quiet),
        faults={
            "as for coverage": (hot <= rho * cold) == formulas.covered(share, holders, instances),
            "leverage on the class": (hot <= rho * cold)
            == (holders >= share * instances / (rho * share + (1 - share))),
        },
        reached={"16 instances, nine tenths": z3.And(instances == 16, share == z3.Q(9, 10), rho == 17, holders == 6)},
    )


@theorem
def load_decides_whether_it_spills_that_far() -> Theorem:
    """Steady residents spill exactly if ``(a - rho b) T > rho - 1``: never if ``a <= rho b``, else at enough load.

    Claim: product_heals_only_to_its_leverage.
    """
    hot, cold, residence, rho = z3.Reals("hot cold residence rho")
    inside, outside = (formulas.steady_residents(flow, residence) for flow in (hot, cold))
    spill = formulas.spills(inside + 1, outside + 1, rho)
    enough = (rho - 1) / (hot - rho * cold)
    return Theorem(
        domain=(hot >= 0, cold >= 0, residence > 0),
        given={"a hit is worth something": rho >= 1},
        claim=spill == z3.And(hot > rho * cold, residence > enough),
        faults={
            "at any load": spill == (hot > rho * cold),
            "whenever holders receive more": spill == z3.And(hot > cold, residence > enough),
        },
        reached={"quiet at low load": z3.And(z3.Not(spill), hot > rho * cold, rho == 17)},
        without={"a hit is worth something": {"hot": 1, "cold": 3, "residence": "1/10", "rho": "1/2"}},
    )


@theorem
def a_copy_at_the_limit_is_the_last() -> Theorem:
    """From a spill with quiet flows on, no later time spills: neither while the copy fills up nor once all are level.

    While the copy is below the other holders it takes the whole class, so they only lose; then holders and others go
    to steady numbers that are quiet.

    Claim: product_heals_only_to_its_leverage.
    """
    names = ("inside", "outside", "hot", "cold", "residence", "rho", "filling", "after")
    inside, outside, hot, cold, residence, rho, filling, after = z3.Reals(" ".join(names))
    steady_hot, steady_cold = (formulas.steady_residents(flow, residence) for flow in (hot, cold))
    full = formulas.residents_between(inside, 0, filling)
    others = formulas.residents_between(outside, steady_cold, filling)
    level = formulas.residents_between(full, steady_hot, after)
    others_then = formulas.residents_between(others, steady_cold, after)
    quiet = z3.Not(formulas.spills(full + 1, others + 1, rho))
    return Theorem(
        domain=(outside >= 0, cold >= 0, residence > 0, filling >= 0, filling < 1, after >= 0, after < 1),
        given={
            "a hit is worth something": rho >= 1,
            "the spill has just come": inside + 1 == rho * (outside + 1),
            "flows are quiet": hot <= rho * cold,
        },
        claim=z3.And(quiet, z3.Not(formulas.spills(level + 1, others_then + 1, rho))),
        faults={
            "quiet by more than a slot": z3.Not(formulas.spills(full + 1, others, rho)),
            "at half the leverage": z3.Not(formulas.spills(full + 1, others + 1, rho / 2)),
        },
        reached={"at the limit": z3.And(full + 1 == rho * (others + 1), rho == 17)},
    )


@theorem
def the_products_copies_are_the_fewest_quiet_holders() -> Theorem:
    """Of all whole numbers of holders from ``M`` on, ``m*`` is the least at which spilling stops.

    Claim: product_heals_only_to_its_leverage.
    """
    share, rho, instances, holders, later = z3.Reals("share rho instances holders later")
    quiet = share * instances / (share + rho * (1 - share))
    rounded, rounds_up = rounded_up(quiet, later)
    copies = with_term(formulas.product_copies(Z3, share, holders, instances, rho), quiet, rounded)
    return Theorem(
        domain=(later >= holders, rounds_up),
        claim=(later >= quiet) == (later >= copies),
        faults={
            "one more": (later >= quiet) == (later >= copies + 1),
            "one fewer": (later >= quiet) == (later >= copies - 1),
        },
        reached={
            "6 holders": z3.And(copies == 6, holders == 1, instances == 16, share == z3.Q(9, 10), rho == 17, later == 6)
        },
    )


@theorem
def the_product_never_makes_more_copies_than_coverage_needs() -> Theorem:
    """``x N / (x + rho (1 - x)) <= x N``, and less as soon as a hit is worth something: a deficit stays.

    Claim: product_heals_only_to_its_leverage.
    """
    share, instances, rho = z3.Reals("share instances rho")
    quiet = share * instances / (share + rho * (1 - share))
    return Theorem(
        domain=(share > 0, instances > 0, rho > 0),
        given={"there is other traffic": share < 1, "a hit is worth something": rho >= 1},
        claim=z3.And(quiet <= share * instances, (quiet < share * instances) == (rho > 1)),
        faults={"half at least": 2 * quiet >= share * instances, "always fewer": quiet < share * instances},
        reached={
            "6 of 15": z3.And(instances == 16, share == z3.Q(9, 10), rho == 17, quiet > 5, share * instances > 14),
        },
    )


@theorem
def a_filtered_request_raises_the_peak_only_from_the_peak() -> Theorem:
    """Sent to an instance with ``b`` residents it leaves the largest batch as it is exactly if ``b`` is below it.

    If any instance outside does, the one with the least batch does.

    Claim: filter_mitigation.
    """
    target, other, peak = whole("target", "other", "peak")
    keeps = formulas.keeps_the_peak(target, peak)
    return Theorem(
        domain=(target <= peak, other <= peak),
        given={"it goes to the least outside": target <= other},
        claim=z3.And((target + 1 <= peak) == keeps, z3.Implies(formulas.keeps_the_peak(other, peak), keeps)),
        faults={
            "below by two": (target + 1 <= peak) == (target + 1 < peak),
            "never raised": target + 1 <= peak,
        },
        reached={"it becomes a peak itself": target + 1 == peak},
    )


@theorem
def the_filter_can_raise_the_largest_batch() -> Theorem:
    """False without the condition: with level batches any request raises the largest.

    Claim: filter_never_raises_the_largest_batch.
    """
    target, peak = whole("target", "peak")
    return Theorem(
        domain=(target >= 0, peak >= 0),
        given={"the peak is the largest batch": target <= peak},
        claim=target + 1 <= peak,
        refuted=True,
    )


@theorem
def missing_copies_are_necessary_and_sufficient() -> Theorem:
    """With k further copies the class is covered exactly if k is no less than ``max(0, ceil(x N) - M)``.

    Claim: replicate_to_coverage.
    """
    share, instances, holders, copies = z3.Reals("share instances holders copies")
    rounded, rounds_up = rounded_up(share * instances, holders + copies)
    missing = with_term(formulas.copies_missing(Z3, share, holders, instances), share * instances, rounded)
    enough = formulas.covered(share, holders + copies, instances)
    return Theorem(
        domain=(rounds_up,),
        given={"copies are added": copies >= 0},
        claim=enough == (copies >= missing),
        faults={"one fewer": enough == (copies >= missing - 1), "one more": enough == (copies >= missing + 1)},
        reached={
            "9 of 15": z3.And(missing == 9, holders == 6, instances == 16, share == z3.Q(9, 10), copies == 9),
            "none": z3.And(missing == 0, share * instances > 0),
        },
    )


@theorem
def there_is_room_for_the_copies() -> Theorem:
    """No class needs more holders than there are instances.

    Claim: replicate_to_coverage.
    """
    share = z3.Real("share")
    [instances] = whole("instances")
    needed = formulas.copies_needed(Z3, share, instances)
    return Theorem(
        domain=(instances >= 1,),
        given={"it is a share": share <= 1},
        claim=needed <= instances,
        faults={"one is spared": needed < instances, "none is needed": needed <= 0},
        reached={"all of them": z3.And(needed == instances, share < 1)},
    )


@theorem
def the_gap_decays_once_the_class_is_covered() -> Theorem:
    """The gap is the difference of the residents; with ``a <= b`` it is at most ``g_0 exp(-t/T)`` after time t.

    Claim: replicate_to_coverage.
    """
    inside, outside, hot, cold, residence, passed = z3.Reals("inside outside hot cold residence passed")
    gap = formulas.gap_between(inside - outside, hot, cold, residence, passed)
    later = [
        formulas.residents_between(start, formulas.steady_residents(flow, residence), passed)
        for start, flow in ((inside, hot), (outside, cold))
    ]
    rest = (inside - outside) * (1 - passed)
    return Theorem(
        domain=(passed < 1, residence > 0),
        given={"the class is covered": hot <= cold, "no time runs back": passed >= 0},
        claim=z3.And(gap == later[0] - later[1], gap <= rest),
        faults={"it is gone": gap <= 0, "at half the time": gap <= rest * (1 - passed), "it stays": gap >= rest},
        reached={"level flows": z3.And(gap == rest, gap > 0, passed > 0)},
    )
