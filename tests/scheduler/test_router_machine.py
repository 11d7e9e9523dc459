"""A router against plain sets and dictionaries: whatever comes, twice, late, in another order or not at all."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scheduler import Request, StepTime, decide
from scheduler.detect_config import DetectConfig
from scheduler.detection import Detector, detect
from scheduler.mitigation import Mode
from scheduler.monitor import MonitorConfig
from scheduler.router import Router
from scheduler.router_config import RouterConfig
from tests.scheduler.router_model import (
    ALL_PATHS,
    BLOCK,
    HOT,
    INSTANCES,
    PATHS,
    Model,
    chained,
    fingerprint,
    mitigation_keeps_its_promises,
    request_of,
)

#: Few requests are enough to alarm, and silence is soon noticed.
MONITOR = MonitorConfig(window_max=16, window_min=4, error=0.5, levels=1, union_every=8)
DETECT = DetectConfig(stall_grace_s=2.0, error=0.5)
LOST_AFTER_S = 60.0
#: Rules without memory, so that a decision follows from the state alone.
POLICIES = (
    "lmetric",
    "lmetric",
    "lmetric_no_self",
    "marginal_delay",
    "linear",
    "aibrix_prefix_cache",
    "dynamo",
    "dynamo",
)

NAMES = st.integers(0, 9)
#: Which of the requests in flight an event is about; from 40 on one that may not be.
PICKS = st.integers(0, 49)
PROMPTS = st.sampled_from(PATHS).map(chained)
TOKENS = st.integers(0, 200)
SECONDS = st.sampled_from([0.0, 0.5, 1.0, 3.0, 20.0])
FATES = st.sampled_from(["now", "now", "now", "twice", "later", "lost"])
MEMBERS = st.sampled_from(INSTANCES)
#: Of whom events come: mostly of the first, who are there from the start.
ENGINES = st.sampled_from("aaaabbcde")


class RouterMachine(RuleBasedStateMachine):
    """Each event meets a fate; the model learns of it exactly when the router does."""

    @initialize(
        history=st.booleans(),
        bounded=st.sampled_from([False, False, True]),
        policy=st.sampled_from(POLICIES),
        ties=st.sampled_from(["random", "first"]),
        mode=st.sampled_from([mode.value for mode in Mode]),
        count=st.integers(1, 4),
        timed=st.booleans(),
    )
    def start(self, history: bool, bounded: bool, policy: str, ties: str, mode: str, count: int, timed: bool) -> None:
        self.capacity = 7 if history and bounded else None
        config = RouterConfig(
            source="history" if history else "events",
            capacity_blocks=self.capacity,
            lost_after_s=LOST_AFTER_S,
            detect=DETECT,
            monitor=MONITOR,
        )
        times = StepTime(0.01, 1e-3, 1e-3, 0.0) if timed else None
        names = INSTANCES[:count]
        self.router = Router(
            names, policy, ties=ties, mitigation=mode, config=config, step_times=times, clock=lambda: self.now_s
        )
        self.model = Model(history, LOST_AFTER_S, {name: set() for name in names})
        self.now_s, self.fresh = 0.0, 100
        self.on_the_way: list[tuple[str, tuple[Any, ...], dict[str, Any], float]] = []
        self.fates: dict[int, str] = {}
        self.spy()

    def spy(self) -> None:
        """Keep what the detector of the router is given, and what it says."""
        detector = self.router._guard.detector
        original = detector.look

        def look(view: Any, request: Any, rows: Any = (), **others: Any) -> Any:
            found = original(view, request, rows, **others)
            self.rows, self.expected, self.found = rows, others["expected_output_tokens"], found
            return found

        detector.look = look  # type: ignore[method-assign, assignment]

    @rule(name=NAMES, keys=PROMPTS, extra=st.integers(0, 20), passed_s=SECONDS)
    def route(self, name: int, keys: tuple[int, ...], extra: int, passed_s: float) -> None:
        self.now_s += passed_s
        self.routed(request_of(name, keys, extra, self.now_s))

    @rule(count=st.integers(4, 12), every=st.integers(1, 3))
    def burst(self, count: int, every: int) -> None:
        """A hot class: many requests of one prompt, of which some stay."""
        for number in range(count):
            self.fresh += 1
            self.routed(request_of(self.fresh, chained(HOT), 5, self.now_s))
            if number % every:
                self.happen("finish", self.fresh)

    def routed(self, request: Request) -> None:
        router, model, name = self.router, self.model, request.id
        if not router.instances:
            return
        model.at(self.now_s)
        self.gone(model.reclaim(), "reclaimed")
        if name in model.mine:
            router.reclaim(now_s=self.now_s)
            before = fingerprint(router)
            again = router.route(request, now_s=self.now_s)
            model.ignored += 1
            assert again.instance == model.open[name].instance
            assert fingerprint(router) == before
            return
        done = router.route(request, now_s=self.now_s)
        assert done.instance in router.instances
        assert done.instance == router.instances[done.index] == done.state.ids[done.index]
        assert done.hit_tokens == done.state.hit_tokens[done.index]
        assert done.new_tokens == max(1, request.prompt_tokens - done.hit_tokens)
        self.decision_follows(request, done)
        mitigation_keeps_its_promises(request, done)
        model.sent(name, done.instance, done.new_tokens, request.prompt_tokens, request.block_keys)
        self.fates[name] = "open"

    def decision_follows(self, request: Request, done: Any) -> None:
        """Rule and detection are pure functions of the state that is handed out."""
        decision, _ = decide(self.router.policy, done.state, request, rng=random.Random(0))
        assert done.rule_instance in {done.state.ids[i] for i in decision.ties}
        config = self.router._guard.config
        if self.expected is None:
            assert detect(done.state, request, traffic=self.rows, config=config) == self.found
        pure = Detector(config).look(done.state, request, self.rows, expected_output_tokens=self.expected)
        assert pure == self.found
        if self.router._guard.mode is not Mode.FILTER:  # which says from whom a class is kept away
            assert done.detection == self.found

    def happen(self, method: str, *arguments: Any, at_s: float | None = None, **named: Any) -> None:
        """Router and model learn of something."""
        now_s = self.now_s if at_s is None else at_s
        time = {} if method == "kv_event" else {"now_s": now_s}
        if method != "kv_event":
            self.model.at(now_s)
        if method == "heard":
            name, instance, new, keys, prompt = arguments
            self.router.heard(request_of(name, keys, prompt - len(keys) * BLOCK, 0.0), instance, new, **time)
            self.model.heard(name, instance, new, prompt, keys)
        else:
            getattr(self.router, method)(*arguments, **named, **time)
            getattr(self.model, method)(*arguments, **named)
        if method in ("finish", "fail") and arguments[0] in self.fates:
            self.fates[arguments[0]] = "ended"

    def meet(self, fate: str, method: str, *arguments: Any, **named: Any) -> None:
        """An event meets its fate; what comes twice changes nothing the second time."""
        if fate == "later":
            self.on_the_way.append((method, arguments, named, self.now_s))
        if fate in ("now", "twice"):
            self.happen(method, *arguments, **named)
        if fate == "twice" and method != "prefill_progress":
            before = fingerprint(self.router)
            self.happen(method, *arguments, **named)
            assert fingerprint(self.router) == before

    @precondition(lambda self: self.on_the_way)
    @rule(place=st.integers(0, 99))
    def arrives_late(self, place: int) -> None:
        method, arguments, named, at_s = self.on_the_way.pop(place % len(self.on_the_way))
        self.happen(method, *arguments, at_s=at_s, **named)

    def picked(self, pick: int) -> int:
        """The name of a request, mostly of one in flight."""
        names = list(self.model.open)
        return pick - 40 if pick >= 40 or not names else names[pick % len(names)]

    @rule(pick=PICKS, fate=FATES, method=st.sampled_from(["first_token", "first_token", "finish", "fail"]))
    def told(self, pick: int, fate: str, method: str) -> None:
        self.meet(fate, method, self.picked(pick))

    @rule(pick=PICKS, fate=FATES, tokens=TOKENS)
    def ends_with_a_length(self, pick: int, fate: str, tokens: int) -> None:
        self.meet(fate, "finish", self.picked(pick), tokens - 5)

    @rule(pick=PICKS, fate=FATES, tokens=TOKENS, method=st.sampled_from(["prefill_progress", "admitted", "preempted"]))
    def told_tokens(self, pick: int, fate: str, tokens: int, method: str) -> None:
        self.meet(fate, method, self.picked(pick), tokens - 5)

    @rule(name=NAMES, fate=FATES, instance=ENGINES, tokens=TOKENS, keys=PROMPTS, extra=st.integers(1, 20))
    def another_router_sends(
        self, name: int, fate: str, instance: str, tokens: int, keys: tuple[int, ...], extra: int
    ) -> None:
        self.meet(fate, "heard", name, instance, tokens, keys, len(keys) * BLOCK + extra)

    @rule(instance=ENGINES, fate=FATES, keys=PROMPTS, start=st.sampled_from([0, 0, 0, 1, 2, 3]))
    def stores(self, instance: str, fate: str, keys: tuple[int, ...], start: int) -> None:
        after = keys[start - 1] if 0 < start <= len(keys) else None
        stored = keys[start:] if start <= len(keys) else ()
        self.meet(fate, "kv_event", instance, stored=stored, after=after)

    @rule(
        instance=ENGINES,
        fate=FATES,
        keys=PROMPTS,
        start=st.integers(0, 4),
        cleared=st.sampled_from([False, False, True]),
    )
    def evicts(self, instance: str, fate: str, keys: tuple[int, ...], start: int, cleared: bool) -> None:
        self.meet(fate, "kv_event", instance, removed=() if cleared else keys[start:][::-1], cleared=cleared)

    @rule(passed_s=SECONDS)
    def gives_up_the_silent(self, passed_s: float) -> None:
        self.now_s += passed_s
        self.model.at(self.now_s)
        lost = self.model.reclaim()
        assert set(self.router.reclaim(now_s=self.now_s)) == set(lost)
        self.gone(lost, "reclaimed")

    def gone(self, names: list[int], fate: str) -> None:
        self.fates.update({name: fate for name in names if name in self.fates})

    @rule()
    def starts_again(self) -> None:
        """From its snapshot, as if nothing had happened."""
        before = fingerprint(self.router)
        self.router = Router.restore(self.router.snapshot(), clock=lambda: self.now_s)
        self.spy()
        assert fingerprint(self.router) == before

    @rule(instance=MEMBERS)
    def joins(self, instance: str) -> None:
        if instance not in self.model.held or instance in self.model.draining:
            self.router.join(instance)
            self.model.join(instance)

    @rule(instance=MEMBERS, gone=st.booleans())
    def drains_or_leaves(self, instance: str, gone: bool) -> None:
        if instance not in self.model.held:
            return
        if gone:
            lost = self.model.leave(instance)
            assert self.router.leave(instance) == lost
            self.gone(lost, "returned")
        else:
            self.router.drain(instance)
            self.model.draining.add(instance)

    @invariant()
    def counters_are_the_open_requests(self) -> None:
        books, model = self.router._ledger.accounting, self.model
        assert self.router.open_requests == len(model.open)
        assert (self.router.booked == 0) is (not model.open)
        for slot, name in enumerate(self.router._ledger.slots.names):
            columns = (books.running, books.waiting, books.queued_prefill_tokens, books.context_tokens)
            counters = tuple(column[slot] for column in columns)
            assert counters == (model.counters(name) if name else (0, 0, 0, 0))
            assert min(counters) >= 0

    @invariant()
    def blocks_in_use_are_those_of_the_open_requests(self) -> None:
        active = self.router._ledger.active
        for slot, name in enumerate(self.router._ledger.slots.names if active is not None else ()):
            assert active.counts[slot] == (self.model.blocks_in_use(name) if name else 0)  # type: ignore[union-attr]

    @invariant()
    def hits_are_what_is_held(self) -> None:
        ledger = self.router._ledger
        for slot, name in enumerate(ledger.slots.names):
            for keys in ALL_PATHS:
                hit = ledger.index.hit_tokens(keys, BLOCK)[slot]
                believed = self.model.hit_blocks(name, keys) * BLOCK if name else 0
                assert hit <= believed if self.capacity else hit == believed
            if self.capacity is not None:
                assert self.router._ledger.history.block_count(slot) <= self.capacity  # type: ignore[union-attr]

    @invariant()
    def what_could_not_be_was_counted(self) -> None:
        assert self.router.ignored == self.model.ignored

    @invariant()
    def members_are_who_is_there(self) -> None:
        assert set(self.router.instances) == set(self.model.held) - self.model.draining
        assert set(self.router.draining) == self.model.draining

    @invariant()
    def no_request_is_lost(self) -> None:
        assert {name for name, fate in self.fates.items() if fate == "open"} == self.model.mine
        assert set(self.router._open) == self.model.mine
        residents = set(self.router._guard.monitor._residents)
        assert residents == self.model.mine
        carriers = {name for slots in self.router._guard.pending.values() for name in slots.values()}
        assert carriers <= self.model.mine


TestRouterMachine = RouterMachine.TestCase
_FAR = settings().max_examples > 100  # a profile that explores
TestRouterMachine.settings = settings(
    max_examples=settings().max_examples // 4 if _FAR else 100, stateful_step_count=50
)
