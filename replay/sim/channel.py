"""The way of an event from an engine to a router: late, lost, twice, or out of order, by a seeded draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random
from typing import Any

from replay.sim.ticks import to_ticks
from scheduler.domains import TIME_DOMAIN, Domain

_CHANCE = Domain(0, 1, unit="chance", typical_high=1)


@dataclass(frozen=True, slots=True)
class Faults:
    """What happens to events on their way.

    Args:
        lost: chance that an event never arrives.
        duplicated: chance that it arrives a second time, later.
        reordered: chance that it is held back, so that later ones overtake it.
        late_s: by how much those are late, at most [s].

    Raises:
        BadInput: for a value outside its domain.
    """

    lost: float = 0.0
    duplicated: float = 0.0
    reordered: float = 0.0
    late_s: float = 5.0

    def __post_init__(self) -> None:
        for name in ("lost", "duplicated", "reordered"):
            _CHANCE.check(name, getattr(self, name))
        TIME_DOMAIN.check("late_s", self.late_s)

    @property
    def any(self) -> bool:
        """Whether there are faults at all."""
        return bool(self.lost or self.duplicated or self.reordered)


class Channel:
    """Carries events; without delay and faults they arrive at once.

    Args:
        faults: what happens to them.
        rng: source of the draws.

    Attributes:
        lost, duplicated, reordered: how many events met which fault.

    Example:
        >>> seen = []
        >>> channel = Channel(Faults(), Random(0))
        >>> channel.send(5, 10, seen.append, "late"); channel.send(6, 0, seen.append, "at once")
        >>> channel.deliver(14); channel.deliver(15); seen
        ['at once', 'late']
    """

    def __init__(self, faults: Faults, rng: Random) -> None:
        self._faults, self._rng = faults, rng
        self._faulty, self._late = faults.any, to_ticks(faults.late_s)
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sent = 0
        self.lost = self.duplicated = self.reordered = 0

    def send(self, at: int, delay: int, function: Callable[..., None], *arguments: Any) -> None:
        """An event of tick ``at`` is to arrive ``delay`` ticks later: ``function(*arguments)`` is called then."""
        due = at + delay
        if self._faulty:
            faults, rng = self._faults, self._rng
            if rng.random() < faults.lost:
                self.lost += 1
                return
            if rng.random() < faults.duplicated:
                self.duplicated += 1
                self._push(due + int(rng.random() * self._late), function, arguments)
            if rng.random() < faults.reordered:
                self.reordered += 1
                due += int(rng.random() * self._late)
        if due <= at:
            if self._queue:
                self.deliver(at)  # what is due by now was sent before
            function(*arguments)
        else:
            self._push(due, function, arguments)

    def _push(self, due: int, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        self._sent += 1
        heappush(self._queue, (due, self._sent, function, arguments))

    def deliver(self, at: int) -> None:
        """All events that are due by a tick arrive, in order of their time."""
        queue = self._queue
        while queue and queue[0][0] <= at:
            _, _, function, arguments = heappop(queue)
            function(*arguments)
