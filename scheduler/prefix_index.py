"""Which instance holds how much of a prompt: block key -> bitmask of instances.

Keys are chained, so presence is monotone along a prompt: an instance that holds block d holds every block before it.
The mask of holders can only shrink with depth, and a lookup gallops from one change to the next; its cost grows with
the number of distinct depths, not with the length of the prompt.

:class:`PrefixIndex` mirrors what engines report. :class:`HistoryIndex` knows only what was routed where, and forgets
the least recently used blocks of an instance beyond a capacity, deepest first, as the engine itself would.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scheduler.domains import Domain
from scheduler.errors import BadInput
from scheduler.recency import Recency

_COUNT = Domain(1, integer=True, unit="instance")
_CAPACITY = Domain(0, integer=True, unit="block")


def _no_instance(instance: int, count: int) -> BadInput:
    return BadInput("instance", instance, f"an index >= 0 and < {count}")


class PrefixIndex:
    """Holders of every known block.

    Args:
        instance_count: number of instances, >= 1.

    Example:
        >>> index = PrefixIndex(3)
        >>> index.add(0, [7, 8, 9]); index.add(2, [7])
        >>> index.hit_tokens([7, 8, 9, 10], 16)
        [48, 0, 16]
    """

    def __init__(self, instance_count: int) -> None:
        self._count = _COUNT.check("instance_count", instance_count)
        self._all = (1 << instance_count) - 1
        self._masks: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._masks)

    def holders(self, key: int) -> int:
        """Bitmask of the instances that hold a block."""
        return self._masks.get(key, 0)

    def add(self, instance: int, keys: Sequence[int]) -> None:
        """The instance now holds these blocks (and every block before them).

        Raises:
            BadInput: if there is no such instance.
        """
        if not 0 <= instance < self._count:
            raise _no_instance(instance, self._count)
        masks, bit = self._masks, 1 << instance
        if masks.keys().isdisjoint(keys):
            masks.update(dict.fromkeys(keys, bit))
            return
        get = masks.get
        for key in keys:
            masks[key] = get(key, 0) | bit

    def remove(self, instance: int, keys: Iterable[int]) -> None:
        """The instance no longer holds these blocks; unknown ones are ignored.

        Raises:
            BadInput: if there is no such instance.
        """
        if not 0 <= instance < self._count:
            raise _no_instance(instance, self._count)
        masks, bit = self._masks, 1 << instance
        for key in keys:
            mask = masks.get(key, 0)
            if mask & bit:
                if mask == bit:
                    del masks[key]
                else:
                    masks[key] = mask ^ bit

    def hit_tokens(self, keys: Sequence[int], block_tokens: int, limit: int | None = None) -> list[int]:
        """Contiguous cached prefix of a prompt on every instance [token].

        Args:
            keys: chained keys of the prompt's blocks, in order.
            block_tokens: tokens in a block.
            limit: look at no more than so many blocks, >= 0.

        Raises:
            BadInput: if the limit is negative.
        """
        count = self._count
        length = len(keys) if limit is None else min(limit, len(keys))
        if length < 0:
            raise BadInput("limit", limit, "an integer >= 0 [block]")
        get = self._masks.get
        mask = get(keys[0], 0) if length else 0
        if not mask:
            return [0] * count
        start, hits, everywhere = 0, None, self._all
        while True:
            # Invariant: mask holds at depth `start`. Gallop to the last depth with the same mask.
            stride, last = 1, start
            while last + stride < length and get(keys[last + stride], 0) == mask:
                last += stride
                stride <<= 1
            while stride > 1:
                stride >>= 1
                if last + stride < length and get(keys[last + stride], 0) == mask:
                    last += stride
            start = last + 1
            below = get(keys[start], 0) & mask if start < length else 0
            if hits is None:
                hits = [start * block_tokens if mask == everywhere else 0] * count
                leaving = 0 if mask == everywhere else mask ^ below
            else:
                leaving = mask ^ below
            while leaving:
                bit = leaving & -leaving
                hits[bit.bit_length() - 1] = start * block_tokens
                leaving ^= bit
            if not below:
                return hits
            mask = below


class HistoryIndex:
    """What a router that only sees its own decisions can believe.

    Args:
        instance_count: number of instances, >= 1.
        capacity_blocks: blocks remembered for each instance, >= 0; None for no bound.

    Example:
        >>> history = HistoryIndex(2, capacity_blocks=3)
        >>> history.record(0, [1, 2]); history.record(0, [1, 3, 4])
        >>> history.hit_tokens([1, 3, 4], 16), history.hit_tokens([1, 2], 16)
        ([48, 0], [16, 0])
    """

    def __init__(self, instance_count: int, capacity_blocks: int | None = None) -> None:
        self.index = PrefixIndex(instance_count)
        self._capacity = None if capacity_blocks is None else _CAPACITY.check("capacity_blocks", capacity_blocks)
        self._recency = [Recency({}) for _ in range(instance_count)]

    def hit_tokens(self, keys: Sequence[int], block_tokens: int, limit: int | None = None) -> list[int]:
        """See :meth:`PrefixIndex.hit_tokens`."""
        return self.index.hit_tokens(keys, block_tokens, limit)

    def record(self, instance: int, keys: Sequence[int]) -> None:
        """A prompt with these blocks was sent to an instance.

        Every block becomes more recent than those after it, so what is forgotten first is always deepest.

        Raises:
            BadInput: if there is no such instance.
        """
        if not 0 <= instance < len(self._recency):
            raise _no_instance(instance, len(self._recency))
        recency = self._recency[instance]
        known = recency.known(keys)
        self.index.add(instance, keys[known:])
        recency.touch(keys, known)
        if self._capacity is not None and recency.size > self._capacity:
            self.index.remove(instance, recency.pop_oldest(recency.size - self._capacity))
