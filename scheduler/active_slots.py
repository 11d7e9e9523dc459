"""What follows from which instances can be routed to: positions, and the thresholds for each number of holders."""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.alarm import NEVER, alarms, least_alarming, least_residents, needed_nats
from scheduler.monitor_config import MonitorConfig

#: Sets of holders whose positions are kept.
_MASKS_MAX = 4096


class ActiveSlots:
    """The instances that requests can go to now.

    Args:
        slots: their slots, in the order of the view.
        config: of the monitor.

    Attributes:
        slots: a copy of them.
        mask: the same as a bitmask.
        count: N.
        least, least_work: no class with fewer requests in the longest window and fewer in flight can alarm [request].

    Example:
        >>> active = ActiveSlots((0, 2, 3), MonitorConfig())
        >>> active.positions(0b1101), active.positions(0b0110)
        ((0, 1, 2), (1,))
        >>> active.row(1)[:2]
        ((32, 27), (64, 45))
    """

    __slots__ = ("_config", "_nats", "_place", "_positions", "_rows", "count", "least", "least_work", "mask", "slots")

    def __init__(self, slots: Sequence[int], config: MonitorConfig) -> None:
        self.slots = slots if type(slots) is tuple else list(slots)
        self.mask = sum(1 << slot for slot in slots)
        self.count = count = len(slots)
        self._config = config
        self._place = {slot: place for place, slot in enumerate(slots)}
        self._positions: dict[int, tuple[int, ...]] = {}
        self._nats = needed_nats(config.error / 2, max(count, 1) * config.levels, config.tests)
        self._rows: dict[int, tuple[tuple[int, int], ...]] = {}
        # One holder and the shortest window have the least threshold: fewer requests say less, more holders ask more.
        self.least = min((least for _, least in self.row(1)), default=NEVER)
        self.least_work = least_residents(count, self._nats)

    def row(self, holders: int) -> tuple[tuple[int, int], ...]:
        """For each window in which a class with so many holders can alarm: its length and the least count."""
        row = self._rows.get(holders)
        if row is None:
            allowed = self._config.imbalance_allowed
            leasts = ((w, least_alarming(w, holders, self.count, self._nats, allowed)) for w in self._config.windows)
            row = self._rows[holders] = tuple((w, least) for w, least in leasts if least != NEVER)
        return row

    def alarms_by_work(self, residents: int, total: int, holders: int) -> bool:
        """Whether a class with so many residents among all alarms."""
        if residents < self.least_work or residents * self.count <= holders * total:
            return False
        return alarms(residents, total, holders, self.count, self._nats, self._config.imbalance_allowed)

    def positions(self, mask: int) -> tuple[int, ...]:
        """Positions in the view of the slots of a mask; those that are not active are left out."""
        found = self._positions.get(mask)
        if found is None:
            if len(self._positions) >= _MASKS_MAX:
                self._positions.clear()
            found = self._positions[mask] = tuple(place for slot, place in self._place.items() if mask >> slot & 1)
        return found
