"""The replay runner: a trace through the shipped router onto engines, real or simulated.

Each request is routed when it is due, by the trace's clock or when the reply that it follows has ended; what its engine
tells is passed on to the router and written down. Requests that an engine loses, cuts short or keeps silent about have
failed, those that no instance can hold are rejected, each with a reason; none is forgotten. The record is that of the
simulator, so all tables, plots and files read it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from replay.engines.prompts import Prompts
from replay.engines.protocol import Admitted, Engine, Event, Finished, Job, Preempted, Progress, Tokens
from replay.live_record import Line, LiveRecord
from replay.sim.noticed import Noticed
from replay.sim.record import RunRecord
from replay.sim.runs import full_blocks
from replay.sim.sequence import Sim
from replay.sim.ticks import to_seconds, to_ticks
from scheduler.domains import TIME_DOMAIN, Domain
from scheduler.errors import BadInput, EngineFailure, JobRefused
from scheduler.router import Router
from scheduler.state import End, Request

_RATE = Domain(0, 1e6, low_open=True, unit="times as quick")
_PATIENCE = Domain(0, 1e6, low_open=True, unit="s")
_FAILURES = Domain(1, 1_000_000, integer=True, unit="request")
#: Why what was open at the cut-off, or when the user stopped the run, has failed; no fault of an engine.
CUT_OFF = "still open at the cut-off"
#: Token ids of a prompt are made so long before it is due [s].
PROMPT_LEAD_S = 0.05


@dataclass(frozen=True, slots=True)
class Pace:
    """How a trace is replayed.

    Args:
        closed_loop: a request with ``after`` is due ``think_s`` after that reply ended, not at its ``arrival_s``.
        rate: arrivals and thinking go so many times as quickly as in the trace.
        until_s: cut-off: what is open then has failed, what is not due yet is left out; None: to the end [s].
        patience_s: an engine that tells nothing of a request for so long is hung, and the request has failed [s].
        failures_allowed: an engine that fails so many requests, and finishes none between them, gets no more. Without
            that, a dead instance looks idle, and draws all traffic to it.

    Raises:
        BadInput: naming the field, the value and the domain.
    """

    closed_loop: bool = False
    rate: float = 1.0
    until_s: float | None = None
    patience_s: float = 60.0
    failures_allowed: int = 3

    def __post_init__(self) -> None:
        _RATE.check("rate", self.rate)
        _PATIENCE.check("patience_s", self.patience_s)
        _FAILURES.check("failures_allowed", self.failures_allowed)
        if self.until_s is not None:
            TIME_DOMAIN.check("until_s", self.until_s)


def capacity_tokens(engines: Sequence[Engine]) -> int | None:
    """Tokens that fit the KV cache of every instance; None if no engine tells [token]."""
    held = [engine.kv_blocks * engine.block_tokens for engine in engines if engine.kv_blocks is not None]
    return min(held, default=None)


class Runner:
    """One run.

    Args:
        engines: the instances, ready; the router has been told of the same names.
        router: decides.
        requests: in order of arrival.
        prompts: makes token ids; None for engines that need none.
        pace: how the trace is replayed.
        line_sink: told of every request that has ended, as it ends.

    Raises:
        BadInput: if router and engines do not speak of the same instances.
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        router: Router,
        requests: Sequence[Request],
        *,
        prompts: Prompts | None = None,
        pace: Pace | None = None,
        line_sink: Callable[[Line], None] | None = None,
    ) -> None:
        self.engines = {engine.name: engine for engine in engines}
        if set(self.engines) != set(router.instances):
            raise BadInput("engines", sorted(self.engines), f"those of the router: {', '.join(router.instances)}")
        self.router, self.requests, self.prompts = router, requests, prompts
        self.pace = Pace() if pace is None else pace
        self._sink = line_sink
        self._places = {name: place for place, name in enumerate(self.engines)}
        self._inflight = [0] * len(self.engines)
        self._failures = [0] * len(self.engines)  # since the last request that ended well
        self._gone: dict[str, str] = {}
        self._capacity_tokens = capacity_tokens(engines)
        self._ends: dict[int, asyncio.Future[float | None]] = {}
        self._began_s = 0.0
        self._rows = [self._row(request) for request in requests]
        self.record = RunRecord(router.policy.label, 0, [sim for sim, _ in self._rows], noticed=Noticed())

    def _row(self, request: Request) -> tuple[Sim, Line]:
        blocks = full_blocks(request)
        sim = Sim(request, to_ticks(request.arrival_s / self.pace.rate), request.block_keys[:blocks], blocks)
        line = Line(id=request.id, prompt_tokens=request.prompt_tokens, wanted_tokens=request.output_tokens)
        return sim, line

    def now_s(self) -> float:
        """Time since the run began [s]."""
        return asyncio.get_running_loop().time() - self._began_s

    async def run(self) -> LiveRecord:
        """Replay all requests; returns when each has its end."""
        loop = asyncio.get_running_loop()
        self._began_s = loop.time()
        self._ends = {request.id: loop.create_future() for request in self.requests}
        tasks = [loop.create_task(self._request(sim, line)) for sim, line in self._rows]
        try:
            if tasks:  # an exception here is none of an engine: a full disk, a router that cannot go on
                await asyncio.wait(tasks, timeout=self.pace.until_s, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result
        return self._closed()

    def _closed(self) -> LiveRecord:
        """Give every request that was due its end."""
        record = self.record
        routed = [(sim, line) for sim, line in self._rows if sim.end is not None]
        record.sims, record.not_arrived = [sim for sim, _ in routed], len(self._rows) - len(routed)
        record.ended_at = max((to_ticks(line.end_s) for _, line in routed if line.end_s is not None), default=0)
        return LiveRecord(record, [line for _, line in routed], self.now_s(), self._gone)

    async def _request(self, sim: Sim, line: Line) -> None:
        """One request from its due time to its end."""
        ended_s: float | None = None
        try:
            job = await self._due(sim, line)
            if job is not None:
                ended_s = await self._routed(sim, line, job)
        except asyncio.CancelledError:
            if sim.instance is not None and sim.end is None:
                self._fails(sim, line, CUT_OFF)
            raise
        finally:
            if not self._ends[sim.request.id].done():
                self._ends[sim.request.id].set_result(ended_s)
            if sim.end is not None and self._sink is not None:
                self._sink(line)

    async def _due(self, sim: Sim, line: Line) -> Job | None:
        """Wait until it is due; what it asks of an engine, or None if the reply that it follows never ended well."""
        request, rate = sim.request, self.pace.rate
        line.due_s = request.arrival_s / rate
        before = self._ends.get(request.after) if self.pace.closed_loop and request.after is not None else None
        if before is not None:
            ended_s = await asyncio.shield(before)
            if ended_s is None:
                self._fails(sim, line, f"request {request.after}, whose reply it follows, did not finish")
                return None
            sim.arrival = to_ticks(ended_s) + to_ticks(request.think_s / rate)
            line.due_s = to_seconds(sim.arrival)
        job = Job(request=request)
        if self.prompts is not None:  # made shortly before, so that neither time nor memory is lost to them
            await self._until(line.due_s - PROMPT_LEAD_S)
            ids = self.prompts.ids(request)
            job = Job(request=self.prompts.keyed(request, ids), prompt_ids=ids)
        await self._until(line.due_s)
        return job

    async def _until(self, at_s: float) -> None:
        """Wait for a time of the run; not at all if it is over."""
        wait_s = at_s - self.now_s()
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    async def _routed(self, sim: Sim, line: Line, job: Job) -> float | None:
        """Route it, follow it on its engine; when it ended, if it ended well [s]."""
        now_s, length = self.now_s(), sim.prompt + sim.output
        if self._capacity_tokens is not None and length > self._capacity_tokens:
            self._drop(sim, line, End.REJECTED, f"{length} tokens can never fit the KV cache of an instance")
            return None
        if not self.router.instances:
            self._drop(sim, line, End.FAILED, "no instance is left")
            return None
        routed = self.router.route(job.request, now_s=now_s)
        assert self.record.noticed is not None
        self.record.noticed.note(to_ticks(now_s), routed)
        place = self._places[routed.instance]
        sim.instance, sim.predicted_hit = place, routed.hit_tokens
        line.instance, line.sent_s, line.predicted_tokens = routed.instance, now_s, routed.hit_tokens
        self._inflight[place] += 1
        line.imbalance = max(self._inflight) * len(self._inflight) / sum(self._inflight)
        self.record.imbalance.append(line.imbalance)
        stream = self.engines[routed.instance].submit(job)
        try:
            await self._follow(stream, sim, line)
            self._failures[place] = 0
        except JobRefused as fault:
            self.router.fail(sim.request.id, now_s=self.now_s())
            self._drop(sim, line, End.REJECTED, str(fault))
            return None
        except EngineFailure as fault:
            self._fails(sim, line, str(fault))
            self._blamed(place, str(fault))
            return None
        finally:
            self._inflight[place] -= 1
            await stream.aclose()
        return line.end_s

    async def _follow(self, stream: AsyncGenerator[Event, None], sim: Sim, line: Line) -> None:
        """Pass on what an engine tells of a request, until it is finished.

        Raises:
            EngineFailure: if it breaks, says nothing for too long, or does not generate what it was asked for.
        """
        while True:
            try:
                event = await asyncio.wait_for(anext(stream), self.pace.patience_s)
            except TimeoutError:
                raise EngineFailure(f"{line.instance} said nothing of it for {self.pace.patience_s:g} s") from None
            except StopAsyncIteration:
                raise EngineFailure(f"{line.instance} stopped after {sim.generated} of {sim.output} tokens") from None
            self._heard(event, sim, line)
            if isinstance(event, Finished):
                if event.output_tokens != sim.output:
                    raise EngineFailure(f"{line.instance} gave {event.output_tokens} of {sim.output} tokens")
                line.end, line.end_s = End.FINISHED.value, event.at_s - self._began_s
                sim.end, sim.last_at = End.FINISHED, to_ticks(line.end_s)
                self.router.finish(sim.request.id, sim.output, now_s=self.now_s())
                return

    def _heard(self, event: Event, sim: Sim, line: Line) -> None:
        """One event of a request, for the router and for the record."""
        name, at_s, now_s = sim.request.id, event.at_s - self._began_s, self.now_s()
        if isinstance(event, Tokens):
            if sim.first_at is None:
                sim.first_at = to_ticks(at_s)
            if sim.computed == 0:  # not told yet that this prefill is done
                sim.computed = 1
                self.router.first_token(name, now_s=now_s)
            sim.generated += event.count
            line.token_s.append(at_s)
            line.token_counts.append(event.count)
        elif isinstance(event, Progress):
            self.router.prefill_progress(name, event.tokens, now_s=now_s)
        elif isinstance(event, Preempted):
            sim.preemptions += 1
            sim.computed = 0
            line.preemptions += 1
            self.router.preempted(name, event.tokens, now_s=now_s)
        else:
            first = sim.first_at is None or isinstance(event, Finished)
            if event.cached_tokens is not None and first:  # who was preempted finds its own blocks again
                sim.cached = line.cached_tokens = event.cached_tokens
            if isinstance(event, Admitted) and event.new_tokens is not None:
                self.router.admitted(name, event.new_tokens, now_s=now_s)

    def _blamed(self, place: int, reason: str) -> None:
        """An engine failed a request; one too many, and it gets no more."""
        self._failures[place] += 1
        name = list(self.engines)[place]
        if self._failures[place] >= self.pace.failures_allowed and name not in self._gone:
            self._gone[name] = reason
            self.router.drain(name)

    def _fails(self, sim: Sim, line: Line, reason: str) -> None:
        """A request ends without its answer."""
        if sim.instance is not None:
            self.router.fail(sim.request.id, now_s=self.now_s())
        self._drop(sim, line, End.FAILED, reason)

    def _drop(self, sim: Sim, line: Line, end: End, reason: str) -> None:
        sim.end, sim.reason = end, reason
        line.end, line.reason, line.end_s = end.value, reason, self.now_s()
