"""What is remembered of requests beside their counters: ids that came by lately, and when each was last heard of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Any

from scheduler.domains import TIME_DOMAIN


class RecentIds:
    """The last ids that were added: at least ``size`` of them, at most twice as many.

    They are kept in two generations, of which the older is dropped as a whole: no order need be kept, and adding one
    costs one step.

    Args:
        size: ids in a generation, >= 1.
        generations: what was remembered before, the older first.

    Attributes:
        new: the newer generation. In a hot path add to it directly, and call :meth:`turn` when it has ``size`` ids.

    Example:
        >>> recent = RecentIds(2)
        >>> for number in range(5): recent.add(number)
        >>> [number for number in range(5) if number in recent]
        [2, 3, 4]
    """

    __slots__ = ("_old", "new", "size")

    def __init__(self, size: int, generations: tuple[Iterable[Hashable], Iterable[Hashable]] = ((), ())) -> None:
        self.size = size
        self._old, self.new = set(generations[0]), set(generations[1])

    def __contains__(self, name: Hashable) -> bool:
        return name in self.new or name in self._old

    def add(self, name: Hashable) -> None:
        """Remember an id."""
        self.new.add(name)
        if len(self.new) >= self.size:
            self.turn()

    def turn(self) -> None:
        """A new generation begins."""
        self._old, self.new = self.new, set()

    def discard(self, name: Hashable) -> None:
        """Forget an id if it is remembered."""
        self.new.discard(name)
        self._old.discard(name)

    def generations(self) -> tuple[list[Any], list[Any]]:
        """What is remembered, the older first."""
        return list(self._old), list(self.new)


class LastHeard:
    """When each request was last heard of, the longest silent first; and a time that never goes back.

    Attributes:
        now_s: the latest time that was told, 0 before [s].
        times: requests and when they were last heard of, the longest silent first; who is over leaves it [s].

    Example:
        >>> last = LastHeard()
        >>> last.heard("a", 3.0), last.heard("b", 1.0), last.heard("a", 4.0)
        (3.0, 3.0, 4.0)
        >>> last.silent(3.5), last.silent(1.0)
        (None, 'b')
    """

    __slots__ = ("now_s", "times")

    def __init__(self, now_s: float = 0.0, times: Iterable[tuple[Hashable, float]] = ()) -> None:
        self.now_s = now_s
        self.times: OrderedDict[Hashable, float] = OrderedDict(times)

    def time(self, now_s: float) -> float:
        """The time of an event; one before the latest counts as the latest [s].

        Raises:
            BadInput: if it is later than any time can be.
        """
        if now_s > self.now_s:
            self.now_s = TIME_DOMAIN.check("now_s", now_s)
        return self.now_s

    def heard(self, name: Hashable, now_s: float) -> float:
        """A request was heard of; the time of it [s]."""
        now_s = self.time(now_s)
        self.times[name] = now_s
        self.times.move_to_end(name)
        return now_s

    def silent(self, silence_s: float) -> Hashable | None:
        """The request that has been silent longest, if that is so long already, else None."""
        if self.times:
            name, last_s = next(iter(self.times.items()))
            if last_s + silence_s <= self.now_s:
                return name
        return None
