"""Blocks that an instance holds but nobody can use, because a block before them is missing.

Events get lost, duplicated and reordered, so a block may be reported before the one it follows, or outlive it. Such
an orphan is kept aside until its parent arrives. Their number is bounded: the one kept longest goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

#: Name of a block: opaque, equal only for equal prefixes.
Key = int | bytes


class Orphans:
    """Orphans of one instance.

    Args:
        limit: how many are kept, >= 0 [block].

    Example:
        >>> orphans = Orphans(8)
        >>> orphans.keep(3, after=2); orphans.keep(4, after=3); orphans.keep(5, after=2)
        >>> orphans.take(2), len(orphans)
        ([3, 5], 1)
    """

    __slots__ = ("_limit", "_parents", "_waiting")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parents: OrderedDict[Key, Key | None] = OrderedDict()
        self._waiting: dict[Key | None, dict[Key, None]] = {}

    def __len__(self) -> int:
        return len(self._parents)

    def keep(self, key: Key, after: Key | None) -> None:
        """Keep a block aside until ``after`` arrives; what was said of its parent before no longer counts."""
        if key in self._parents:
            if self._parents[key] == after:
                return
            self.discard(key)
        self._parents[key] = after
        self._waiting.setdefault(after, {})[key] = None
        if len(self._parents) > self._limit:
            self.discard(next(iter(self._parents)))

    def take(self, parent: Key) -> Iterable[Key]:
        """The blocks that waited for this one; they are no longer kept."""
        children = self._waiting.pop(parent, None)
        if children is None:
            return ()
        for key in children:
            del self._parents[key]
        return list(children)

    def discard(self, key: Key) -> None:
        """Forget a block if it is kept; those that wait for it wait on."""
        if key not in self._parents:
            return
        parent = self._parents.pop(key)
        children = self._waiting[parent]
        del children[key]
        if not children:
            del self._waiting[parent]

    def clear(self) -> None:
        """Forget all."""
        self._parents.clear()
        self._waiting.clear()

    def chains(self) -> list[tuple[Key | None, list[Key]]]:
        """What is kept, the longest kept first: a block that is waited for, and those that follow it one by one."""
        found: list[tuple[Key | None, list[Key]]] = []
        for key, parent in self._parents.items():
            if found and found[-1][1][-1] == parent:
                found[-1][1].append(key)
            else:
                found.append((parent, [key]))
        return found
