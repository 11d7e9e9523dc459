"""Who is in the cluster: names of instances, their slots, and which of them new requests may go to.

Counters and bitmasks are kept by slot, and a slot keeps its number as long as its instance is there; rules see
positions among the routable instances. While every slot is routable the two are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from scheduler.errors import BadInput, shown, unknown_name


class Slots:
    """Names and slots of the instances of one cluster.

    Args:
        names: ids of the instances at the start, unique.

    Attributes:
        names: id in every slot; empty where there is none.
        routable: slots that new requests may go to, in rising order.
        ids: their ids, in the same order.
        whole: whether every slot is routable, so that positions are slots.

    Example:
        >>> slots = Slots(["a", "b", "c"])
        >>> slots.drain("b"); slots.ids, slots.routable
        (('a', 'c'), [0, 2])
        >>> slots.leave("b"), slots.join("d"), slots.ids
        (1, 1, ('a', 'd', 'c'))

    Raises:
        BadInput: for names that are no texts, empty, or given twice.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names: list[str] = []
        self._slot_of: dict[str, int] = {}
        self._draining: set[int] = set()
        self.routable: list[int] = []
        self.ids: tuple[str, ...] = ()
        self.whole = True
        if isinstance(names, str | bytes) or not isinstance(names, Iterable):
            raise BadInput("instances", names, "a sequence of texts")
        for name in names:
            self._add(name)
        self._settle()

    @classmethod
    def restore(cls, names: Sequence[str], draining: Sequence[int]) -> Slots:
        """Slots that go on where they were.

        Args:
            names: id in every slot; empty where there is none.
            draining: slots that new requests do not go to, from :meth:`draining_slots`.

        Raises:
            BadInput: for an id that is there twice, or a draining slot that is empty.
        """
        slots = cls([name for name in names if name])
        slots.names = list(names)
        slots._slot_of = {name: slot for slot, name in enumerate(names) if name}
        for slot in draining:
            if slot not in slots._slot_of.values():
                raise BadInput("draining", slot, "the slot of an instance")
            slots._draining.add(slot)
        slots._settle()
        return slots

    def __len__(self) -> int:
        return len(self.names)

    def slot(self, name: Any) -> int | None:
        """The slot of an instance, or None if it is not in the cluster."""
        return self._slot_of.get(name) if isinstance(name, str) else None

    def draining(self) -> tuple[str, ...]:
        """Ids of the instances that get no new requests."""
        return tuple(self.names[slot] for slot in self.draining_slots())

    def draining_slots(self) -> list[int]:
        """Their slots, in rising order."""
        return sorted(self._draining)

    def join(self, name: str) -> int:
        """An instance comes, into a free slot or a new one; one that was draining is routable again.

        Raises:
            BadInput: if it is in the cluster and not draining.
        """
        slot = self.slot(name)
        if slot is not None and slot in self._draining:
            self._draining.discard(slot)
        else:
            slot = self._add(name)
        self._settle()
        return slot

    def drain(self, name: str) -> None:
        """No new requests for an instance; to drain it twice changes nothing.

        Raises:
            BadInput: if it is not in the cluster.
        """
        self._draining.add(self._known(name))
        self._settle()

    def leave(self, name: str) -> int:
        """An instance is gone; its slot is free.

        Raises:
            BadInput: if it is not in the cluster.
        """
        slot = self._known(name)
        del self._slot_of[name]
        self.names[slot] = ""
        self._draining.discard(slot)
        self._settle()
        return slot

    def _known(self, name: Any) -> int:
        slot = self.slot(name)
        if slot is None:
            raise unknown_name("instance", name if isinstance(name, str) else shown(name), self._slot_of)
        return slot

    def _add(self, name: Any) -> int:
        if not isinstance(name, str) or not name:
            raise BadInput("instance", name, "a text that is not empty")
        if name in self._slot_of:
            raise BadInput("instance", name, "an id that no other instance has")
        slot = self.names.index("") if "" in self.names else len(self.names)
        if slot == len(self.names):
            self.names.append(name)
        else:
            self.names[slot] = name
        self._slot_of[name] = slot
        return slot

    def _settle(self) -> None:
        self.routable = [slot for slot, name in enumerate(self.names) if name and slot not in self._draining]
        self.ids = tuple(self.names[slot] for slot in self.routable)
        self.whole = 0 < len(self.routable) == len(self.names)
