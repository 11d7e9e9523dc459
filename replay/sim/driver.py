"""One run of a simulation: arrivals, decisions and engine events in the order of their time."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush, heapreplace
from typing import TYPE_CHECKING, Any

from replay.sim.cluster import Cluster
from replay.sim.deciders import Observer, RuleDecider
from replay.sim.incidents import timeline
from replay.sim.overrides import Overrides
from replay.sim.parts import Prepared
from replay.sim.record import RunRecord
from replay.sim.sequence import InstanceSpec, Sim, Sinks
from replay.sim.ticks import to_ticks
from scheduler.accounting import Level
from scheduler.policies.rule import Policy
from scheduler.state import End

if TYPE_CHECKING:
    from replay.sim.router_decider import RouterDecider, Routing

#: How often a progress callback is told.
PROGRESS_EVERY = 512


class Driver:
    """One run; :func:`replay.sim.run.simulate` says what the arguments are.

    Connect a rule or a router before :meth:`drive`.
    """

    def __init__(self, prepared: Prepared, policy: Policy, cluster: Cluster, seed: int) -> None:
        requests = prepared.requests
        self.parts, self.policy, self.cluster, self.seed = prepared.parts, policy, cluster, seed
        self.block_tokens = requests[0].block_tokens if requests else 1
        self.context_limit = cluster.context_limit_tokens
        rows = zip(requests, prepared.arrivals, prepared.paths, prepared.blocks, strict=True)
        self.sims = [Sim(*row) for row in rows]
        self.record = RunRecord(policy.label, seed, self.sims)
        self.inflight = [0] * len(cluster)
        self.open = 0
        self.events: list[tuple[int, int]] = []  # (tick, instance); stale if the instance moved on
        self.scheduled: list[tuple[int, int]] = []  # (tick, row): arrivals of the trace, the next one last
        self.released: list[tuple[int, int]] = []  # (tick, row): closed-loop arrivals whose time is known, a heap
        self.followers: dict[int, list[int]] = {}  # request id -> rows that wait for its end
        self.incidents: list[tuple[int, int, str, int]] = []  # (tick, order, what, index), the next one last

    def connect_rule(self, extra_needs: frozenset[str], observer: Observer | None, overrides: Overrides) -> None:
        """A rule decides, on what the router would believe."""
        decider = RuleDecider(
            self.cluster, self.block_tokens, self.policy, self.parts, self.seed, extra_needs, observer, overrides
        )
        reads_context = {"context_tokens", "kv_used_fraction"} & extra_needs.union(self.policy.needs)
        if self.cluster.level is Level.PER_STEP and reads_context and not self.cluster.delay_s:
            decider.view.true_context = self._true_context
            decider.view.true_kv_use = self._true_kv_use
        self._connect(decider)

    def connect_router(self, routing: Routing, observer: Observer | None) -> None:
        """The shipped router decides."""
        from replay.sim.router_decider import RouterDecider

        decider = RouterDecider(self.cluster, self.block_tokens, self.policy, routing, self.seed, observer)
        self.record.noticed = decider.noticed
        self.incidents = timeline(routing.incidents, len(self.cluster), routing.routers)
        self._connect(decider)

    def _connect(self, decider: RuleDecider | RouterDecider) -> None:
        self.decider = decider
        sinks = decider.sinks()
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
        specs = self.cluster.specs(self.block_tokens)
        self.capacity_tokens = specs[0].kv_blocks * self.block_tokens
        self.fresh = [self._maker(i, spec, engine_sinks) for i, spec in enumerate(specs)]
        self.instances = [make() for make in self.fresh]

    def _maker(self, i: int, spec: InstanceSpec, sinks: Sinks) -> Callable[[], Any]:
        """Makes the instance of an index, empty."""
        parts, tell = self.parts, sinks.removed is not None
        return lambda: parts.engine(i, spec, sinks, parts.pool(spec.kv_blocks, tell))

    def dissolve(self) -> None:
        """Break the cycles between the run and its parts, so that their memory is given back at once."""
        self.instances.clear()
        self.fresh.clear()
        self.decider.dissolve()

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

    def _drop(self, sim: Sim, end: End, reason: str) -> None:
        """A request is rejected or fails: those that follow it, directly or not, fail."""
        sim.end, sim.reason = end, reason
        ended = [sim]
        while ended:
            before = ended.pop().request.id
            for row in self.followers.pop(before, ()):
                follower = self.sims[row]
                follower.end = End.FAILED
                follower.reason = f"request {before}, whose reply it follows, did not finish"
                ended.append(follower)

    def _advance(self, at: int) -> None:
        """Let all incidents and engine events up to a tick happen, in the order of their time."""
        while self.incidents and self.incidents[-1][0] <= at:
            when, _, what, index = self.incidents.pop()
            self._fire(when)
            if what == "crash":
                self._crash(index)
            self.decider.happen(what, index, when)
        self._fire(at)

    def _crash(self, i: int) -> None:
        """An instance loses its requests and its cache."""
        self.instances[i] = self.fresh[i]()
        self.open -= self.inflight[i]
        self.inflight[i] = 0
        for sim in self.sims:
            if sim.instance == i and sim.end is None:
                self._drop(sim, End.FAILED, "its instance crashed")

    def _fire(self, at: int) -> None:
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
        progress: Callable[[int], None] | None,
    ) -> None:
        """Let everything happen; see :func:`replay.sim.run.simulate` for the arguments."""
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
            self._route(self.sims[row], at)
            routed += 1
            if progress is not None and routed % PROGRESS_EVERY == 0:
                progress(routed)
        self._close(limit)
        if progress is not None:
            progress(len(self.sims))

    def _route(self, sim: Sim, at: int) -> None:
        context_limit, length = self.context_limit, sim.prompt + sim.output
        if context_limit is not None and length > context_limit:
            self._drop(sim, End.REJECTED, f"{length} tokens exceed the context limit of {context_limit}")
            return
        if length > self.capacity_tokens:
            self._drop(sim, End.REJECTED, f"{length} tokens can never fit the KV cache of an instance")
            return
        chosen = self.decider.decide(sim, at)
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
