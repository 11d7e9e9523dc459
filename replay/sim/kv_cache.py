"""KV blocks of one instance: prefix cache with reference counts and LRU eviction, leaf first.

Blocks are named by chained keys, so a key stands for its whole prefix. A request refers to a contiguous run of keys
from the start of its prompt. It gives them back deepest first; so a block always leaves the idle list after its
descendants, and what is cached of a chain is always a prefix of it. Everything that is not (yet) a shared, computed
block (a partial tail, output tokens, blocks still being computed) counts as private.

Source: block pool and eviction order of vLLM v1 (freed tail first, evicted oldest first). One simplification: two
requests that compute the same block at the same time end up with one block, not two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scheduler.recency import Recency, Run


class BlockPool:
    """Blocks of one instance.

    Args:
        capacity: blocks in all, >= 1.
        tell: whether evictions are noted in ``evicted``.

    Attributes:
        private: blocks held by requests and not shared.
        evicted: keys evicted since the owner last emptied the list.
    """

    __slots__ = ("_idle", "_table", "_tell", "capacity", "evicted", "private")

    def __init__(self, capacity: int, tell: bool = True) -> None:
        self.capacity, self._tell = capacity, tell
        self.private = 0
        #: Every cached block: how many requests hold it, or the run it is idle in.
        self._table: dict[int, int | Run] = {}
        self._idle = Recency(self._table)
        self.evicted: list[int] = []

    def available(self) -> int:
        """Blocks that can be had at once: free ones and idle cached ones."""
        return self.capacity - self.private - len(self._table) + self._idle.size

    def cached_count(self) -> int:
        """Shared, computed blocks, idle ones included."""
        return len(self._table)

    def match(self, keys: Sequence[int], limit: int) -> int:
        """Length of the cached prefix of ``keys[:limit]``, by bisection: presence is monotone along a chain."""
        table = self._table
        if not limit or keys[0] not in table:
            return 0
        low, high = 1, limit  # keys[:low] cached
        while low < high:
            middle = (low + high + 1) >> 1
            if keys[middle - 1] in table:
                low = middle
            else:
                high = middle - 1
        return low

    def idle_among(self, keys: Sequence[int], count: int) -> int:
        """How many of the cached ``keys[:count]`` are idle: pinning them lowers :meth:`available` by as many."""
        table = self._table
        return sum(1 for key in keys[:count] if type(table[key]) is Run)

    def pin(self, keys: Sequence[int], count: int) -> None:
        """Refer to the cached blocks ``keys[:count]``."""
        for key in keys[:count]:
            self._hold(key)

    def _hold(self, key: int) -> None:
        state = self._table[key]
        if isinstance(state, int):
            self._table[key] = state + 1
        else:
            self._table[key] = 1
            self._idle.leave(state)

    def reserve(self, count: int) -> None:
        """Take ``count`` private blocks, evicting idle ones as needed. The caller checked :meth:`available`."""
        self.private += count
        surplus = self.private + len(self._table) - self.capacity
        if surplus > 0:
            gone = self._idle.pop_oldest(surplus)
            if self._tell:
                self.evicted += gone

    def commit(self, keys: Sequence[int], start: int, stop: int) -> None:
        """Private blocks ``keys[start:stop]`` have been computed: share them, still referred to by their request."""
        table = self._table
        new = keys[start:stop]
        if new[0] not in table:  # then none of the deeper ones is
            table.update(dict.fromkeys(new, 1))
        else:
            for key in new:
                if key in table:
                    self._hold(key)
                else:
                    table[key] = 1
        self.private -= stop - start

    def release(self, keys: Sequence[int], held: int, private: int) -> None:
        """Give back ``keys[:held]``, deepest first, and ``private`` blocks."""
        table: dict[int, Any] = self._table
        # References never grow along a chain, so the blocks that nobody else holds are the last ones: find the first.
        low, high = 0, held
        while low < high:
            middle = (low + high) >> 1
            if table[keys[middle]] > 1:
                low = middle + 1
            else:
                high = middle
        for key in keys[:low]:
            table[key] -= 1
        self._idle.touch(keys[low:held], 0)
        self.private -= private
