"""One object that a service embeds: it knows the cluster, decides on each request, and says why.

    route(request)            look up the prefix, decide, detect, mitigate, book
    first_token, finish, ...  what becomes of requests, at the level of information that the service has
    kv_event                  what engines store and evict, if they tell
    join, drain, leave        instances come and go
    snapshot, restore         a router that starts again goes on where it was

Events may come twice, late, out of order or not at all: what cannot be is counted in ``ignored`` and changes nothing,
and a request whose end never comes is given up after a time. All methods take a lock and none waits for anything, so
threads and coroutines may call them alike.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Mapping, Sequence

import msgspec

from scheduler import router_input as border
from scheduler.cost import StepTime
from scheduler.decision_log import DecisionLog, LogSink
from scheduler.guard import Guard
from scheduler.ledger import Ledger
from scheduler.mitigation import read_mode
from scheduler.monitor import Monitor
from scheduler.policies.choosing import Chooser
from scheduler.policies.rule import Policy
from scheduler.routed import Routed, routed_by
from scheduler.router_clock import Clock, RouterClock
from scheduler.router_config import RouterConfig
from scheduler.snapshot import as_bytes, from_bytes, only_bad_input, state_of
from scheduler.state import ClusterState, Request
from scheduler.traffic import ClassTraffic


class Router:
    """Routes requests to the instances of one cluster.

    Args:
        instances: ids of the instances.
        policy: ``NAME[:knob=value,...]`` or a :class:`Policy`.
        ties: ``random`` or ``first``, for rules that take the least key, unless the text of the policy says it.
        seed: of random ties and draws.
        mitigation: what may be done about findings: a name of :class:`scheduler.mitigation.Mode`.
        config: everything else.
        step_times: engine times by id of the instance, or one for all, for the rules and findings that read them.
        clock: gives the time where a call does not say it [s].
        log_sink: gets a line of JSON, newline and all, for each decision; its errors are counted in ``log.failures``.

    Attributes:
        log: the last decisions, newest last.

    Raises:
        BadInput: for unknown names and values outside their domains, or a rule that reads what the router cannot know.

    Example:
        >>> router = Router(["a", "b"], seed=1)
        >>> first = router.route(Request(id=1, arrival_s=0.0, prompt_tokens=1024, block_keys=(11, 12)), now_s=0.0)
        >>> router.first_token(1, now_s=0.2); router.finish(1, output_tokens=20, now_s=1.0)
        >>> again = router.route(Request(id=2, arrival_s=2.0, prompt_tokens=1024, block_keys=(11, 12)), now_s=2.0)
        >>> again.instance == first.instance, again.hit_tokens, again.new_tokens
        (True, 1024, 1)
    """

    def __init__(
        self,
        instances: Sequence[str],
        policy: str | Policy = "lmetric",
        *,
        ties: str | None = "random",
        seed: int = 0,
        mitigation: str = "auto",
        config: RouterConfig | None = None,
        step_times: Mapping[str, StepTime] | StepTime | None = None,
        clock: Clock = time.monotonic,
        log_sink: LogSink | None = None,
    ) -> None:
        border.checked_parts(step_times, clock, log_sink)
        self.config = border.settled_config(config)
        self.policy = border.settled_policy(policy, ties)
        self._time = RouterClock(clock)
        self._lock = threading.RLock()
        detect = msgspec.structs.replace(self.config.detect, policy=self.policy.label)
        self._guard = Guard(read_mode(mitigation), detect, Monitor(self.config.monitor))
        self._ledger = Ledger(instances, self.config, self._guard, self.policy.needs, step_times)
        self._chooser = Chooser(self.policy, max(1, len(self.instances)), border.seeded(seed))
        self._open: dict[Hashable, Routed] = {}
        self.log = DecisionLog(self.config.log_size, log_sink)
        self._ignored = 0

    # ---- what is known ------------------------------------------------------------------------------------------

    @property
    def instances(self) -> tuple[str, ...]:
        """Ids of the instances that new requests may go to."""
        return self._ledger.slots.ids

    @property
    def draining(self) -> tuple[str, ...]:
        """Ids of the instances that only finish what they have."""
        return self._ledger.slots.draining()

    @property
    def open_requests(self) -> int:
        """Requests in flight, those of other routers that this one heard of too."""
        return len(self._ledger.accounting)

    @property
    def booked(self) -> int:
        """All counters of all slots added up: 0 if and only if nothing is in flight."""
        return self._ledger.booked()

    @property
    def ignored(self) -> int:
        """Events about requests or instances that could not be."""
        return self._ignored + self._ledger.ignored + self._ledger.accounting.ignored

    def state(self, request: Request, now_s: float | None = None) -> ClusterState:
        """What the router knows of the routable instances for a request; nothing is booked."""
        with self._lock:
            self._ledger.observe(border.routable_request(request), self._time.read(now_s))
            return self._ledger.view.state()

    def traffic(self) -> tuple[ClassTraffic, ...]:
        """The heavy prefix classes now, for reports and for :func:`scheduler.detect`."""
        with self._lock:
            return self._guard.monitor.snapshot(self._ledger.index.holders, self._ledger.slots.routable)

    # ---- decisions ----------------------------------------------------------------------------------------------

    def route(self, request: Request, *, request_id: Hashable = None, now_s: float | None = None) -> Routed:
        """Decide where a request goes, and book it there.

        Args:
            request: the request; its ``block_keys`` name the prompt's blocks, chained.
            request_id: by what name events will speak of it; None for ``request.id``. A request that is in flight
                already is not booked again: the decision that was made is given again.
            now_s: time of the decision, of a clock that starts near 0 (at most 1e9); None asks the router's clock [s].

        Raises:
            BadInput: if the request lies outside its domain, or no instance is routable.
        """
        border.routable_request(request, self.config.source == "history")
        name = request.id if request_id is None else border.checked_name(request_id)
        with self._lock:
            now = self._time.read(now_s)
            self._forget(self._ledger.reclaim(now))
            if (made := self._open.get(name)) is not None:
                self._ignored += 1
                return made
            routed = routed_by(self._ledger, self._guard, self._chooser, request, name, now)
            self._open[name] = routed
            self.log.keep(routed)
        self.log.tell(routed)
        return routed

    # ---- what becomes of requests -------------------------------------------------------------------------------

    def first_token(self, request_id: Hashable, *, now_s: float | None = None) -> None:
        """The prefill of a request is done."""
        with self._lock:
            self._ledger.computed(border.checked_name(request_id), self._time.read(now_s))

    def prefill_progress(self, request_id: Hashable, tokens: int, *, now_s: float | None = None) -> None:
        """So many prefill tokens of a request were computed, for engines that tell step by step."""
        with self._lock:
            told = border.told_tokens("tokens", tokens)
            self._ledger.accounting.progressed(border.checked_name(request_id), told, self._time.read(now_s))

    def admitted(self, request_id: Hashable, new_tokens: int, *, now_s: float | None = None) -> None:
        """The engine says how many tokens of a request it really has to compute: a mispredicted hit is corrected."""
        with self._lock:
            told = border.told_tokens("new_tokens", new_tokens)
            self._ledger.accounting.corrected(border.checked_name(request_id), told, self._time.read(now_s))

    def preempted(self, request_id: Hashable, new_tokens: int, *, now_s: float | None = None) -> None:
        """A request was pushed out and waits again, with so many tokens to compute."""
        with self._lock:
            told = border.told_tokens("new_tokens", new_tokens)
            self._ledger.accounting.preempted(border.checked_name(request_id), told, self._time.read(now_s))

    def finish(self, request_id: Hashable, output_tokens: int | None = None, *, now_s: float | None = None) -> None:
        """A request ended well; its output length teaches the expected one."""
        with self._lock:
            told = None if output_tokens is None else border.told_tokens("output_tokens", output_tokens)
            now = self._time.read(now_s)
            self._open.pop(border.checked_name(request_id), None)
            self._ledger.ended(request_id, told, now)

    def fail(self, request_id: Hashable, *, now_s: float | None = None) -> None:
        """A request ended without an answer, which is no sign that its instance makes progress."""
        with self._lock:
            self._time.read(now_s)
            self._open.pop(border.checked_name(request_id), None)
            self._ledger.failed(request_id)

    def heard(
        self,
        request: Request,
        instance: str,
        new_tokens: int,
        *,
        request_id: Hashable = None,
        now_s: float | None = None,
    ) -> None:
        """Another router of the same cluster sent a request to an instance; events about it may come here, too."""
        border.routable_request(request)
        name = request.id if request_id is None else border.checked_name(request_id)
        with self._lock:
            told = border.told_tokens("new_tokens", new_tokens)
            self._ledger.heard(name, request, instance, told, self._time.read(now_s))

    def kv_event(
        self,
        instance: str,
        *,
        stored: Sequence[int] = (),
        after: int | None = None,
        removed: Sequence[int] = (),
        cleared: bool = False,
    ) -> None:
        """An engine stored or evicted blocks; for routers whose ``source`` is ``events``, others count and ignore it.

        Args:
            instance: id of the instance.
            stored: keys of a run of one chain.
            after: key of the block before the first of them; None if that one starts a prompt.
            removed: keys of blocks that are gone.
            cleared: whether all are gone. Of one call, clearing comes first, then removal.
        """
        with self._lock:
            border.checked_keys("removed", removed)
            border.checked_key("after", after)
            self._ledger.cache_changed(instance, border.checked_keys("stored", stored), after, removed, bool(cleared))

    def reclaim(self, *, now_s: float | None = None) -> list[Hashable]:
        """Give up the requests of which nothing was heard for too long; every decision does so, too. Their names."""
        with self._lock:
            return self._forget(self._ledger.reclaim(self._time.read(now_s)))

    def _forget(self, names: list[Hashable]) -> list[Hashable]:
        for name in names:
            self._open.pop(name, None)
        return names

    # ---- members ------------------------------------------------------------------------------------------------

    def join(self, instance: str) -> None:
        """An instance comes, or one that was draining is routable again.

        Raises:
            BadInput: if it is in the cluster and not draining, or its engine times are not known.
        """
        with self._lock:
            before = self.instances
            self._ledger.join(instance)
            self._settle(before)

    def drain(self, instance: str) -> None:
        """An instance gets no new requests and finishes what it has.

        Raises:
            BadInput: if it is not in the cluster.
        """
        with self._lock:
            before = self.instances
            self._ledger.drain(instance)
            self._settle(before)

    def leave(self, instance: str) -> list[Hashable]:
        """An instance is gone, with its cache and its requests; their names, so that they can be routed again.

        Raises:
            BadInput: if it is not in the cluster.
        """
        with self._lock:
            before = self.instances
            lost = self._ledger.leave(instance)
            self._settle(before)
            return self._forget(lost)

    def _settle(self, before: tuple[str, ...]) -> None:
        """A rule with a memory starts anew when members come or go: it remembers by position."""
        if self.instances != before:
            self._chooser = Chooser(self.policy, max(1, len(self.instances)), self._chooser.rng)

    # ---- a new start --------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """All that decides what this router does next, for :meth:`restore`. Its log is left out.

        Raises:
            BadInput: if a request in flight has an id that is neither a number nor a text.
        """
        with self._lock:
            parts = self.config, self._ledger, self._guard, self._chooser, self._open
            state = state_of(*parts, self._ignored, self._time.now_s)
        return as_bytes(state)

    @classmethod
    def restore(cls, data: bytes, *, clock: Clock = time.monotonic, log_sink: LogSink | None = None) -> Router:
        """A router that goes on where :meth:`snapshot` was called: equal calls get equal answers, draws too.

        Args:
            data: what that gave.
            clock, log_sink: as for a new router; a clock that is behind the snapshot is put on.

        Raises:
            BadInput: if the bytes are damaged, of another version, or of something else.
        """
        state = from_bytes(data)
        with only_bad_input():
            router = cls(**state.settings(), clock=clock, log_sink=log_sink)
            parts = state.go_on(router._ledger, router._guard, router._chooser)
            router._guard, router._chooser, router._open = parts
            router._ignored, router._time = state.ignored, RouterClock(clock, state.now_s)
        return router
