"""The replay runner on simulated engines in virtual time: it gives the simulator's record, and loses no request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.engines.prompts import Prompts
from replay.engines.protocol import Event, Finished, Job, Tokens
from replay.engines.simulated import SimulatedEngine
from replay.engines.virtual_time import run_virtually
from replay.live_record import Line, LiveRecord
from replay.run import Pace, Runner
from replay.sim.cluster import Cluster
from replay.sim.router_decider import Routing
from replay.sim.run import simulate
from scheduler import BadInput, Request, Router, RouterConfig, policy
from scheduler.accounting import Level
from scheduler.cost import StepTime
from scheduler.errors import EngineFailure, JobRefused
from scheduler.state import End

BLOCK = 16
STEP = StepTime(0.006, 1e-4, 2e-5, 1e-8)


def cluster(count: int, kv_tokens: int = 4096) -> Cluster:
    return Cluster((STEP,) * count, kv_tokens, batch_tokens=256, max_batch=8, level=Level.PER_STEP)


def request(number: int, arrival_s: float = 0.0, keys: tuple[int, ...] = (), **more: Any) -> Request:
    tokens = more.pop("prompt_tokens", max(20, len(keys) * BLOCK + 5))
    return Request(
        id=number, arrival_s=arrival_s, prompt_tokens=tokens, block_tokens=BLOCK, block_keys=keys,
        **{"output_tokens": 8, **more},
    )  # fmt: skip


def replayed(
    requests: list[Request],
    engines: list[Any] | None = None,
    *,
    of: Cluster | None = None,
    lines: list[Line] | None = None,
    pace: Pace | None = None,
    rule: str = "lmetric",
    prompts: Prompts | None = None,
) -> tuple[LiveRecord, Router]:
    """A run in virtual time; engines tell the router of their caches."""
    shape = cluster(2) if of is None else of
    names = [str(index) for index in range(len(shape))]
    router = Router(
        names, rule, ties="first", mitigation="auto", step_times=dict(zip(names, shape.step_times, strict=True)),
        config=RouterConfig(source="events", capacity_blocks=None, kv_tokens=shape.kv_tokens, log_size=0),
    )  # fmt: skip

    def told(name: str, stored: tuple[int, ...], after: int | None, removed: tuple[int, ...]) -> None:
        router.kv_event(name, stored=stored, after=after, removed=removed)

    if engines is None:
        engines = [SimulatedEngine(name, spec, told) for name, spec in zip(names, shape.specs(BLOCK), strict=True)]
    sink = None if lines is None else lines.append
    runner = Runner(engines, router, requests, prompts=prompts, pace=pace, line_sink=sink)
    return run_virtually(runner.run()), router


def told_of(record: Any) -> list[tuple[Any, ...]]:
    return [
        (sim.request.id, sim.instance, sim.arrival, sim.first_at, sim.last_at, sim.cached, sim.predicted_hit, sim.end,
         sim.preemptions, sim.generated)
        for sim in record.sims
    ]  # fmt: skip


@st.composite
def traces(draw: st.DrawFn) -> list[Request]:
    """Bursts of requests of a few classes, some of which follow others; caches and batches run full."""
    requests: list[Request] = []
    now_s = 0.0
    for number in range(draw(st.integers(1, 40))):
        now_s += draw(st.sampled_from([0.0013, 0.0171, 0.31, 2.7]))
        keys = tuple(range(100 * draw(st.integers(0, 3)), 1000))[: draw(st.integers(0, 30))]
        after = draw(st.none() | st.integers(0, number - 1)) if number else None
        requests.append(
            request(number, now_s, keys, output_tokens=draw(st.integers(1, 60) | st.just(5000)), after=after,
                    think_s=draw(st.sampled_from([0.0, 0.0707, 1.3])))
        )  # fmt: skip
    return requests


@settings(max_examples=60)
@given(traces(), st.integers(1, 3), st.booleans(), st.sampled_from([1024, 4096]))
def test_on_simulated_engines_the_runner_gives_the_record_of_the_simulator(
    requests: list[Request], count: int, closed: bool, kv_tokens: int
) -> None:
    shape = cluster(count, kv_tokens)
    live, router = replayed(requests, of=shape, pace=Pace(closed_loop=closed, patience_s=1e5))
    simulated = simulate(requests, policy("lmetric:ties=first"), shape, routing=Routing("auto"), closed_loop=closed)
    assert told_of(live.run) == told_of(simulated)
    assert live.run.imbalance == simulated.imbalance
    assert (router.booked, router.ignored) == (0, 0)


@settings(max_examples=20)
@given(traces())
def test_engines_get_the_prompts_of_the_trace_and_the_run_stays_the_same(requests: list[Request]) -> None:
    asked: dict[int, tuple[int, ...]] = {}

    class Listening(SimulatedEngine):
        async def submit(self, job: Job) -> AsyncGenerator[Event, None]:
            asked[job.request.id] = job.prompt_ids
            async for event in super().submit(job):
                yield event

    def engines(kind: type[SimulatedEngine]) -> list[SimulatedEngine]:
        return [kind(str(place), spec) for place, spec in enumerate(cluster(2).specs(BLOCK))]

    prompts = Prompts(1000)
    live, _ = replayed(requests, engines(Listening), prompts=prompts)
    plain, _ = replayed(requests, engines(SimulatedEngine))
    fitting = [one for one in requests if one.prompt_tokens + one.output_tokens <= 4096]
    assert asked == {one.id: prompts.ids(one) for one in fitting}
    assert [line.instance for line in live.lines] == [line.instance for line in plain.lines]
    for one, two in zip(live.lines, plain.lines, strict=True):
        assert one.end_s == pytest.approx(two.end_s)


def test_what_no_instance_can_hold_is_rejected_and_costs_nobody_else() -> None:
    live, router = replayed([request(0), request(1, 0.1, output_tokens=5000), request(2, 0.2)])
    assert [(line.end, line.instance is None) for line in live.lines] == [
        ("finished", False), ("rejected", True), ("finished", False),
    ]  # fmt: skip
    assert live.lines[1].reason == "5020 tokens can never fit the KV cache of an instance"
    assert router.booked == 0


def test_all_goes_as_many_times_as_quickly() -> None:
    requests = [request(0), request(1, 3.0), request(2, 9.0, after=1, think_s=4.0)]
    live, _ = replayed(requests, pace=Pace(closed_loop=True, rate=2.0))
    third = live.lines[2]
    assert [line.due_s for line in live.lines[:2]] == [0.0, 1.5]
    assert live.lines[1].end_s is not None
    assert third.due_s == pytest.approx(live.lines[1].end_s + 2.0)


class Fake:
    """An engine of which a test says what it does with each job."""

    block_tokens, kv_blocks, resets = BLOCK, None, True
    about: ClassVar[dict[str, str]] = {}

    def __init__(self, name: str, *acts: str) -> None:
        self.name, self.acts, self.aborted, self.seen = name, list(acts), 0, 0

    async def start(self) -> None: ...

    async def submit(self, job: Job) -> AsyncGenerator[Event, None]:
        act = self.acts[min(self.seen, len(self.acts) - 1)]
        self.seen += 1
        loop, wanted = asyncio.get_running_loop(), job.request.output_tokens
        try:
            if act == "refuses":
                raise JobRefused(f"{self.name} will not take it")
            if act == "breaks":
                raise EngineFailure(f"{self.name} broke")
            for _ in range(wanted // 2 if act in ("truncates", "stops", "hangs") else wanted):
                await asyncio.sleep(20.0 if act == "slow" else 0.01)
                yield Tokens(at_s=loop.time())
            if act == "hangs":
                await asyncio.sleep(1e6)
            if act != "stops":
                yield Finished(at_s=loop.time(), output_tokens=wanted // 2 if act == "truncates" else wanted)
        except (asyncio.CancelledError, GeneratorExit):
            self.aborted += 1
            raise

    async def reset_cache(self) -> None: ...

    async def close(self) -> None: ...


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ("breaks", "0 broke"),
        ("truncates", "0 gave 4 of 8 tokens"),
        ("stops", "0 stopped after 4 of 8 tokens"),
        ("hangs", "0 said nothing of it for 30 s"),
    ],
)
def test_an_engine_that_misbehaves_costs_its_requests_and_no_others(act: str, reason: str) -> None:
    lines: list[Line] = []
    requests = [request(number, 0.1 * number) for number in range(6)]
    requests += [request(6, 1.0, after=0), request(7, 1.0, after=1)]
    engines = [Fake("0", act), Fake("1", "works")]
    live, router = replayed(
        requests, engines, lines=lines, pace=Pace(closed_loop=True, patience_s=30.0), rule="round_robin"
    )
    ends = {line.id: (line.end, line.reason) for line in lines}
    assert ends == {line.id: (line.end, line.reason) for line in live.lines}
    assert len(ends) == len(requests)
    failed = {number for number, (end, _) in ends.items() if end == "failed"}
    direct = {line.id for line in lines if line.instance == "0"}
    assert direct
    assert all(ends[number][1] == reason for number in direct)
    followers = {line.id for line in lines if line.instance is None}
    assert all("did not finish" in ends[number][1] for number in followers)
    assert failed == direct | followers
    assert router.booked == 0


@given(st.integers(1, 5), st.lists(st.booleans(), min_size=1, max_size=30))
def test_an_engine_is_given_up_after_so_many_failures_in_a_row(allowed: int, ends: list[bool]) -> None:
    """Not before, and not for failures with a request between them that ended well; the other one gets the rest."""
    acts = ["works" if well else "breaks" for well in ends]
    engines = [Fake("0", *acts), Fake("1", "works")]
    requests = [request(number, 1.0 * number) for number in range(2 * len(ends))]
    live, router = replayed(requests, engines, rule="round_robin", pace=Pace(failures_allowed=allowed))
    runs = "".join("." if well else "x" for well in ends)
    at = runs.find("x" * allowed)
    assert engines[0].seen == (len(ends) if at < 0 else at + allowed)
    assert live.gone == ({} if at < 0 else {"0": "0 broke"})
    assert sum(line.end == "failed" for line in live.lines) == runs[: engines[0].seen].count("x")
    assert (len(live.lines), router.booked) == (len(requests), 0)


def test_what_an_engine_will_not_take_is_rejected_and_held_against_nobody() -> None:
    requests = [request(number, 1.0 * number) for number in range(12)]
    live, router = replayed(requests, [Fake("0", "refuses"), Fake("1", "works")], rule="round_robin")
    assert [(line.end, line.reason) for line in live.lines] == [
        ("rejected", "0 will not take it"), ("finished", ""),
    ] * 6  # fmt: skip
    assert (live.gone, router.booked) == ({}, 0)


def test_what_nobody_foresaw_ends_the_run_at_once() -> None:
    class Full(Exception):
        """The disk is full."""

    def sink(line: Line) -> None:
        told.append(line)
        raise Full

    told: list[Line] = []
    requests = [request(number, 100.0 * number) for number in range(9)]
    engines = [SimulatedEngine(str(place), spec) for place, spec in enumerate(cluster(2).specs(BLOCK))]
    runner = Runner(engines, Router(["0", "1"], "lmetric"), requests, line_sink=sink)

    async def main() -> float:
        with pytest.raises(Full):
            await runner.run()
        return asyncio.get_running_loop().time()

    assert run_virtually(main()) < 100.0
    assert told[0].id == 0


def test_when_no_instance_is_left_requests_say_so() -> None:
    requests = [request(number, 1.0 * number) for number in range(9)]
    live, router = replayed(requests, [Fake("0", "breaks"), Fake("1", "breaks")], rule="round_robin")
    assert [line.reason for line in live.lines] == ["0 broke", "1 broke"] * 3 + ["no instance is left"] * 3
    assert (set(live.gone), router.booked) == ({"0", "1"}, 0)


def test_a_slow_engine_is_no_hung_one() -> None:
    live, _ = replayed([request(0)], [Fake("0", "slow"), Fake("1", "slow")], pace=Pace(patience_s=30.0))
    assert [line.end for line in live.lines] == ["finished"]


def test_at_the_cut_off_what_is_open_has_failed_and_what_is_not_due_is_left_out() -> None:
    engines = [Fake("0", "hangs"), Fake("1", "hangs")]
    requests = [request(0), request(1, 2.0), request(2, 90.0)]
    live, router = replayed(requests, engines, pace=Pace(until_s=10.0, patience_s=1e5))
    assert [(line.id, line.end, line.reason) for line in live.lines] == [
        (0, "failed", "still open at the cut-off"),
        (1, "failed", "still open at the cut-off"),
    ]
    assert (live.run.not_arrived, router.booked) == (1, 0)
    assert sum(engine.aborted for engine in engines) == 2
    assert all(sim.end is End.FAILED for sim in live.run.sims)


def test_router_and_engines_speak_of_the_same_instances() -> None:
    with pytest.raises(BadInput, match="those of the router: 0, 1"):
        replayed([request(0)], [Fake("0", "works"), Fake("2", "works")])


@pytest.mark.parametrize("wrong", [{"rate": 0.0}, {"patience_s": -1.0}, {"until_s": float("nan")}])
def test_a_pace_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        Pace(**wrong)
