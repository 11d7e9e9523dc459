"""The simulated engine behind the protocol of real ones: the same instance as in ``simulate``, driven by timers.

In virtual time a replay of it gives the timeline of :func:`replay.sim.run.simulate`; in real time it stands in for an
engine that is as quick as its step times say. Prompts are known by their block keys alone, so jobs need no token ids.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from replay.engines.protocol import Admitted, CacheSink, Event, Finished, Job, Preempted, Progress, Tokens
from replay.sim.instance import Instance
from replay.sim.kv_cache import BlockPool
from replay.sim.runs import full_blocks
from replay.sim.sequence import InstanceSpec, Sim, Sinks
from replay.sim.ticks import to_seconds, to_ticks
from scheduler.errors import EngineFailure


class SimulatedEngine:
    """One simulated instance.

    It cannot abort: what is closed before its end is told no more, but computed to its end, and takes its place until
    then.

    Args:
        name: id of the instance.
        spec: its shape and step times.
        cache_sink: told what is stored and evicted, as engines with KV events tell; None for nobody.
    """

    resets = True

    def __init__(self, name: str, spec: InstanceSpec, cache_sink: CacheSink | None = None) -> None:
        self.name, self.spec, self._cache_sink = name, spec, cache_sink
        self.block_tokens, self.kv_blocks = spec.block_tokens, spec.kv_blocks
        self.about: dict[str, str] = {}
        self._queues: dict[Sim, asyncio.Queue[Event | EngineFailure]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._instance = self._fresh()

    def _fresh(self) -> Instance:
        sinks = Sinks(
            first_token=self._first_token,
            finished=self._finished,
            admitted=self._admitted,
            progressed=self._progressed,
            preempted=self._preempted,
            stored=None if self._cache_sink is None else self._stored,
            removed=None if self._cache_sink is None else self._removed,
        )
        return Instance(0, self.spec, sinks, BlockPool(self.spec.kv_blocks, self._cache_sink is not None))

    async def start(self) -> None:
        """Nothing to be done."""

    async def submit(self, job: Job) -> AsyncGenerator[Event, None]:
        """The events of a job; see :class:`replay.engines.protocol.Engine`."""
        request = job.request
        if not self.spec.fits(request):
            raise EngineFailure(f"request {request.id} can never fit the KV cache of {self.name}")
        now = to_ticks(asyncio.get_running_loop().time())
        blocks = full_blocks(request)
        sim = Sim(request, now, request.block_keys[:blocks], blocks)
        queue = self._queues[sim] = asyncio.Queue()
        self._advance(now)
        self._instance.arrive(now, sim)
        self._wake()
        try:
            while True:
                event = await queue.get()
                if isinstance(event, EngineFailure):
                    raise event
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            self._queues.pop(sim, None)

    async def reset_cache(self) -> None:
        """An empty instance takes its place."""
        if self._queues:
            raise EngineFailure(f"{self.name} has open jobs, so its cache cannot be reset")
        self._instance = self._fresh()

    async def close(self) -> None:
        """Nothing fires any more; open jobs fail."""
        if self._timer is not None:
            self._timer.cancel()
        for queue in self._queues.values():
            queue.put_nowait(EngineFailure(f"{self.name} was closed"))

    def _advance(self, now: int) -> None:
        """Let everything up to a tick happen."""
        instance = self._instance
        while instance.next_at is not None and instance.next_at <= now:
            instance.fire()

    def _wake(self) -> None:
        """Set the timer to the next event."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        upcoming = self._instance.next_at
        if upcoming is not None:
            self._timer = asyncio.get_running_loop().call_at(to_seconds(upcoming), self._fire, upcoming)

    def _fire(self, upcoming: int) -> None:
        # A float may lie a little before its tick, so what was waited for is due whatever the clock says.
        self._advance(max(upcoming, to_ticks(asyncio.get_running_loop().time())))
        self._wake()

    def _tell(self, sim: Sim, event: Event) -> None:
        queue = self._queues.get(sim)
        if queue is not None:
            queue.put_nowait(event)

    def _admitted(self, _i: int, sim: Sim, tokens: int, at: int) -> None:
        self._tell(sim, Admitted(at_s=to_seconds(at), new_tokens=tokens, cached_tokens=sim.cached))

    def _progressed(self, _i: int, sim: Sim, tokens: int, at: int) -> None:
        self._tell(sim, Progress(at_s=to_seconds(at), tokens=tokens))

    def _preempted(self, _i: int, sim: Sim, tokens: int, at: int) -> None:
        self._tell(sim, Preempted(at_s=to_seconds(at), tokens=tokens))

    def _first_token(self, _i: int, sim: Sim, at: int) -> None:
        self._tell(sim, Tokens(at_s=to_seconds(at)))

    def _finished(self, _i: int, sim: Sim, at: int) -> None:
        rest = sim.output - 1
        if rest:
            self._tell(sim, Tokens(at_s=to_seconds(at), count=rest))
        event = Finished(
            at_s=to_seconds(at),
            output_tokens=sim.output,
            cached_tokens=sim.cached,
        )
        self._tell(sim, event)

    def _stored(self, _i: int, path: Any, start: int, stop: int, _at: int) -> None:
        assert self._cache_sink is not None
        self._cache_sink(self.name, tuple(path[start:stop]), path[start - 1] if start else None, ())

    def _removed(self, _i: int, evicted: Any, _at: int) -> None:
        assert self._cache_sink is not None
        self._cache_sink(self.name, (), None, tuple(evicted))
