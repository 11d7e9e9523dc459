"""``hot_spot`` and ``silent_band``: a class with more traffic than holders, and an imbalance that stays for good.

``hot_spot``, a warning: a class (or classes together) is uncovered beyond chance, its fluid imbalance exceeds what is
allowed, and so does the leverage of its hits if the request at hand tells it. Critical once the rule has sent
``2 |M|`` of its requests in a row to holders (claims ``coverage_law``, ``confirmation``).

``silent_band``, a warning, for product rules and a request of the class: the residents settle at an imbalance that the
leverage covers, so the flows alone never make the product spill (claim ``silent_band``).

Both are infos while there are fewer requests in flight than instances: then no batch to speak of runs hot.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scheduler import formulas
from scheduler.finding import Finding, Kind, Severity
from scheduler.findings.coverage import Uncovered, belongs, class_leverage, uncovered_classes
from scheduler.findings.scene import Scene, counted, finding, listed
from scheduler.ops import SCALAR
from scheduler.screening import PRODUCTS

#: Requests in a row on holders, by holder, that confirm a hot spot (claim ``confirmation``).
STREAK_PER_HOLDER = 2


def hot_spots(scene: Scene) -> Iterator[Finding]:
    """Hot spots, and those of the request's class that the product will not heal."""
    for uncovered in uncovered_classes(scene):
        leverage = class_leverage(scene, uncovered)
        if leverage is not None and leverage <= scene.config.imbalance_allowed:
            continue
        yield _hot_spot(scene, uncovered, leverage)
        imbalanced = uncovered.imbalance is None or uncovered.imbalance > 1
        if leverage is not None and imbalanced and scene.policy.rule.name in PRODUCTS:
            yield from _silent_band(scene, uncovered, leverage)


def _hot_spot(scene: Scene, uncovered: Uncovered, leverage: float | None) -> Finding:
    count, holder_count = len(scene.view.ids), len(uncovered.holders)
    missing = int(formulas.copies_missing(SCALAR, uncovered.by, holder_count, count))
    asked = max(missing, *(row.copies_missing or 0 for row in uncovered.rows))
    names = [row.name for row in uncovered.rows]
    streaks = [row.streak for row in uncovered.rows if row.streak is not None]
    confirmed = bool(streaks) and max(streaks) >= STREAK_PER_HOLDER * holder_count
    held = scene.names(sorted(uncovered.holders))
    by_work = uncovered.work_share is not None and uncovered.by == uncovered.work_share > uncovered.share
    imbalance = "all of it" if uncovered.imbalance is None else f"{uncovered.imbalance:.3g} times the flow elsewhere"
    if uncovered.imbalance is not None and uncovered.imbalance <= 1:
        imbalance = "more than its part with what else is sent there"
    evidence: dict[str, Any] = {
        "class": " + ".join(names),
        "applies": any(belongs(row, scene.group) for row in uncovered.rows),
        "share": float(uncovered.share),
        "work_share": None if uncovered.work_share is None else float(uncovered.work_share),
        "coverage": holder_count / count,
        "holders": holder_count,
        "copies_missing": missing,
        "copies_asked": asked,
        "imbalance": uncovered.imbalance,
        "leverage": leverage,
        "window_requests": uncovered.window,
        "resident_requests": uncovered.residents,
        "streak": max(streaks) if streaks else None,
    }
    severity = Severity.CRITICAL if confirmed else Severity.WARNING
    if _residents(scene) < count:
        severity = Severity.INFO
    return finding(
        Kind.HOT_SPOT,
        severity,
        held,
        f"{listed(names)} {'is' if len(names) == 1 else 'are'} {100 * float(uncovered.by):.3g}% of the "
        f"{'work' if by_work else 'requests'}, but only {holder_count} of {count} instances ({listed(held)}) "
        f"{'holds' if holder_count == 1 else 'hold'} {'it' if len(names) == 1 else 'them'}: each gets {imbalance}.",
        _advice(missing, asked),
        _claim_of(uncovered, by_work),
        **evidence,
    )


def _residents(scene: Scene) -> int:
    """Requests in flight. With fewer than instances each could have one of its own: no batch to speak of runs hot."""
    return int(sum(scene.view.running) + sum(scene.view.waiting))


def _advice(missing: int, asked: int) -> str:
    more = "one more instance" if asked == 1 else f"{asked} more instances"
    law = "" if asked == missing else f" (the class alone needs {missing}; its holders serve other traffic, too)"
    return f"Let {more} take requests of the class{law}, the least loaded first."


def _claim_of(uncovered: Uncovered, by_work: bool) -> str:
    if len(uncovered.rows) > 1:
        return "coverage_law_many_classes"
    return "coverage_law_by_work" if by_work else "coverage_law"


def _silent_band(scene: Scene, uncovered: Uncovered, leverage: float) -> Iterator[Finding]:
    """The steady state at today's number of residents, and whether the product spills in it."""
    count, holder_count = len(scene.view.ids), len(uncovered.holders)
    residents = _residents(scene)
    share = float(uncovered.by)
    hot = formulas.hot_rate(share, holder_count, residents)
    cold = formulas.cold_rate(share, holder_count, count, residents)
    if not residents or formulas.spills(hot + 1, cold + 1, leverage):
        return
    bound = formulas.silent_imbalance(cold, leverage) if cold > 0 else None
    limit = (
        f"more than {leverage - 1:.3g} residents on a holder" if bound is None else f"an imbalance above {bound:.3g}"
    )
    imbalance = "without bound" if uncovered.imbalance is None else f"{uncovered.imbalance:.3g}"
    held = scene.names(sorted(uncovered.holders))
    mine = next(row.name for row in uncovered.rows if belongs(row, scene.group))
    yield finding(
        Kind.SILENT_BAND,
        Severity.WARNING if residents >= count else Severity.INFO,
        held,
        f"With {counted(residents, 'resident')} {mine} settles at {hot:.3g} on a holder ({listed(held)}) against "
        f"{cold:.3g} elsewhere (imbalance {imbalance}), and with leverage {leverage:.3g} the product lets that stand: "
        f"as long as nothing is queued it spills only from {limit}.",
        "Do not wait for the product to spill; copy the prefix to the instances it lacks.",
        "silent_band",
        imbalance=uncovered.imbalance,
        silent_imbalance=bound,
        leverage=leverage,
        hot_residents=hot,
        cold_residents=cold,
        residents=residents,
    )
