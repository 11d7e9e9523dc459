"""What a router that only sees its own decisions can believe about the caches of its instances.

Blocks are believed from the moment a prompt is sent. They are forgotten least recently used first, deepest first, as
the engine itself would: beyond a capacity, after a time without use, or both.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from scheduler.domains import TIME_DOMAIN, Domain
from scheduler.errors import BadInput
from scheduler.index_state import HistoryIndexState
from scheduler.orphans import Key
from scheduler.prefix_index import PrefixIndex
from scheduler.run_recency import RunRecency

_CAPACITY = Domain(0, integer=True, unit="block")
_LATEST_S = TIME_DOMAIN.high or inf
_TTL = Domain(0, unit="s", low_open=True)


class HistoryIndex:
    """Blocks of the prompts that were routed, by instance.

    Args:
        instance_count: number of instances, >= 1.
        capacity_blocks: blocks remembered for each instance, >= 0; None for no bound.
        ttl_s: forget blocks not touched for so long, > 0; None for never [s].

    Attributes:
        index: the :class:`scheduler.prefix_index.PrefixIndex` of what is believed; read it, never write it.

    Example:
        >>> history = HistoryIndex(2, capacity_blocks=3)
        >>> history.record(0, [1, 2]); history.record(0, [1, 3, 4])
        >>> history.hit_tokens([1, 3, 4], 16), history.hit_tokens([1, 2], 16)
        ([48, 0], [16, 0])
    """

    def __init__(self, instance_count: int, capacity_blocks: int | None = None, ttl_s: float | None = None) -> None:
        self.index = PrefixIndex(instance_count)
        self._capacity = None if capacity_blocks is None else _CAPACITY.check("capacity_blocks", capacity_blocks)
        self._ttl_s = None if ttl_s is None else _TTL.check("ttl_s", ttl_s)
        self._recency = [RunRecency() for _ in range(instance_count)]
        self._now_s = 0.0  # events may come late; time does not go back
        self._expiry_s = inf  # nothing is forgotten for its age before

    def grow(self, instance_count: int) -> None:
        """There are at least so many instances from now on."""
        self.index.grow(instance_count)
        self._recency += [RunRecency() for _ in range(len(self._recency), instance_count)]

    def block_count(self, instance: int) -> int:
        """Blocks believed to be on an instance.

        Raises:
            BadInput: if there is no such instance.
        """
        return self._of(instance).size

    def hit_tokens(self, keys: Sequence[Key], block_tokens: int, limit: int | None = None) -> list[int]:
        """See :meth:`PrefixIndex.hit_tokens`; call :meth:`expire` first if there is a ``ttl_s``."""
        return self.index.hit_tokens(keys, block_tokens, limit)

    def record(self, instance: int, keys: Sequence[Key], now_s: float | None = None) -> None:
        """A prompt with these blocks was sent to an instance.

        Every block becomes more recent than those after it, so what is forgotten first is always deepest.

        Args:
            instance: its index.
            keys: chained keys of the prompt's blocks, from the first.
            now_s: time; one before the latest counts as the latest [s].

        Raises:
            BadInput: if there is no such instance, or no time or an impossible one although there is a ``ttl_s``.
        """
        recency = self._of(instance)
        if self._ttl_s is not None:
            if now_s is None:
                raise BadInput("now_s", None, TIME_DOMAIN.describe(), "blocks are forgotten after ttl_s")
            self._advance(now_s)
            if self._expiry_s == inf:  # else something older is waited for
                self._expiry_s = self._now_s + self._ttl_s
        known, stop = recency.touch(keys, self._now_s)
        if stop > known:
            self.index.add(instance, keys[known:stop], keys[known - 1] if known else None)
        if self._capacity is not None and recency.size > self._capacity:
            self.index.remove(instance, recency.pop_oldest(recency.size - self._capacity))

    def expire(self, now_s: float) -> None:
        """Forget what has not been touched for ``ttl_s``; costs nothing when there is nothing to forget.

        Raises:
            BadInput: if ``now_s`` is later than any time can be.
        """
        if self._ttl_s is None:
            return
        self._advance(now_s)
        if self._now_s < self._expiry_s:
            return
        self._expiry_s = inf
        for instance, recency in enumerate(self._recency):
            oldest_s = recency.oldest_s()
            if oldest_s is not None and oldest_s + self._ttl_s <= self._now_s:
                self.index.remove(instance, recency.pop_expired(self._now_s, self._ttl_s))
                oldest_s = recency.oldest_s()
            if oldest_s is not None:
                self._expiry_s = min(self._expiry_s, oldest_s + self._ttl_s)

    def clear(self, instance: int) -> None:
        """Nothing is believed of an instance any more, as after a restart.

        Raises:
            BadInput: if there is no such instance.
        """
        self._of(instance).clear()
        self.index.clear(instance)

    def save(self) -> HistoryIndexState:
        """All that is known, as plain values that are not changed by what comes."""
        recency = [each.save() for each in self._recency]
        return HistoryIndexState(index=self.index.save(), recency=recency, now_s=float(self._now_s))

    @classmethod
    def restore(
        cls, saved: HistoryIndexState, capacity_blocks: int | None = None, ttl_s: float | None = None
    ) -> HistoryIndex:
        """A history that goes on where :meth:`save` was called.

        Args:
            saved: what was saved.
            capacity_blocks, ttl_s: as they were then; see the class.

        Raises:
            BadInput: if no history looks like this.
        """
        history = cls(saved.index.slots, capacity_blocks, ttl_s)
        history.index = PrefixIndex.restore(saved.index)
        if len(saved.recency) != saved.index.slots:
            raise BadInput("recency", len(saved.recency), f"an entry for each of {saved.index.slots} instances")
        history._recency = [RunRecency.restore(each) for each in saved.recency]
        history._now_s = saved.now_s
        if ttl_s is not None:
            oldest = [each.oldest_s() for each in history._recency]
            history._expiry_s = min([touched_s + ttl_s for touched_s in oldest if touched_s is not None], default=inf)
        return history

    def _of(self, instance: int) -> RunRecency:
        if not 0 <= instance < len(self._recency):
            raise BadInput("instance", instance, f"an index >= 0 and < {len(self._recency)}")
        return self._recency[instance]

    def _advance(self, now_s: float) -> None:
        if now_s > self._now_s:
            # The full check costs more than all the rest, and this is called for every request.
            self._now_s = now_s if now_s <= _LATEST_S else TIME_DOMAIN.check("now_s", now_s)
