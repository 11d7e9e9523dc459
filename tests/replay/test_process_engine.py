"""An engine in a process of its own is the same engine: the same events on the same clock, and its death is its own.

Every process takes half a second to begin, so each test lets several engines begin at once.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

import replay.engines.process as subject
from replay.engines.process import ProcessEngine
from replay.engines.process_wire import TO_PARENT, Cached, Ended, Wire, event_of, told
from replay.engines.protocol import Admitted, Event, Finished, Job, Preempted, Progress, Tokens
from replay.engines.simulated import SimulatedEngine
from replay.engines.steps import StepRecord, StepSink
from replay.run import Runner
from replay.sim.cluster import Cluster
from scheduler import Request, Router
from scheduler.cost import StepTime
from scheduler.errors import EngineFailure

BLOCK = 16
#: Steps of about a tenth of a millisecond.
SPEC = Cluster((StepTime(1e-4, 1e-7, 0.0, 0.0),), 4096, batch_tokens=256, max_batch=8).specs(BLOCK)[0]
SLOW = Cluster((StepTime(60.0, 0.0, 0.0, 0.0),), 4096, batch_tokens=256, max_batch=8).specs(BLOCK)[0]


def simulated(name: str, spec: Any = SPEC, **more: Any) -> ProcessEngine:
    factory = functools.partial(SimulatedEngine, name, spec)
    return ProcessEngine(name, factory, block_tokens=BLOCK, kv_blocks=spec.kv_blocks, **more)


def request(number: int, keys: Sequence[int] = (), arrival_s: float = 0.0, output: int = 8) -> Request:
    return Request(
        id=number, arrival_s=arrival_s, prompt_tokens=max(20, BLOCK * len(keys) + 5), output_tokens=output,
        block_tokens=BLOCK, block_keys=tuple(keys),
    )  # fmt: skip


async def events(engine: ProcessEngine, asked: Request) -> list[Event]:
    return [event async for event in engine.submit(Job(request=asked))]


def with_engines(engines: Sequence[ProcessEngine], body: Callable[[], Awaitable[None]]) -> None:
    """Run something on engines that began at the same time; afterwards no child is left."""

    async def main() -> None:
        try:
            await asyncio.gather(*(engine.start() for engine in engines))
            pids = [engine.pid for engine in engines]
            async with asyncio.timeout(20.0):
                await body()
        finally:
            await asyncio.gather(*(engine.close() for engine in engines))
        for pid in pids:
            assert pid is not None
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)

    asyncio.run(main())


class Kept(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def write(self, data: Any) -> None:
        self.data += data

    def is_closing(self) -> bool:
        return False


@given(st.lists(st.integers(0, 400), max_size=6), st.integers(0, 3000))
def test_messages_arrive_whole_wherever_the_stream_is_cut(cuts: list[int], size: int) -> None:
    told_of: list[Event] = [
        Admitted(at_s=1.0, new_tokens=5), Progress(at_s=1.5, tokens=7), Preempted(at_s=2.0, tokens=3),
        Tokens(at_s=2.5, count=4), Finished(at_s=3.0, output_tokens=9, cached_tokens=0),
    ]  # fmt: skip
    messages = [*(told(7, event) for event in told_of), Cached(tuple(range(size)), None, (2**64 - 1,)), Ended(7, "why")]
    heard: list[Any] = []
    wire, transport = Wire(TO_PARENT, heard.append, lambda: None), Kept()
    wire.connection_made(transport)
    for message in messages:
        wire.send(message)
    places = [0, *sorted(min(cut, len(transport.data)) for cut in cuts), len(transport.data)]
    for begin, end in itertools.pairwise(places):
        wire.data_received(transport.data[begin:end])
    assert [type(message) for message in heard] == [type(message) for message in messages]
    assert [event_of(message) for message in heard[:5]] == told_of
    assert heard[5:] == messages[5:]


def test_a_replay_over_processes_loses_no_request_and_no_token() -> None:
    told: list[tuple[str, tuple[int, ...]]] = []

    def heard(name: str, stored: tuple[int, ...], after: int | None, removed: tuple[int, ...]) -> None:
        told.append((name, stored))

    engines = [simulated("a", cache_sink=heard), simulated("b", cache_sink=heard)]
    requests = [request(n, range(100 * (n % 5), 100 * (n % 5) + 8), 0.002 * n, 1 + n % 7) for n in range(60)]

    async def body() -> None:
        router = Router(["a", "b"], "round_robin")
        live = await Runner(engines, router, requests).run()
        assert [line.end for line in live.lines] == ["finished"] * len(requests)
        assert [sum(line.token_counts) for line in live.lines] == [one.output_tokens for one in requests]
        for line in live.lines:
            times = [line.due_s, line.sent_s, *line.token_s, line.end_s]
            assert times == sorted(times, key=lambda at_s: at_s or 0.0)
            assert times[-1] is not None
            assert times[-1] <= live.wall_s
        assert sum(line.cached_tokens or 0 for line in live.lines) > 0
        assert {name for name, _ in told} == {"a", "b"}
        assert {key for _, stored in told for key in stored} == {key for one in requests for key in one.block_keys}
        await engines[0].reset_cache()
        last = (await events(engines[0], request(99, range(8))))[-1]
        assert isinstance(last, Finished)
        assert last.cached_tokens == 0

    with_engines(engines, body)


def test_a_killed_child_fails_its_jobs_and_no_others() -> None:
    engines = [simulated("a", SLOW), simulated("b")]

    async def body() -> None:
        doomed = [asyncio.ensure_future(events(engines[0], request(number))) for number in range(3)]
        ended = await events(engines[1], request(3))
        assert not any(task.done() for task in doomed)
        assert engines[0].pid is not None
        os.kill(engines[0].pid, signal.SIGKILL)
        words = r"a lost its process, which ended with exit code -9 \(SIGKILL\)"
        for task in doomed:
            with pytest.raises(EngineFailure, match=words):
                await task
        for late in (events(engines[0], request(4)), engines[0].reset_cache()):
            with pytest.raises(EngineFailure, match=words):
                await late
        assert isinstance(ended[-1], Finished)
        assert isinstance((await events(engines[1], request(5)))[-1], Finished)

    with_engines(engines, body)


class Odd:
    """An engine of which a test says what it does; it tells with its steps what happens in the child."""

    block_tokens, resets = BLOCK, False
    about: ClassVar[dict[str, str]] = {"odd": "1"}

    def __init__(self, act: str, kv_blocks: int | None = None, step_sink: StepSink | None = None) -> None:
        self.name, self.act, self.kv_blocks, self._sink = act, act, kv_blocks, step_sink

    def tell(self, number: int) -> None:
        if self._sink is not None:
            at_s = asyncio.get_running_loop().time()
            self._sink(self.name, StepRecord(at_s=at_s, step_s=0.25, prefill_tokens=number))

    async def start(self) -> None:
        if self.act == "refuses":
            raise EngineFailure("there is no model")
        if self.act == "dies":
            os._exit(3)

    async def submit(self, job: Job) -> AsyncGenerator[Event, None]:
        loop = asyncio.get_running_loop()
        try:
            yield Tokens(at_s=loop.time())
            if self.act == "raises":
                raise ZeroDivisionError
            if self.act == "breaks":
                raise EngineFailure("it broke")
            if self.act == "stops":
                return
            await asyncio.sleep(1e6)
        finally:
            self.tell(job.request.id)

    async def reset_cache(self) -> None:
        raise EngineFailure("it cannot")

    async def close(self) -> None:
        if self.act == "stays":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            await asyncio.sleep(1e6)


def odd(act: str, **more: Any) -> ProcessEngine:
    return ProcessEngine(act, functools.partial(Odd, act), block_tokens=BLOCK, **more)


def test_what_is_aborted_is_aborted_in_the_child_too_and_what_breaks_says_so() -> None:
    steps: list[tuple[str, StepRecord]] = []
    heard = asyncio.Event()

    def sink(name: str, record: StepRecord) -> None:
        steps.append((name, record))
        heard.set()

    hangs, breaks, stops = odd("hangs", step_sink=sink), odd("breaks"), odd("stops", kv_blocks=None)

    async def body() -> None:
        loop = asyncio.get_running_loop()
        before_s = loop.time()
        stream = hangs.submit(Job(request=request(7)))
        first = await anext(stream)
        assert before_s < first.at_s < loop.time()
        assert not steps
        await stream.aclose()
        await heard.wait()
        (name, record), after_s = steps[0], loop.time()
        assert (name, record.prefill_tokens, record.step_s) == ("hangs", 7, 0.25)
        assert first.at_s < record.at_s < after_s
        with pytest.raises(EngineFailure, match=r"^it broke$"):
            await events(breaks, request(1))
        with pytest.raises(EngineFailure, match=r"^it cannot$"):
            await breaks.reset_cache()
        assert [type(event) for event in await events(stops, request(2))] == [Tokens]
        assert not stops.resets
        assert stops.about == {"odd": "1"}
        open_job = asyncio.ensure_future(events(hangs, request(8)))
        await asyncio.sleep(0)
        with pytest.raises(EngineFailure, match="has open jobs"):
            await hangs.reset_cache()
        await hangs.close()
        await hangs.close()
        with pytest.raises(EngineFailure, match="hangs was closed"):
            await open_job
        with pytest.raises(EngineFailure, match="hangs was closed"):
            await events(hangs, request(9))

    with_engines([hangs, breaks, stops], body)


@pytest.mark.slow
def test_a_child_that_does_not_begin_says_why_and_leaves_nothing() -> None:
    fits = functools.partial(Odd, "hangs", 7)
    engines = {
        "^there is no model$": odd("refuses"),
        "^dies lost its process, which ended with exit code 3$": odd("dies"),
        "late was not ready after 0.001 s": odd("late", ready_s=0.001),
        "big has 7 blocks of 16 tokens, and not 8 of 16": ProcessEngine("big", fits, block_tokens=16, kv_blocks=8),
        "no process could be started for lost": ProcessEngine("lost", lambda: Odd("x"), block_tokens=16),
    }

    async def main() -> list[BaseException | None]:
        ended = await asyncio.gather(*(engine.start() for engine in engines.values()), return_exceptions=True)
        for engine in engines.values():
            assert engine.pid is None
            await engine.close()
        return ended

    for words, fault in zip(engines, asyncio.run(main()), strict=True):
        assert isinstance(fault, EngineFailure)
        with pytest.raises(EngineFailure, match=words):
            raise fault


@pytest.mark.slow
def test_a_child_that_does_not_end_is_killed_and_one_that_crashes_tells_its_exit_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stays, raises = odd("stays"), odd("raises")

    async def body() -> None:
        with pytest.raises(EngineFailure, match="raises lost its process, which ended with exit code 1"):
            await events(raises, request(1))
        monkeypatch.setattr(subject, "STOP_S", 0.2)
        monkeypatch.setattr(subject, "GRACE_S", 0.2)

    with_engines([stays, raises], body)


def test_an_engine_that_never_began_is_closed_in_peace() -> None:
    async def main() -> None:
        engine = simulated("a")
        await engine.close()
        with pytest.raises(EngineFailure, match="a was not started"):
            await events(engine, request(1))

    asyncio.run(main())
