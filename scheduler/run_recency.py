"""Least recently used order over whole prompts: the quick twin of :class:`scheduler.recency.Recency`.

Blocks are kept in runs: stretches of one chain that were touched together. A run moves in the order as one entry, and
is cut where a prompt leaves it. Keys are chained, so one comparison of keys says that two stretches agree as a whole:
touching a prompt costs a few steps for each run on its path, however long the prompt is, and work for each block is
done only for blocks that are new or change their run.

Every run on the path of a prompt begins where the one before it ends: a run is a stretch of one chain, so the block
before any but its first is in the same run.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from scheduler.index_state import SavedTouch
from scheduler.orphans import Key


class _Run:
    """Consecutive blocks of one chain, touched at the same time; ``stamp`` is its place in the order."""

    __slots__ = ("keys", "stamp", "touched_s")

    def __init__(self, keys: list[Key], stamp: int, touched_s: float) -> None:
        self.keys, self.stamp, self.touched_s = keys, stamp, touched_s


class RunRecency:
    """Blocks in least recently used order; of those touched together the deepest is the oldest.

    Attributes:
        size: blocks in the order.

    Example:
        >>> recency = RunRecency()
        >>> recency.touch([1, 2, 3]), recency.touch([1, 2, 5])
        ((0, 3), (2, 3))
        >>> recency.pop_oldest(2), recency.size
        ([3, 5], 2)
    """

    __slots__ = ("_order", "_stamp", "_table", "size")

    def __init__(self) -> None:
        self._table: dict[Key, _Run] = {}
        self._order: OrderedDict[int, _Run] = OrderedDict()
        self._stamp = 0
        self.size = 0

    def touch(self, keys: Sequence[Key], now_s: float = 0.0) -> tuple[int, int]:
        """The blocks of a prompt become the most recent, the first of them most of all.

        Args:
            keys: chained keys of its blocks, from the first.
            now_s: time, never less than before [s].

        Returns:
            How many of the blocks, from the first, were in the order before, and how many are now. The second is less
            than their number only if a key contradicts the chain it is in; the rest is left alone then.
        """
        table = self._table
        path, known = self._path(keys)
        new = list(keys[known:])
        if new:
            fresh = dict.fromkeys(new)
            if len(fresh) < len(new) or not table.keys().isdisjoint(fresh):
                fresh.clear()
                for key in new:
                    if key in table or key in fresh:
                        break
                    fresh[key] = None
                new = list(fresh)
        if new:
            self.size += len(new)
            # A prompt that only grew stays one run; what else follows the run is cut off when it is touched.
            if path:
                run = path[-1]
                run.keys += new
            else:
                run = _Run(new, self._next_stamp(), now_s)
                self._order[run.stamp] = run
                path.append(run)
            table.update(dict.fromkeys(new, run))
        order = self._order
        for run in reversed(path):
            del order[run.stamp]
            self._stamp = run.stamp = self._stamp + 1
            order[run.stamp] = run
            run.touched_s = now_s
        return known, known + len(new)

    def pop_oldest(self, count: int) -> list[Key]:
        """Take out the ``count`` least recent blocks, oldest first; there must be so many."""
        gone: list[Key] = []
        self.size -= count
        while count:
            stamp, run = next(iter(self._order.items()))
            part = run.keys[-count:]
            if len(part) == len(run.keys):
                del self._order[stamp]
            else:
                del run.keys[-count:]
            for key in part:
                del self._table[key]
            part.reverse()
            gone += part
            count -= len(part)
        return gone

    def oldest_s(self) -> float | None:
        """When the least recent block was touched, or None if there is none [s]."""
        return next(iter(self._order.values())).touched_s if self._order else None

    def pop_expired(self, now_s: float, ttl_s: float) -> list[Key]:
        """Take out all blocks not touched for ``ttl_s``, oldest first."""
        count = 0
        for run in self._order.values():
            if run.touched_s + ttl_s > now_s:
                break
            count += len(run.keys)
        return self.pop_oldest(count)

    def clear(self) -> None:
        """Forget all."""
        self._table.clear()
        self._order.clear()
        self.size = 0

    def save(self) -> list[SavedTouch]:
        """All blocks, the least recent first, as plain values that are not changed by what comes."""
        return [SavedTouch(float(run.touched_s), run.keys.copy()) for run in self._order.values()]

    @classmethod
    def restore(cls, saved: Iterable[SavedTouch]) -> RunRecency:
        """The order that was saved."""
        recency = cls()
        for touch in saved:
            run = _Run(list(touch.keys), recency._next_stamp(), touch.touched_s)
            recency._order[run.stamp] = run
            recency._table.update(dict.fromkeys(run.keys, run))
            recency.size += len(run.keys)
        return recency

    def _next_stamp(self) -> int:
        self._stamp += 1
        return self._stamp

    def _path(self, keys: Sequence[Key]) -> tuple[list[_Run], int]:
        """The runs that hold the known blocks of a prompt, cut so that they hold nothing else; how many those are."""
        table = self._table
        path: list[_Run] = []
        known, length = 0, len(keys)
        while known < length:
            run = table.get(keys[known])
            if run is None or run.keys[0] != keys[known]:
                break
            size = min(len(run.keys), length - known)
            if run.keys[size - 1] != keys[known + size - 1]:
                low, high = 1, size - 1  # run.keys[:low] agrees with the prompt
                while low < high:
                    middle = (low + high + 1) >> 1
                    if run.keys[middle - 1] == keys[known + middle - 1]:
                        low = middle
                    else:
                        high = middle - 1
                size = low
            if size < len(run.keys):
                run = self._cut(run, size)
            path.append(run)
            known += size
        return path, known

    def _cut(self, run: _Run, size: int) -> _Run:
        """Part a run after so many blocks; the rest keeps its place in the order. The first part, to be touched."""
        head, tail = run.keys[:size], run.keys[size:]
        old, new = run.stamp, self._next_stamp()
        if len(tail) <= len(head):
            run.keys, run.stamp = head, new
            rest = _Run(tail, old, run.touched_s)
            self._table.update(dict.fromkeys(tail, rest))
        else:
            rest, run.keys = run, tail
            run = _Run(head, new, run.touched_s)
            self._table.update(dict.fromkeys(head, run))
        self._order[old], self._order[new] = rest, run
        return run
