"""When a class is too large for its holders: whole-number thresholds for windows of arrivals and for residents.

A class of share x whose prefix M of N instances hold is covered while ``x <= c = M/N`` (claim ``coverage_law``). Of the
last w requests k were of the class: the alarm is that ``k/w > c`` with ``w KL(k/w || c) >= ln(1/delta)``, which
independent arrivals of a covered class do with probability delta at most (claim ``alarm_window``), and that the fluid
imbalance ``x/(1-x) (N-M)/M`` at ``x = k/w`` is more than what is allowed. Both only grow with k, so there is a least k.

The error is split (claim ``error_budget``). Classes that exclude each other need only N parts however many there are,
because the chance of a false alarm falls at least in proportion to the share (claim ``disjoint_classes_count_as_n``);
classes within each other count by their levels.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from fractions import Fraction
from functools import lru_cache

from scheduler import formulas
from scheduler.ops import SCALAR

#: A count that nothing reaches.
NEVER = 2**62


def divergence_nats(share: float, coverage: float) -> float:
    """``KL(share || coverage)`` of a coin, its limits at shares 0 and 1 too, where ``0 ln 0`` is 0 [nat/request].

    Args:
        share: what is seen, in [0, 1].
        coverage: c, in (0, 1).

    Example:
        >>> divergence_nats(1, 0.25) == math.log(4), divergence_nats(0, 0.75) == math.log(4), divergence_nats(0.5, 0.5)
        (True, True, 0.0)

    Source: claim ``alarm_window``.
    """
    if share >= 1:
        return math.log(1 / coverage)
    if share <= 0:
        return math.log(1 / (1 - coverage))
    return float(formulas.kl_divergence(SCALAR, share, coverage))


def evidence_nats(count: int, total: int, holder_count: int, instance_count: int) -> float:
    """What speaks against coverage: ``w KL(k/w || M/N)``, 0 if the share is not above it [nat].

    Args:
        count: k, requests of the class, in [0, total].
        total: w, requests in all, >= 1.
        holder_count: M, in [1, N - 1].
        instance_count: N, >= 2.

    Example:
        >>> round(evidence_nats(32, 64, 1, 4), 3), evidence_nats(16, 64, 1, 4)
        (9.206, 0.0)
        >>> evidence_nats(8, 8, 1, 4) == 8 * math.log(4)
        True

    Source: claim ``alarm_window``.
    """
    if count * instance_count <= holder_count * total:
        return 0.0
    return total * divergence_nats(count / total, holder_count / instance_count)


def fluid_imbalance(share: float | Fraction, holder_count: int, instance_count: int) -> float:
    """Flow to a holder by flow to another instance: ``x/(1-x) (N-M)/M``; infinite if nothing flows elsewhere [1].

    Args:
        share: x, in [0, 1].
        holder_count, instance_count: as for :func:`evidence_nats`.

    Example:
        >>> fluid_imbalance(0.5, 1, 4), fluid_imbalance(1, 1, 4)
        (3.0, inf)

    Source: claim ``hotspot_growth``, the limit of the ratio.
    """
    if share >= 1:
        return math.inf
    hot = formulas.hot_rate(share, holder_count, 1)
    return float(hot / formulas.cold_rate(share, holder_count, instance_count, 1))


def alarms(
    count: int, total: int, holder_count: int, instance_count: int, needed_nats: float, imbalance_allowed: float
) -> bool:
    """The test itself, for one count.

    Args:
        count, total, holder_count, instance_count: as for :func:`evidence_nats`.
        needed_nats: ``ln(1/delta)``, > 0 [nat].
        imbalance_allowed: the greatest fluid imbalance that is no hot spot, >= 1.

    Example:
        >>> alarms(32, 64, 1, 4, 9, 1.25), alarms(32, 64, 1, 4, 10, 1.25), alarms(32, 64, 1, 4, 9, 3)
        (True, False, False)

    Source: claims ``alarm_window``, ``coverage_law``.
    """
    return (
        evidence_nats(count, total, holder_count, instance_count) >= needed_nats
        and fluid_imbalance(count / total, holder_count, instance_count) > imbalance_allowed
    )


@lru_cache(maxsize=65_536)
def least_alarming(
    total: int, holder_count: int, instance_count: int, needed_nats: float, imbalance_allowed: float
) -> int:
    """The least count that alarms, or :data:`NEVER` [request].

    Args:
        total: w, length of the window or number of residents, >= 0.
        holder_count, instance_count, needed_nats, imbalance_allowed: as for :func:`alarms`; with no holder, or with all
            instances as holders, nothing alarms.

    Example:
        >>> least_alarming(64, 1, 4, 9, 1.25), least_alarming(2, 1, 4, 9, 1.25) == NEVER
        (32, True)

    Source: claims ``alarm_window``, ``coverage_law``.
    """
    if not 0 < holder_count < instance_count or total < 1:
        return NEVER
    counts = range(1, total + 1)
    place = bisect_left(
        counts,
        True,
        key=lambda count: alarms(count, total, holder_count, instance_count, needed_nats, imbalance_allowed),
    )
    return counts[place] if place < total else NEVER


def needed_nats(error: float, classes: int, tests: int) -> float:
    """``ln(1/delta)`` for one test, so that all together err by ``error`` at most [nat].

    Args:
        error: chance of any false alarm, in (0, 1).
        classes: parts for classes, >= 1.
        tests: tests of each class, >= 1.

    Example:
        >>> round(needed_nats(0.01, 16, 2048), 3)
        15.002

    Source: claim ``error_budget``.
    """
    return math.log(1 / formulas.error_share(error, classes, tests))


def least_residents(instance_count: int, needed_nats: float) -> int:
    """No class with fewer resident requests can alarm by work, whatever the total and the holders [request].

    The evidence of k residents is greatest if there are no others and one holder: ``k ln N``.

    Args:
        instance_count: N, >= 1; with one instance nothing alarms.
        needed_nats: as for :func:`alarms`.

    Example:
        >>> least_residents(16, 15.0)
        5
    """
    if instance_count < 2:
        return NEVER
    return max(1, math.ceil(needed_nats / math.log(instance_count)) - 1)  # less one: rounding must not hide a class
