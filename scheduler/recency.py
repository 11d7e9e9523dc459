"""Least recently used order over chained blocks, a run at a time.

Blocks that are touched together form a run: one entry of a queue, within which the deepest block is the oldest. A
block that is touched again or discarded leaves its old run, which then counts one live block less; what is dead is
skipped when the run comes up. So almost all work is done on slices.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any


class Run:
    """Blocks that were touched together, in the order of their chain; ``live`` of them are still in it."""

    __slots__ = ("keys", "live")

    def __init__(self, keys: list[int]) -> None:
        self.keys, self.live = keys, len(keys)


class Recency:
    """Blocks in least recently used order, deepest first within a run.

    Args:
        table: where the run of each block is kept. An owner that knows other blocks too may share its own dictionary:
            a value that is not a :class:`Run` is none of our business, and a block that is popped leaves the table.

    Attributes:
        size: blocks in the order.

    Example:
        >>> recency = Recency({})
        >>> recency.touch([1, 2, 3], 0); recency.touch([1], 1)
        >>> recency.pop_oldest(2), recency.size
        ([3, 2], 1)
    """

    __slots__ = ("_queue", "_sweep_at", "_table", "size")

    def __init__(self, table: dict[int, Any]) -> None:
        self._table = table
        self._queue: deque[Run] = deque()
        self._sweep_at = 1024
        self.size = 0

    def touch(self, keys: Sequence[int], known: int) -> None:
        """These blocks, in the order of their chain, become the most recent, the first of them most of all.

        Args:
            keys: a run of one chain.
            known: how many of them, from the first, are in the order already; the others must not be.
        """
        if not keys:
            return
        table = self._table
        for key in keys[:known]:
            table[key].live -= 1
        run = Run(list(keys))
        table.update(dict.fromkeys(keys, run))
        self.size += len(keys) - known
        self._queue.append(run)
        if len(self._queue) > self._sweep_at:
            self._queue = deque(run for run in self._queue if run.live)
            self._sweep_at = 2 * len(self._queue) + 1024

    def known(self, keys: Sequence[int]) -> int:
        """How many of these blocks, from the first, are in the order."""
        table = self._table
        for count, key in enumerate(keys):
            if not isinstance(table.get(key), Run):
                return count
        return len(keys)

    def leave(self, run: Run) -> None:
        """One block of this run is no longer in the order; the owner has given it another value in the table."""
        run.live -= 1
        self.size -= 1

    def pop_oldest(self, count: int) -> list[int]:
        """Take out the ``count`` least recent blocks, oldest first; there must be so many."""
        table, queue = self._table, self._queue
        gone: list[int] = []
        self.size -= count
        while count:
            run = queue[0]
            keys = run.keys
            if run.live < len(keys):
                keys = run.keys = [key for key in keys if table.get(key) is run]
            part = keys[-count:]
            if len(part) == len(keys):
                queue.popleft()
            else:
                del keys[-count:]
                run.live = len(keys)
            for key in part:
                del table[key]
            part.reverse()
            gone += part
            count -= len(part)
        return gone
