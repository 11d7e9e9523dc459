"""The shipped router decides in a simulation: one, or several over one cluster, with faults on the way of events."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from replay.sim.channel import Channel, Faults
from replay.sim.cluster import Cluster
from replay.sim.deciders import Observer
from replay.sim.incidents import Incident
from replay.sim.noticed import Noticed
from replay.sim.sequence import Sim, Sinks
from replay.sim.ticks import to_seconds, to_ticks
from scheduler.accounting import Level
from scheduler.domains import TIME_DOMAIN, Domain
from scheduler.mitigation import read_mode
from scheduler.policies.rule import Policy
from scheduler.routed import Routed
from scheduler.router import Router
from scheduler.router_config import RouterConfig

#: After every event.
_FOREVER = 2**80
_ROUTERS = Domain(1, 64, integer=True, unit="router")


@dataclass(frozen=True, slots=True)
class Routing:
    """How the shipped router is used in a simulation.

    Args:
        mitigation: what it may do about findings; a name of :class:`scheduler.mitigation.Mode`.
        routers: how many share the cluster; requests go to them in turn.
        sync_s: how late one learns of what another did [s].
        faults: what happens to events on their way.
        incidents: crashes of instances, restarts of routers.
        heed: told of every decision.
        config: settings; ``source``, ``capacity_blocks`` and ``kv_tokens`` follow from the cluster.

    Raises:
        BadInput: for an unknown mitigation or a value outside its domain.
    """

    mitigation: str = "auto"
    routers: int = 1
    sync_s: float = 0.0
    faults: Faults = field(default_factory=Faults)
    incidents: tuple[Incident, ...] = ()
    heed: Callable[[Routed], None] | None = None
    config: RouterConfig = field(default_factory=RouterConfig)

    def __post_init__(self) -> None:
        read_mode(self.mitigation)
        _ROUTERS.check("routers", self.routers)
        TIME_DOMAIN.check("sync_s", self.sync_s)


class RouterDecider:
    """One or several shipped routers.

    Args:
        cluster: what is simulated; its level and delay say what the routers learn, and when.
        block_tokens: tokens in a block.
        policy: rule and knobs.
        routing: how the routers are used.
        seed: of draws and ties; each router has its own.
        observer: called at every decision, after it was booked.
    """

    def __init__(
        self,
        cluster: Cluster,
        block_tokens: int,
        policy: Policy,
        routing: Routing,
        seed: int,
        observer: Observer | None,
    ) -> None:
        history = cluster.level is Level.PROXY
        config = _configured(routing.config, history, cluster.kv_tokens, block_tokens)
        names = [str(i) for i in range(len(cluster))]
        times = dict(zip(names, cluster.step_times, strict=True))
        self.routers = [
            Router(
                names,
                policy,
                ties=None,
                seed=seed + 7919 * number,
                mitigation=routing.mitigation,
                config=config,
                step_times=times,
                clock=_no_clock,
            )
            for number in range(routing.routers)
        ]
        self.noticed = Noticed()
        self._level, self._observer, self._heed = cluster.level, observer, routing.heed
        self._own, self._others = to_ticks(cluster.delay_s), to_ticks(cluster.delay_s + routing.sync_s)
        self._channel = Channel(routing.faults, random.Random(seed + 1))
        self._owner: dict[int, int] = {}
        self._next = 0

    def decide(self, sim: Sim, at: int) -> int:
        """The instance that a request goes to; it is booked there."""
        self._channel.deliver(at)
        number = self._next
        self._next = (number + 1) % len(self.routers)
        router, now_s = self.routers[number], to_seconds(at)
        self.noticed.given_up += len(router.reclaim(now_s=now_s))
        routed = router.route(sim.request, now_s=now_s)
        self.noticed.note(at, routed)
        if self._heed is not None:
            self._heed(routed)
        sim.predicted_hit = routed.hit_tokens
        chosen = int(routed.instance)
        if len(self.routers) > 1:
            self._owner[sim.request.id] = number
            self._tell_others(number, at, "heard", sim.request, routed.instance, routed.new_tokens)
        if self._observer is not None:
            self._observer(sim, routed.state, chosen, at)
        return chosen

    def _tell(self, sim: Sim, at: int, method: str, *arguments: Any) -> None:
        """The owner of a request learns something about it, the others later."""
        owner = self._owner.get(sim.request.id, 0)
        self._send(owner, at, self._own, method, arguments)
        if len(self.routers) > 1:
            self._tell_others(owner, at, method, *arguments)

    def _tell_others(self, owner: int, at: int, method: str, *arguments: Any) -> None:
        for number in range(len(self.routers)):
            if number != owner:
                self._send(number, at, self._others, method, arguments)

    def _send(self, number: int, at: int, delay: int, method: str, arguments: tuple[Any, ...]) -> None:
        self._channel.send(at, delay, self._arrive, number, method, arguments, at)

    def _arrive(self, number: int, method: str, arguments: tuple[Any, ...], at: int) -> None:
        getattr(self.routers[number], method)(*arguments, now_s=to_seconds(at))

    def sinks(self) -> Sinks:
        """What the engines tell the routers at this level."""
        events = self._level is not Level.PROXY
        steps = self._level is Level.PER_STEP
        return Sinks(
            first_token=self._first_token,
            finished=lambda _i, sim, t: self._tell(sim, t, "finish", sim.request.id, sim.output),
            admitted=(lambda _i, sim, n, t: self._tell(sim, t, "admitted", sim.request.id, n)) if steps else None,
            progressed=(lambda _i, sim, n, t: self._tell(sim, t, "prefill_progress", sim.request.id, n))
            if steps
            else None,
            preempted=(lambda _i, sim, n, t: self._tell(sim, t, "preempted", sim.request.id, n)) if steps else None,
            stored=self._stored if events else None,
            removed=self._removed if events else None,
        )

    def _first_token(self, _i: int, sim: Sim, t: int) -> None:
        if sim.first_at == t or self._level is Level.PER_STEP:
            self._tell(sim, t, "first_token", sim.request.id)

    def _stored(self, i: int, path: Any, start: int, stop: int, t: int) -> None:
        after = path[start - 1] if start else None
        for number in range(len(self.routers)):
            self._channel.send(t, self._own, self._cache, number, str(i), tuple(path[start:stop]), after, ())

    def _removed(self, i: int, evicted: Any, t: int) -> None:
        for number in range(len(self.routers)):
            self._channel.send(t, self._own, self._cache, number, str(i), (), None, tuple(evicted))

    def _cache(self, number: int, name: str, stored: Any, after: Any, removed: Any) -> None:
        self.routers[number].kv_event(name, stored=stored, after=after, removed=removed)

    def happen(self, what: str, index: int, at: int) -> None:
        """An instance crashed or came back, or a router starts again from its snapshot."""
        self._channel.deliver(at)
        if what == "restart":
            self.routers[index] = Router.restore(self.routers[index].snapshot(), clock=_no_clock)
            return
        for router in self.routers:
            if what == "crash":
                router.leave(str(index))
            else:
                router.join(str(index))

    def dissolve(self) -> None:
        """The run is over: what is on its way arrives, and what is still open is given up, as after a long silence."""
        self._channel.deliver(_FOREVER)
        noticed = self.noticed
        noticed.faults = {name: getattr(self._channel, name) for name in ("lost", "duplicated", "reordered")}
        for router in self.routers:
            noticed.ignored += router.ignored
            noticed.open_at_end += router.open_requests
            router.reclaim(now_s=TIME_DOMAIN.high)
            if router.config.lost_after_s is None:  # then nothing is given up for its silence
                for name in (*router.instances, *router.draining):
                    router.leave(name)
            noticed.booked_at_end += router.booked


def _no_clock() -> float:
    raise AssertionError("a simulation tells the time itself")


def _configured(config: RouterConfig, history: bool, kv_tokens: int, block_tokens: int) -> RouterConfig:
    return msgspec.structs.replace(
        config,
        source="history" if history else "events",
        capacity_blocks=max(1, kv_tokens // block_tokens) if history else None,
        kv_tokens=kv_tokens,
        log_size=0,
    )
