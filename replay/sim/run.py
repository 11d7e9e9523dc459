"""The driver: requests arrive in time order, the rule decides, engines advance from event to event.

Every request ends in exactly one of finished, rejected, failed. Rejected: it could never fit an empty KV cache, or it
is longer than the context limit. Failed: it was still open when the run was cut off, or (closed loop) the reply it
waits for never came.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush, heapreplace
from typing import Any

from replay.sim.cluster import Cluster
from replay.sim.parts import Prepared, prepare
from replay.sim.sequence import Sim, Sinks
from replay.sim.ticks import to_ticks
from replay.sim.view import RouterView
from scheduler.accounting import Level
from scheduler.policies.choosing import Chooser
from scheduler.policies.rule import Policy
from scheduler.state import End, Request

#: ``observer(sim, view, chosen, at)``, called after each decision and before it is booked; for shadow rules and plots.
Observer = Callable[[Sim, RouterView, int, int], None]
#: How often a progress callback is told.
PROGRESS_EVERY = 512


@dataclass(slots=True)
class RunRecord:
    """What one run left behind.

    Args:
        policy: label of the policy.
        seed: of its draws and ties.
        sims: every request that arrived, with its times, in the order given.
        not_arrived: requests that had not arrived by the cut-off; they are no part of the run.
        imbalance: at every arrival that was routed, max/mean over instances of the batch size, the request counted.
        load_at: ticks at which the load was sampled.
        load: requests in flight on every instance at those ticks.
        ended_at: tick of the last event.
        steps: engine steps of each instance.
    """

    policy: str
    seed: int
    sims: list[Sim]
    imbalance: list[float] = field(default_factory=list)
    load_at: list[int] = field(default_factory=list)
    load: list[list[int]] = field(default_factory=list)
    ended_at: int = 0
    not_arrived: int = 0
    steps: list[int] = field(default_factory=list)


def simulate(
    requests: Sequence[Request] | Prepared,
    policy: Policy,
    cluster: Cluster,
    *,
    seed: int = 0,
    closed_loop: bool = False,
    until_s: float | None = None,
    load_samples: int = 240,
    observer: Observer | None = None,
    extra_needs: frozenset[str] = frozenset(),
    progress: Callable[[int], None] | None = None,
) -> RunRecord:
    """Replay requests under one policy on a simulated cluster.

    Args:
        requests: in order of arrival, all with the same ``block_tokens``; prepared ones save the preparation.
        policy: rule and knobs.
        cluster: what is simulated.
        seed: of draws and random ties.
        closed_loop: a request with ``after`` arrives ``think_s`` after that reply ended, not at its ``arrival_s``.
        until_s: cut off: no event after it is simulated, what is open then has failed, what has not arrived is left
            out; None runs to the end.
        load_samples: how many times the load of each instance is sampled over the span of arrivals.
        observer: called at every decision.
        extra_needs: optional columns that the observer reads beside those of the policy.
        progress: told the number of requests routed, every :data:`PROGRESS_EVERY`.

    Returns:
        The record. The same arguments give the same record, on every machine.
    """
    prepared = requests if isinstance(requests, Prepared) else prepare(requests)
    limit = None if until_s is None else to_ticks(until_s)
    # Hundreds of thousands of long-lived objects and hardly a cycle: the collector would only walk over them.
    collecting = gc.isenabled()
    gc.disable()
    try:
        run = _Run(prepared, policy, cluster, seed, extra_needs)
        run.drive(closed_loop, limit, load_samples, observer, progress)
        run.dissolve()
    finally:
        if collecting:
            gc.enable()
    return run.record


class _Run:
    def __init__(
        self,
        prepared: Prepared,
        policy: Policy,
        cluster: Cluster,
        seed: int,
        extra_needs: frozenset[str],
    ) -> None:
        requests, parts = prepared.requests, prepared.parts
        block_tokens = requests[0].block_tokens if requests else 1
        self.context_limit = cluster.context_limit_tokens
        rows = zip(requests, prepared.arrivals, prepared.paths, prepared.blocks, strict=True)
        self.sims = [Sim(*row) for row in rows]
        self.record = RunRecord(policy.label, seed, self.sims)
        self.view = RouterView(cluster, block_tokens, policy, parts, extra_needs)
        self.chooser = Chooser(policy, len(cluster), random.Random(seed))
        sinks = self.view.sinks()
        self.on_finished = sinks.finished
        engine_sinks = Sinks(
            first_token=sinks.first_token,
            finished=self._finished,
            admitted=sinks.admitted,
            progressed=sinks.progressed,
            preempted=sinks.preempted,
            stored=sinks.stored,
            removed=sinks.removed,
        )
        specs = cluster.specs(block_tokens)
        self.capacity_tokens = specs[0].kv_blocks * block_tokens
        self.instances = [
            parts.engine(i, spec, engine_sinks, parts.pool(spec.kv_blocks, sinks.removed is not None))
            for i, spec in enumerate(specs)
        ]
        reads_context = {"context_tokens", "kv_used_fraction"} & extra_needs.union(policy.needs)
        if cluster.level is Level.PER_STEP and reads_context and not cluster.delay_s:
            self.view.true_context = self._true_context
            self.view.true_kv_use = self._true_kv_use
        self.inflight = [0] * len(cluster)
        self.open = 0
        self.events: list[tuple[int, int]] = []  # (tick, instance); stale if the instance moved on
        self.scheduled: list[tuple[int, int]] = []  # (tick, row): arrivals of the trace, the next one last
        self.released: list[tuple[int, int]] = []  # (tick, row): closed-loop arrivals whose time is known, a heap
        self.followers: dict[int, list[int]] = {}  # request id -> rows that wait for its end

    def dissolve(self) -> None:
        """Break the cycles between the run and its parts, so that their memory is given back at once."""
        self.instances.clear()
        self.view.true_context = self.view.true_kv_use = None

    def _true_context(self, at: int) -> list[int]:
        return [instance.context_tokens_at(at) for instance in self.instances]

    def _true_kv_use(self, at: int) -> list[float]:
        return [instance.held_fraction_at(at) for instance in self.instances]

    def _finished(self, i: int, sim: Sim, at: int) -> None:
        self.inflight[i] -= 1
        self.open -= 1
        if self.on_finished is not None:
            self.on_finished(i, sim, at)
        if self.followers:
            self._release(sim, at)

    def _release(self, sim: Sim, at: int) -> None:
        """A request finished: those that follow it get their time of arrival."""
        for row in self.followers.pop(sim.request.id, ()):
            follower = self.sims[row]
            follower.arrival = at + to_ticks(follower.request.think_s)
            heappush(self.released, (follower.arrival, row))

    def _reject(self, sim: Sim, reason: str) -> None:
        """A request is rejected: those that follow it, directly or not, fail."""
        sim.end, sim.reason = End.REJECTED, reason
        ended = [sim]
        while ended:
            before = ended.pop().request.id
            for row in self.followers.pop(before, ()):
                follower = self.sims[row]
                follower.end = End.FAILED
                follower.reason = f"request {before}, whose reply it follows, did not finish"
                ended.append(follower)

    def _advance(self, at: int) -> None:
        """Fire all engine events up to a tick."""
        events, instances, record = self.events, self.instances, self.record
        while events and events[0][0] <= at:
            when, i = events[0]
            instance = instances[i]
            if instance.next_at != when:
                heappop(events)
                continue
            instance.fire()
            record.ended_at = when
            if instance.next_at is None:
                heappop(events)
            else:
                heapreplace(events, (instance.next_at, i))

    def _next_arrival(self, limit: int | None) -> int | None:
        """Tick of the next arrival, once no engine event up to the limit can bring an earlier one."""
        events, scheduled, released = self.events, self.scheduled, self.released
        while True:
            known = scheduled[-1][0] if scheduled else None
            if released and (known is None or released[0] < scheduled[-1]):
                known = released[0][0]
            if not self.followers or not events or (known is not None and known <= events[0][0]):
                return known
            if limit is not None and events[0][0] > limit:
                return None
            self._advance(events[0][0])

    def _take_arrival(self) -> int:
        """Row of the next arrival, ties in the order of the trace."""
        scheduled, released = self.scheduled, self.released
        if released and (not scheduled or released[0] < scheduled[-1]):
            return heappop(released)[1]
        return scheduled.pop()[1]

    def drive(
        self,
        closed_loop: bool,
        limit: int | None,
        load_samples: int,
        observer: Observer | None,
        progress: Callable[[int], None] | None,
    ) -> None:
        known = {sim.request.id for sim in self.sims} if closed_loop else set()
        for row, sim in enumerate(self.sims):
            after = sim.request.after
            if after is not None and after in known:
                self.followers.setdefault(after, []).append(row)
            else:
                self.scheduled.append((sim.arrival, row))
        self.scheduled.sort(reverse=True)
        first = self.scheduled[-1][0] if self.scheduled else 0
        last = max((sim.arrival for sim in self.sims), default=0)
        every = max(1, (last - first) // load_samples)
        next_sample, routed = first, 0
        while True:
            if self.scheduled and not self.followers and not self.released:
                at, row = self.scheduled.pop()  # the open loop: nothing can come before it
                if limit is not None and at > limit:
                    break
                self._advance(at)
            else:
                upcoming = self._next_arrival(limit)
                if upcoming is None or (limit is not None and upcoming > limit):
                    break
                at = upcoming
                self._advance(at)
                row = self._take_arrival()
            if at >= next_sample:
                self.record.load_at.append(at)
                self.record.load.append(self.inflight.copy())
                next_sample = at - (at - first) % every + every
            self._route(self.sims[row], at, observer)
            routed += 1
            if progress is not None and routed % PROGRESS_EVERY == 0:
                progress(routed)
        self._close(limit)
        if progress is not None:
            progress(len(self.sims))

    def _route(self, sim: Sim, at: int, observer: Observer | None) -> None:
        request = sim.request
        context_limit, length = self.context_limit, sim.prompt + sim.output
        if context_limit is not None and length > context_limit:
            self._reject(sim, f"{length} tokens exceed the context limit of {context_limit}")
            return
        if length > self.capacity_tokens:
            self._reject(sim, f"{length} tokens can never fit the KV cache of an instance")
            return
        view = self.view
        expected = view.observe(request, sim.path, at)
        chosen = self.chooser.choose(view, request, expected)
        if observer is not None:
            observer(sim, view, chosen, at)
        view.dispatch(sim, chosen)
        sim.instance = chosen
        inflight = self.inflight
        inflight[chosen] += 1
        self.open += 1
        self.record.imbalance.append(max(inflight) * len(inflight) / self.open)
        instance: Any = self.instances[chosen]
        before = instance.next_at
        instance.arrive(at, sim)
        if instance.next_at != before:
            heappush(self.events, (instance.next_at, chosen))

    def _close(self, limit: int | None) -> None:
        """Let the engines finish what is left, up to the cut-off, and give every request its end."""
        while self.events and (limit is None or self.events[0][0] <= limit):
            self._advance(self.events[0][0])
        if limit is not None:
            for instance in self.instances:
                settled = instance.settle(limit)
                self.record.ended_at = max(self.record.ended_at, settled)
        for sim in self.sims:
            if sim.end is None and sim.instance is not None:
                sim.end, sim.reason = End.FAILED, "still open at the cut-off"
        self.record.sims = [sim for sim in self.sims if sim.end is not None]
        self.record.not_arrived = len(self.sims) - len(self.record.sims)
        self.record.steps = [instance.step_count for instance in self.instances]
