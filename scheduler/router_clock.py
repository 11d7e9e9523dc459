"""The time of a router: what a call says, else what a clock says; it never runs backwards."""

from __future__ import annotations

from collections.abc import Callable

from scheduler.router_input import told_time

#: Gives a time [s].
Clock = Callable[[], float]


class RouterClock:
    """Gives the time of each call.

    Args:
        clock: gives the time where a call does not say it [s].
        start_s: for a router that goes on: the time of its snapshot. A clock that is behind it when it is first read,
            as after a restart of the machine, is put on by the difference; else all would stand still meanwhile [s].

    Attributes:
        now_s: the latest time, 0 before [s].

    Example:
        >>> time = RouterClock(iter([3.0, 4.5]).__next__, start_s=100.0)
        >>> time.read(None), time.read(None), time.read(50.0), time.read(102.0)
        (100.0, 101.5, 101.5, 102.0)
    """

    __slots__ = ("_behind_s", "_clock", "now_s")

    def __init__(self, clock: Clock, start_s: float | None = None) -> None:
        self._clock = clock
        self._behind_s = 0.0 if start_s is None else None
        self.now_s = 0.0 if start_s is None else start_s

    def read(self, now_s: float | None) -> float:
        """The time of a call; one before the latest counts as the latest [s].

        Args:
            now_s: what the call says; None asks the clock [s].

        Raises:
            BadInput: if it is no number, or later than any time can be.
        """
        told_s = told_time(self._read() if now_s is None else now_s)
        if told_s > self.now_s:
            self.now_s = float(told_s)
        return self.now_s

    def _read(self) -> float:
        now_s = self._clock()
        if self._behind_s is None:
            self._behind_s = max(0.0, self.now_s - told_time(now_s))
        return now_s + self._behind_s if self._behind_s else now_s
