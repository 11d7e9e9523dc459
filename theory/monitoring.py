"""What the hot-spot monitor promises: how late its alarm can be, for a share that stays above the coverage.

From some request on, each request is of the class with probability x, independently; what came before does not matter.
Of the first m requests since then K are of the class. At the last of these K the monitor looks at all of them in every
window of w >= m requests, so it has alarmed unless K is below the window's threshold k: with probability at most
``exp(-m KL((k-1)/m || x))`` if ``k - 1 < m x``. The least such m over all windows is the promise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scheduler import formulas
from scheduler.alarm import NEVER, least_alarming, needed_nats
from scheduler.domains import Domain
from scheduler.errors import BadInput
from scheduler.monitor_config import MonitorConfig
from scheduler.ops import SCALAR

_COUNT = Domain(1, 2**20, integer=True)
_DEFAULT = MonitorConfig()


@dataclass(frozen=True, slots=True)
class Promise:
    """What :func:`alarm_promise` found.

    Args:
        requests: after so many requests the alarm has come, but for a chance of ``miss``.
        window: the window that promises it [request].
        threshold: its least count that alarms [request].
    """

    requests: int
    window: int
    threshold: int


def alarm_promise(
    share: float, holders: int, instances: int, miss: float = 0.01, config: MonitorConfig = _DEFAULT
) -> Promise | None:
    """How late the alarm by count of a hot class is at most, with probability 1 - miss.

    Args:
        share: x, its true share of the requests, in (0, 1).
        holders: M, instances that hold its prefix, >= 1.
        instances: N, > M.
        miss: chance that it is later, in (0, 1).
        config: of the monitor.

    Returns:
        The promise, or None if no window is long enough for this share.

    Raises:
        BadInput: for a value outside its domain.

    Example:
        >>> alarm_promise(0.5, 1, 16)
        Promise(requests=64, window=64, threshold=21)
        >>> alarm_promise(0.07, 1, 16) is None
        True

    Source: claims ``detector_fires_in_time``, ``alarm_window``, ``error_budget``.
    """
    for name, value in (("share", share), ("miss", miss)):
        if not (Domain(0, 1, low_open=True).contains(value) and value < 1):
            raise BadInput(name, value, "a number > 0 and < 1")
    _COUNT.check("holders", holders)
    Domain(holders + 1, integer=True).check("instances", instances)
    nats = needed_nats(config.error / 2, instances * config.levels, config.tests)
    best: Promise | None = None
    for window in config.windows:
        threshold = least_alarming(window, holders, instances, nats, config.imbalance_allowed)
        requests = _requests(share, threshold, window, miss) if threshold != NEVER else None
        if requests is not None and (best is None or requests < best.requests):
            best = Promise(requests, window, threshold)
    return best


def _requests(share: float, threshold: int, window: int, miss: float) -> int | None:
    """Fewest requests, at most a window, of which fewer than the threshold are of the class with chance ``miss``."""
    missed = threshold - 1
    for requests in range(threshold, window + 1):
        if missed < share * requests and _miss_chance(missed, requests, share) <= miss:
            return requests
    return None


def _miss_chance(most: int, requests: int, share: float) -> float:
    """Chernoff's bound of ``most`` or fewer of the class."""
    if not most:
        return (1 - share) ** requests
    return math.exp(-requests * float(formulas.kl_divergence(SCALAR, most / requests, share)))
