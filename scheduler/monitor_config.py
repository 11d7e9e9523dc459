"""What the hot-spot monitor may be told; every threshold of it follows from these numbers."""

from __future__ import annotations

import msgspec

from scheduler.domains import Domain

_COUNT = Domain(1, 2**20, integer=True)
_WINDOW = Domain(1, 2**20, integer=True, unit="request")
_ERROR = Domain(0, 0.5, low_open=True)
_IMBALANCE = Domain(1, 1e6)


class MonitorConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of :class:`scheduler.monitor.Monitor`.

    Args:
        window_max: longest window, and the requests that are remembered, in [1, 2^20] [request]. A longer one sees
            smaller excesses and costs memory; the default tells half a slot of 16 apart in a few hundred requests.
        window_min: shortest window, in [1, window_max] [request]; the windows are ``window_max``, half of it, and so on
            down to this one. Below about 32 no class can reach the threshold with a share under one half.
        error: chance of a false alarm for any covered class within ``window_max`` requests, for independent arrivals,
            in (0, 0.5]; half of it is for single classes, half for unions.
        levels: classes within classes that the error is to hold for, >= 1: classes that exclude each other count once
            (claim ``disjoint_classes_count_as_n``), those inside each other by their levels.
        imbalance_allowed: the greatest fluid imbalance, and the greatest leverage, that is no hot spot, >= 1. 1.25 is
            where a batch of 4 becomes one of 5: less is the grain of whole requests.
        hold: whether an alarm stands until the class has the holders it needs; else only while a test speaks.
        imbalance_left: with the other traffic where it is, copies are asked for until the mean load of the holders is
            at most so many times the mean of all, >= 1; chance comes on top. Larger values save a
            few copies: ``docs/notes/2026-11-25-detector-monitor-mitigation.md``.
        union_every: classes that share holders are looked for once in so many requests, >= 1 [request].
        union_masks: so many different sets of holders, the heaviest, are combined in pairs, >= 1.

    Example:
        >>> MonitorConfig(window_max=256).windows
        (32, 64, 128, 256)
    """

    window_max: int = 2048
    window_min: int = 32
    error: float = 0.01
    levels: int = 4
    imbalance_allowed: float = 1.25
    hold: bool = True
    imbalance_left: float = 1.0
    union_every: int = 64
    union_masks: int = 8

    def checked(self) -> MonitorConfig:
        """This, if every setting is in its domain.

        Raises:
            BadInput: naming the setting.
        """
        _WINDOW.check("window_max", self.window_max)
        Domain(1, self.window_max, integer=True, unit="request").check("window_min", self.window_min)
        _ERROR.check("error", self.error)
        _COUNT.check("levels", self.levels)
        _IMBALANCE.check("imbalance_allowed", self.imbalance_allowed)
        _IMBALANCE.check("imbalance_left", self.imbalance_left)
        _COUNT.check("union_every", self.union_every)
        _COUNT.check("union_masks", self.union_masks)
        return self

    @property
    def windows(self) -> tuple[int, ...]:
        """Lengths of the windows, ascending [request]."""
        found = [self.window_max]
        while found[-1] // 2 >= self.window_min:
            found.append(found[-1] // 2)
        return tuple(reversed(found))

    @property
    def tests(self) -> int:
        """Tests of one class in ``window_max`` requests: each window and the residents, at each request."""
        return (len(self.windows) + 1) * self.window_max

    @property
    def union_tests(self) -> int:
        """Tests of one union likewise: two windows and the residents, at each look."""
        return 3 * -(-self.window_max // self.union_every)

    @property
    def unions(self) -> int:
        """Unions that one look can test."""
        return self.union_masks * (self.union_masks + 1) // 2
