"""Which instance holds how much of a prompt, by runs: the quick twin of :class:`scheduler.prefix_index.PrefixIndex`."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from replay.sim.run_cache import Evicted
from replay.sim.runs import Path


class RunIndex:
    """Holders of every run, and how deep others hold it.

    Args:
        instance_count: number of instances, >= 1.
    """

    def __init__(self, instance_count: int) -> None:
        self._count = instance_count
        self._all = (1 << instance_count) - 1
        self._full: dict[int, int] = {}  # run -> instances that hold all of it
        self._partial: dict[int, dict[int, int]] = {}  # run -> instance -> blocks, if some but not all

    def add(self, instance: int, path: Path, start: int, stop: int) -> None:
        """The instance now holds blocks ``start`` to ``stop`` of a prompt, and those before."""
        bit = 1 << instance
        for run, first, end in path:
            if end <= start:
                continue
            if first >= stop:
                return
            if stop >= end:
                self.complete(instance, run)
            elif not self._full.get(run, 0) & bit:
                depths = self._partial.setdefault(run, {})
                depths[instance] = max(depths.get(instance, 0), stop - first)

    def complete(self, instance: int, run: int) -> None:
        """The instance now holds all of a run."""
        self._full[run] = self._full.get(run, 0) | 1 << instance
        if run in self._partial:
            self._forget_partial(run, instance)

    def _forget_partial(self, run: int, instance: int) -> None:
        depths = self._partial[run]
        depths.pop(instance, None)
        if not depths:
            del self._partial[run]

    def remove(self, instance: int, evicted: Sequence[Evicted]) -> None:
        """Of these runs the instance has only so many blocks left."""
        bit = 1 << instance
        for run, left in evicted:
            mask = self._full.get(run, 0)
            if mask & bit:
                if mask == bit:
                    del self._full[run]
                else:
                    self._full[run] = mask ^ bit
            if left:
                self._partial.setdefault(run, {})[instance] = left
            elif run in self._partial:
                self._forget_partial(run, instance)

    def hit_tokens(self, path: Path, block_tokens: int) -> list[int]:
        """Contiguous cached prefix of a prompt on every instance [token]."""
        alive, hits = self._all, [0] * self._count
        for run, start, _ in path:
            below = alive & self._full.get(run, 0)
            if below == alive:
                continue
            depths = self._partial.get(run)
            hits = self._settle(hits, alive, alive ^ below, start * block_tokens)
            if depths is not None:
                for instance, depth in depths.items():
                    if alive >> instance & 1:
                        hits[instance] = (start + depth) * block_tokens
            alive = below
            if not alive:
                return hits
        return self._settle(hits, alive, alive, path[-1][2] * block_tokens) if path else hits

    def _settle(self, hits: list[int], alive: int, leaving: int, tokens: int) -> list[int]:
        """The hit of the instances that hold no more than so many tokens."""
        if alive == self._all:
            return [tokens] * self._count  # those that hold more are settled later
        while leaving:
            bit = leaving & -leaving
            hits[bit.bit_length() - 1] = tokens
            leaving ^= bit
        return hits


class _Touch:
    """A prompt that was routed: its runs, in order of depth."""

    __slots__ = ("runs",)

    def __init__(self) -> None:
        self.runs: list[tuple[int, _Believed]] = []


class _Believed:
    """What an instance is believed to hold of a run: so many blocks, last touched by that prompt."""

    __slots__ = ("blocks", "touch")

    def __init__(self) -> None:
        self.blocks = 0
        self.touch: _Touch | None = None


class RunHistory:
    """What a router that only sees its own decisions can believe: :class:`scheduler.prefix_index.HistoryIndex` by runs.

    Args:
        instance_count: number of instances, >= 1.
        capacity_blocks: blocks remembered for each instance.
    """

    def __init__(self, instance_count: int, capacity_blocks: int) -> None:
        self.index = RunIndex(instance_count)
        self._capacity = capacity_blocks
        self._sizes = [0] * instance_count
        self._tables: list[dict[int, _Believed]] = [{} for _ in range(instance_count)]
        self._queues: list[deque[_Touch]] = [deque() for _ in range(instance_count)]
        self._sweep_at = [1024] * instance_count

    def record(self, instance: int, path: Path) -> None:
        """A prompt with this path was sent to an instance; its blocks become the most recent, the first most of all."""
        if not path:
            return
        table, touch, size = self._tables[instance], _Touch(), self._sizes[instance]
        for run, start, end in path:
            believed = table.get(run)
            if believed is None:
                believed = table[run] = _Believed()
            length = end - start
            if believed.blocks != length:
                size += length - believed.blocks
                believed.blocks = length
                self.index.complete(instance, run)
            believed.touch = touch
            touch.runs.append((run, believed))
        queue = self._queues[instance]
        queue.append(touch)
        if len(queue) > self._sweep_at[instance]:
            queue = deque(t for t in queue if any(believed.touch is t for _, believed in t.runs))
            self._queues[instance], self._sweep_at[instance] = queue, 2 * len(queue) + 1024
        if size > self._capacity:
            self.index.remove(instance, self._forget(table, queue, size - self._capacity))
            size = self._capacity
        self._sizes[instance] = size

    @staticmethod
    def _forget(table: dict[int, _Believed], queue: deque[_Touch], count: int) -> list[Evicted]:
        evicted: list[Evicted] = []
        while count:
            touch = queue[0]
            runs = touch.runs
            while runs and count:
                run, believed = runs[-1]
                if believed.touch is not touch:
                    runs.pop()
                    continue
                gone = min(count, believed.blocks)
                count -= gone
                believed.blocks -= gone
                if not believed.blocks:
                    runs.pop()
                    del table[run]
                evicted.append((run, believed.blocks))
            if not runs:
                queue.popleft()
        return evicted
