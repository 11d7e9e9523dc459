"""Classes that are not covered: their share exceeds that of the instances that hold them, beyond what chance explains.

Two shares are looked at, of the requests (claim ``coverage_law``) and of the work (``coverage_law_by_work``), each with
the number of requests it was counted over. A share exceeds its coverage ``c = |M|/N`` beyond chance if ``W KL(share ||
c) >= ln(1/delta)``: for independent arrivals whose true share is at most c, that happens with probability below delta
(claim ``alarm_window``); delta is the configured error, shared among all sets that are tested (claim ``error_budget``).
What counts in the end is work: a class whose share of it lies below the coverage beyond chance is no hot spot, however
many requests it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import inf
from typing import NamedTuple

from scheduler import formulas
from scheduler.alarm import divergence_nats, fluid_imbalance
from scheduler.findings.scene import Scene
from scheduler.ops import SCALAR
from scheduler.traffic import ClassTraffic

#: Of more classes only the heaviest are combined: pairs of 32 classes are some 500 sets, looked at in a millisecond.
COMBINED_AT_MOST = 32
#: A share without window is told as the nearest fraction with a denominator up to this.
_DENOMINATOR_MAX = 2**20


class Uncovered(NamedTuple):
    """A class, or classes that hold on to the same instances, with more traffic than its holders are of the cluster.

    Args:
        rows: the classes.
        holders: indices of the instances that hold one of them.
        share: of the requests.
        work_share: of the work, or None.
        window, residents: over how many requests and residents these were counted, None: known without error.
        by: the larger of the shares that exceed the coverage beyond chance.
        imbalance: fluid, batch of a holder by batch of another instance; None: without bound, nothing goes elsewhere.
    """

    rows: tuple[ClassTraffic, ...]
    holders: frozenset[int]
    share: Fraction
    work_share: Fraction | None
    window: int | None
    residents: int | None
    by: Fraction
    imbalance: float | None


def belongs(row: ClassTraffic, group: str) -> bool:
    """Whether the request at hand is of the class."""
    return row.applies if row.applies is not None else bool(group) and row.name == group


def uncovered_classes(scene: Scene) -> list[Uncovered]:
    """Every class that is not covered, and every union of classes that is not although each of them is.

    Unions are those of the classes held within the holders of one or two of them (claim ``coverage_law_many_classes``).
    """
    rows, count = scene.traffic, len(scene.view.ids)
    if not any(_exceeds(row, count) for row in rows) and len(rows) < 2:
        return []
    sets = [((row,), frozenset(row.holders)) for row in rows if 0 < len(row.holders) < count]
    alone = [found for found in _tested(scene, sets) if found]
    calm = {id(row) for row in rows} - {id(row) for found in alone for row in found.rows}
    together = [found for found in _tested(scene, list(_unions(scene, calm))) if found]
    return alone + together[:1]


def _exceeds(row: ClassTraffic, count: int) -> bool:
    if row.alarmed and row.copies_missing:  # with what else its holders serve
        return True
    return max(row.share, row.work_share or 0) * count > len(row.holders) > 0


def _tested(
    scene: Scene, sets: Sequence[tuple[tuple[ClassTraffic, ...], frozenset[int]]]
) -> Iterator[Uncovered | None]:
    """Each set that is uncovered; the gravest first."""
    if not sets:
        return
    tests = len(sets) * (2 if any(row.work_share is not None for rows, _ in sets for row in rows) else 1)
    error = formulas.error_share(scene.config.error, tests, 1)
    found = [_uncovered(rows, holders, scene, error) for rows, holders in sets]
    yield from sorted(
        (one for one in found if one),
        key=lambda one: inf if one.imbalance is None else one.imbalance,
        reverse=True,
    )


def _uncovered(rows: tuple[ClassTraffic, ...], holders: frozenset[int], scene: Scene, error: float) -> Uncovered | None:
    count = len(scene.view.ids)
    counted = _counted(rows, scene.group)
    window = _least(row.window_requests for row in rows)
    residents = _least(row.window_requests if row.resident_requests is None else row.resident_requests for row in rows)
    share = min(Fraction(1), sum((_fraction(row.share, row.window_requests) for row in counted), Fraction(0)))
    work = None
    if all(row.work_share is not None for row in counted):
        parts = (_fraction(row.work_share or 0.0, row.resident_requests) for row in counted)
        work = min(Fraction(1), sum(parts, Fraction(0)))
    coverage = Fraction(len(holders), count)
    if work is not None and _far_below(work, coverage, residents, error):
        return None
    if len(rows) == 1 and rows[0].alarmed:
        by = _standing(share, work, residents, coverage, scene.config.error)
        if by <= coverage and not rows[0].copies_missing:
            return None
        imbalance = fluid_imbalance(by, len(holders), count)
        return Uncovered(rows, holders, share, work, window, residents, by, _finite(imbalance))
    beyond = [
        x for x, seen in ((share, window), (work, residents)) if x is not None and _beyond(x, coverage, seen, error)
    ]
    if not beyond:
        return None
    by = max(beyond)
    imbalance = fluid_imbalance(by, len(holders), count)
    if imbalance <= scene.config.imbalance_allowed:
        return None
    return Uncovered(rows, holders, share, work, window, residents, by, _finite(imbalance))


def _finite(imbalance: float) -> float | None:
    return imbalance if imbalance < inf else None


def _beyond(share: Fraction, coverage: Fraction, window: int | None, error: float) -> bool:
    """Whether chance explains with probability below ``error`` that so large a share is seen of one that is covered."""
    return share > coverage and _ruled_out(share, coverage, window, error)


def _far_below(work: Fraction, coverage: Fraction, residents: int | None, error: float) -> bool:
    """Whether chance explains with probability below ``error`` that so little work is seen of an uncovered class.

    Batch slots are held by work: many short requests are no hot spot (claim ``coverage_law_by_work``).
    """
    return work < coverage and _ruled_out(work, coverage, residents, error)


def _ruled_out(seen: Fraction, coverage: Fraction, count: int | None, error: float) -> bool:
    """Whether so many requests rule out, up to an error, that the true share lies on the other side of the coverage."""
    if count is None:
        return True
    return bool(count >= formulas.window_for(SCALAR, error, divergence_nats(float(seen), float(coverage))))


def _standing(
    share: Fraction, work: Fraction | None, residents: int | None, coverage: Fraction, error: float
) -> Fraction:
    """The share of a class whose alarm stands: that of the work only where it alone tells of trouble beyond chance."""
    if work is None or work <= max(share, coverage) or not _beyond(work, coverage, residents, error):
        return share
    return work


def _unions(scene: Scene, calm: set[int]) -> Iterator[tuple[tuple[ClassTraffic, ...], frozenset[int]]]:
    count = len(scene.view.ids)
    rows = [row for row in scene.traffic if id(row) in calm and 0 < len(row.holders) < count]
    rows = sorted(rows, key=lambda row: max(row.share, row.work_share or 0), reverse=True)[:COMBINED_AT_MOST]
    held = [frozenset(row.holders) for row in rows]
    seen: set[frozenset[int]] = set()
    for i, first in enumerate(held):
        for second in held[i:]:
            union = first | second
            if union in seen or len(union) == count:
                continue
            seen.add(union)
            inside = tuple([row for row, places in zip(rows, held, strict=True) if places <= union])
            if len(_counted(inside, scene.group)) > 1:
                yield inside, union


def _counted(rows: Sequence[ClassTraffic], group: str) -> list[ClassTraffic]:
    """The rows whose shares may be added: of those the request belongs to, which hold each other, the largest."""
    mine = [row for row in rows if belongs(row, group)]
    others = [row for row in rows if not belongs(row, group)]
    return others + ([max(mine, key=lambda row: row.share)] if mine else [])


def _fraction(share: float, window: int | None) -> Fraction:
    """The count over the window that the share was told as a float of."""
    return Fraction(share).limit_denominator(min(window or _DENOMINATOR_MAX, _DENOMINATOR_MAX))


def _least(values: Iterator[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return min(known) if known else None


def class_leverage(scene: Scene, uncovered: Uncovered) -> float | None:
    """What a hit of the request at hand buys: new tokens outside the holders by those on them; None if of no class.

    With the length of the prefix it is prompt by prompt less prefix, floor one token; without, the least of either
    side as the state has it (claim ``leverage_bounds_imbalance``).
    """
    mine = [row for row in uncovered.rows if belongs(row, scene.group)]
    if scene.prompt_tokens is None or not mine:
        return None
    prefix = max((row.prefix_tokens for row in mine if row.prefix_tokens is not None), default=None)
    if prefix is not None:
        return float(formulas.leverage(scene.prompt_tokens, max(1, scene.prompt_tokens - prefix)))
    inside = min(scene.new_tokens(index) for index in uncovered.holders)
    outside = min(scene.new_tokens(i) for i in range(len(scene.view.ids)) if i not in uncovered.holders)
    return float(formulas.leverage(outside, inside))
