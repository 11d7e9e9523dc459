"""KV blocks of one instance kept by runs: the quick twin of :mod:`replay.sim.kv_cache`.

Of each run it is known how many blocks are cached, how deep requests hold it, and which stretches below that are idle
and since when. The order of eviction is that of the plain pool: least recently released first, deepest first.
"""

from __future__ import annotations

from collections import deque

from replay.sim.runs import Path

#: ``(run, blocks left)``: what an eviction left of a run.
Evicted = tuple[int, int]


class _Release:
    """Everything one request gave back at once: runs in order of depth."""

    __slots__ = ("runs",)

    def __init__(self) -> None:
        self.runs: list[tuple[int, _Run]] = []


class _Run:
    """What an instance has of a run.

    Attributes:
        cached: blocks, from the first.
        full: requests that hold all of it.
        partial: depth to which other requests hold it.
        idle: stretches ``[from, to, release]`` that nobody holds, shallow ones first; they end at ``cached``.
    """

    __slots__ = ("cached", "full", "idle", "partial")

    def __init__(self) -> None:
        self.cached = self.full = 0
        self.partial: list[int] = []
        self.idle: list[tuple[int, int, _Release]] = []

    def held(self, length: int) -> int:
        """Depth to which somebody holds it."""
        if self.full:
            return length
        return max(self.partial) if self.partial else 0


class RunPool:
    """Blocks of one instance; see :class:`replay.sim.kv_cache.BlockPool`, whose methods these are.

    Args:
        capacity: blocks in all, >= 1.
        tell: whether evictions are noted in ``evicted``.

    Attributes:
        private: blocks held by requests and not shared.
        evicted: runs that lost blocks since the owner last emptied the list.
    """

    __slots__ = ("_cached", "_idle", "_queue", "_sweep_at", "_table", "_tell", "capacity", "evicted", "private")

    def __init__(self, capacity: int, tell: bool = True) -> None:
        self.capacity, self._tell = capacity, tell
        self.private = 0
        self.evicted: list[Evicted] = []
        self._table: dict[int, _Run] = {}
        self._queue: deque[_Release] = deque()
        self._sweep_at = 1024
        self._cached = self._idle = 0

    def available(self) -> int:
        """Blocks that can be had at once: free ones and idle cached ones."""
        return self.capacity - self.private - self._cached + self._idle

    def cached_count(self) -> int:
        """Shared, computed blocks, idle ones included."""
        return self._cached

    def match(self, path: Path, limit: int) -> int:
        """Length of the cached prefix, at most ``limit`` blocks."""
        table = self._table
        for run, start, end in path:
            state = table.get(run)
            if state is None:
                return min(start, limit)
            if state.cached < end - start:
                return min(start + state.cached, limit)
            if end >= limit:
                return limit
        return min(path[-1][2], limit) if path else 0

    def idle_among(self, path: Path, count: int) -> int:
        """How many of the first ``count`` blocks, all cached, are idle."""
        total = 0
        for run, start, end in path:
            if start >= count:
                break
            depth = min(count, end) - start
            total += sum(min(to, depth) - low for low, to, _ in self._table[run].idle if low < depth)
        return total

    def pin(self, path: Path, count: int) -> None:
        """Hold the first ``count`` blocks, all cached."""
        for run, start, end in path:
            if start >= count:
                return
            self._hold(self._table[run], min(count, end) - start, end - start)

    def _hold(self, state: _Run, depth: int, length: int) -> None:
        if depth == length:
            state.full += 1
        else:
            state.partial.append(depth)
        if state.idle:
            kept = []
            for low, to, release in state.idle:
                if low >= depth:
                    kept.append((low, to, release))
                elif to > depth:
                    self._idle -= depth - low
                    kept.append((depth, to, release))
                else:
                    self._idle -= to - low
            state.idle = kept

    def reserve(self, count: int) -> None:
        """Take ``count`` private blocks, evicting idle ones as needed. The caller checked :meth:`available`."""
        self.private += count
        surplus = self.private + self._cached - self.capacity
        if surplus > 0:
            self._evict(surplus)

    def commit(self, path: Path, start: int, stop: int) -> None:
        """Private blocks ``start`` to ``stop`` have been computed: share them, still held by their request."""
        table = self._table
        self.private -= stop - start
        for run, first, end in path:
            if end <= start:
                continue
            if first >= stop:
                return
            state = table.get(run)
            if state is None:
                state = table[run] = _Run()
            if start > first:
                state.partial.remove(start - first)
            depth = min(stop, end) - first
            if depth > state.cached:
                self._cached += depth - state.cached
                state.cached = depth
            self._hold(state, depth, end - first)

    def release(self, path: Path, held: int, private: int) -> None:
        """Give back the first ``held`` blocks, deepest first, and ``private`` blocks."""
        release = _Release()
        for run, start, end in path:
            if start >= held:
                break
            length = end - start
            depth = min(held, end) - start
            state = self._table[run]
            if depth == length:
                state.full -= 1
            else:
                state.partial.remove(depth)
            left = state.held(length)
            if left < depth:
                state.idle.insert(0, (left, depth, release))
                release.runs.append((run, state))
                self._idle += depth - left
        self._queue_up(release)
        self.private -= private

    def _queue_up(self, release: _Release) -> None:
        if release.runs:
            self._queue.append(release)
            if len(self._queue) > self._sweep_at:
                live = (r for r in self._queue if any(stretch[2] is r for _, s in r.runs for stretch in s.idle))
                self._queue = deque(live)
                self._sweep_at = 2 * len(self._queue) + 1024

    def _evict(self, count: int) -> None:
        queue, table, evicted, tell = self._queue, self._table, self.evicted, self._tell
        self._cached -= count
        self._idle -= count
        while count:
            release = queue[0]
            runs = release.runs
            while runs and count:
                run, state = runs[-1]
                if not state.idle or state.idle[-1][2] is not release:
                    runs.pop()
                    continue
                low, to, _ = state.idle.pop()
                gone = min(count, to - low)
                count -= gone
                state.cached = to - gone
                if state.cached > low:
                    state.idle.append((low, state.cached, release))
                else:
                    runs.pop()
                if not state.cached:
                    del table[run]
                if tell:
                    evicted.append((run, state.cached))
            if not runs:
                queue.popleft()
