"""Distinct KV blocks held by requests in flight, as a router books them. Source: Dynamo (docs/sources.md#dynamo)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scheduler.index_state import PrefixIndexState
from scheduler.prefix_index import PrefixIndex


class ActiveBlocks:
    """Blocks in use on every instance, shared ones counted once.

    Args:
        instance_count: number of instances, >= 1.

    Attributes:
        counts: distinct blocks in use, one entry an instance; the list stays the same object [block].

    Example:
        >>> active = ActiveBlocks(2)
        >>> active.add(0, [1, 2, 3]); active.add(0, [1, 2, 4])
        >>> active.counts, active.added([1, 2, 3, 5], 4)
        ([4, 0], [1, 4])
        >>> active.remove(0, [1, 2, 3]); active.counts, active.added([1, 2, 3, 5], 4)
        ([3, 0], [2, 4])
    """

    def __init__(self, instance_count: int) -> None:
        self.counts: list[int] = []
        self._users: list[dict[int, int]] = []
        self._index = PrefixIndex(instance_count)
        self.grow(instance_count)

    def grow(self, instance_count: int) -> None:
        """There are at least so many instances from now on."""
        missing = instance_count - len(self.counts)
        self.counts += [0] * missing
        self._users += [{} for _ in range(missing)]
        self._index.grow(instance_count)

    def added(self, keys: Sequence[int], prompt_blocks: int) -> list[int]:
        """Blocks that a prompt of so many would add on every instance [block]."""
        return [prompt_blocks - shared for shared in self._index.hit_tokens(keys, 1, prompt_blocks)]

    def add(self, instance: int, keys: Sequence[int]) -> None:
        """A request with these blocks starts."""
        users = self._users[instance]
        before = len(users)
        for key in keys:
            users[key] = users.get(key, 0) + 1
        new = len(users) - before  # a block in use is followed by none that had been in use without it
        if new:
            shared = len(keys) - new
            self._index.add(instance, keys[shared:], keys[shared - 1] if shared else None)
            self.counts[instance] += new

    def remove(self, instance: int, keys: Sequence[int]) -> None:
        """It ended; ``keys`` are those that it started with."""
        users = self._users[instance]
        gone = []
        for key in keys:
            users[key] -= 1
            if not users[key]:
                del users[key]
                gone.append(key)
        self._index.remove(instance, reversed(gone))
        self.counts[instance] -= len(gone)

    def save(self) -> PrefixIndexState:
        """Which blocks are in use where; who uses them the owner knows."""
        return self._index.save()

    @classmethod
    def restore(cls, saved: PrefixIndexState, users: Iterable[tuple[int, Sequence[int]]]) -> ActiveBlocks:
        """The blocks in use when :meth:`save` was called.

        Args:
            saved: what was saved.
            users: instance and blocks of every request that was in flight.

        Raises:
            BadInput: if no index looks like this.
        """
        active = cls(saved.slots)
        active._index = PrefixIndex.restore(saved)
        for instance, keys in users:
            counts = active._users[instance]
            for key in keys:
                counts[key] = counts.get(key, 0) + 1
        active.counts = [len(counts) for counts in active._users]
        return active
