"""Servers of OpenAI's completions API as engines: exact counts, every fault named, nothing lost."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest

from replay.engines.openai_http import HttpOptions, OpenAIEngine
from replay.engines.prompts import Prompts
from replay.engines.protocol import Event, Finished, Job, Tokens
from replay.live_record import Line, LiveRecord
from replay.run import Pace, Runner
from scheduler import BadInput, Request, Router, RouterConfig
from scheduler.errors import EngineFailure, JobRefused
from tests.replay.mock_openai import MockOpenAI

BLOCK = 16
NAMES = ("a", "b", "c")
PROMPTS = Prompts(1000)


def request(number: int, keys: tuple[int, ...] = (), **more: Any) -> Request:
    tokens = more.pop("prompt_tokens", max(20, len(keys) * BLOCK + 5))
    return Request(
        id=number, prompt_tokens=tokens, block_keys=keys,
        **{"arrival_s": 0.0, "output_tokens": 8, "block_tokens": BLOCK, **more},
    )  # fmt: skip


def job(number: int = 0, keys: tuple[int, ...] = (), **more: Any) -> Job:
    asked = request(number, keys, **more)
    return Job(request=asked, prompt_ids=PROMPTS.ids(asked))


@contextlib.asynccontextmanager
async def engine_on(mock: MockOpenAI, name: str = "a", **options: Any) -> AsyncIterator[OpenAIEngine]:
    """An engine that has started."""
    engine = OpenAIEngine(name, mock.url, HttpOptions(**options))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def events(engine: OpenAIEngine, asked: Job) -> list[Event]:
    return [event async for event in engine.submit(asked)]


def on_one(mock: MockOpenAI, *jobs: Job, **options: Any) -> list[list[Event]]:
    """What an engine tells of jobs, one after the other."""

    async def main() -> list[list[Event]]:
        async with engine_on(mock, **options) as engine:
            return [await events(engine, one) for one in jobs]

    with mock:
        return asyncio.run(main())


def cached(told: Sequence[list[Event]]) -> list[int | None]:
    return [one.cached_tokens for events in told for one in events if isinstance(one, Finished)]


@pytest.mark.parametrize("act", ["works", "many", "bare", "no_usage", "shreds", "many+bare+shreds"])
@pytest.mark.parametrize("style", ["vllm", "sglang", "plain"])
def test_every_token_is_told_once_whatever_a_server_says_in_between(style: str, act: str) -> None:
    jobs = [job(1), job(2, output_tokens=13), job(3, output_tokens=1)]
    for asked, told in zip(jobs, on_one(MockOpenAI(rest=act, style=style), *jobs), strict=True):
        *tokens, last = told
        assert isinstance(last, Finished)
        assert last.output_tokens == asked.request.output_tokens
        assert all(isinstance(one, Tokens) and one.count > 0 for one in tokens)
        assert sum(one.count for one in tokens if isinstance(one, Tokens)) == last.output_tokens
        times = [one.at_s for one in told]
        assert times == sorted(times)


@pytest.mark.parametrize(("key", "said"), [("s3cret", {"Bearer s3cret"}), ("", {""})])
def test_a_key_in_the_environment_is_sent_and_nothing_else_is(
    key: str, said: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    mock = MockOpenAI()
    on_one(mock, job(1))
    assert mock.keys == said


def test_a_server_that_will_not_take_a_prompt_has_not_failed() -> None:
    with pytest.raises(JobRefused, match="a answered 400 to /v1/completions: longer than the maximum model length"):
        on_one(MockOpenAI("too_long"), job(1))


def test_exactly_what_the_trace_says_is_asked_for() -> None:
    mock = MockOpenAI(model="toy")
    one = job(1, tuple(range(3)), output_tokens=5)
    on_one(mock, one)
    assert mock.asked == [
        {
            "model": "toy", "prompt": list(one.prompt_ids), "max_tokens": 5, "temperature": 0, "ignore_eos": True,
            "stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }
    ]  # fmt: skip
    other = MockOpenAI(model="toy", extra_models=("other",))
    on_one(other, one, model="other", ignore_eos=False)
    assert (other.asked[0]["model"], "ignore_eos" in other.asked[0]) == ("other", False)


def test_cached_tokens_are_those_that_the_server_took_from_its_cache() -> None:
    chain = tuple(range(10))
    jobs = [job(1, chain), job(2, chain), job(3, (*chain[:4], 77)), job(4, chain, prompt_tokens=160)]
    assert cached(on_one(MockOpenAI(), *jobs)) == [0, 160, 64, 144]  # the last token is always computed


def test_cached_tokens_are_none_where_a_server_does_not_tell_and_nought_where_it_leaves_them_out() -> None:
    chain = tuple(range(10))
    jobs = [job(1, chain), job(2, chain), job(3, (55, 56))]
    assert cached(on_one(MockOpenAI(style="plain"), *jobs)) == [None, None, None]
    assert cached(on_one(MockOpenAI(style="sglang"), *jobs)) == [None, 160, 0]  # silent until it has told once


def test_connections_are_used_again() -> None:
    mock = MockOpenAI()
    on_one(mock, *(job(number) for number in range(12)))
    assert mock.connections < 6  # one, but for streams whose end took long on a busy machine


def test_no_request_waits_on_our_side_for_another() -> None:
    mock, count = MockOpenAI(rest="hangs"), 120  # httpx would open a hundred connections and no more

    async def main() -> None:
        async with engine_on(mock) as engine:
            tasks = [asyncio.ensure_future(events(engine, job(number))) for number in range(count)]
            await asyncio.to_thread(mock.until, lambda: mock.running == count)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await asyncio.to_thread(mock.until, lambda: (mock.running, mock.aborted) == (0, count))

    with mock:
        asyncio.run(main())
    assert (len(mock.asked), mock.finished) == (count, 0)
    assert mock.connections >= count


def test_proxies_of_the_environment_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert len(on_one(MockOpenAI(), job())[0]) == 9


def test_the_first_token_is_told_when_it_comes_not_when_the_last_has_come() -> None:
    mock = MockOpenAI("slow")

    async def main() -> None:
        async with engine_on(mock) as engine:
            stream = engine.submit(job(output_tokens=1000))
            assert isinstance(await anext(stream), Tokens)
            assert (mock.running, mock.finished) == (1, 0)
            await stream.aclose()

    with mock:
        asyncio.run(main())


# What goes wrong with one request.

FAULTS = {
    "refuses": r"a answered 500 to /v1/completions: the GPU is on fire",
    "page": r"a answered 200 with text/html to /v1/completions, not 200 with text/event-stream: a page of HTML",
    "crashes": r"a broke off after 4 of 8 tokens: peer closed connection.*",
    "cut": r"a broke off after 4 of 8 tokens: its stream ended without a finish_reason",
    "truncates": r"a ended after 4 of 8 tokens \(finish_reason 'stop'\)",
    "truncates+no_usage": r"a ended after 4 of 8 tokens \(finish_reason 'stop'\)",
    "garbage": r'a sent no chunk of a completion after 4 of 8 tokens: \{"choices": \[\{"text":',
    "error": r"a failed after 4 of 8 tokens: the GPU fell off the bus",
    "bos": r"a counted 21 prompt tokens where 20 were sent: .*\(BOS\).*",
    "many+no_usage": r"a tells no usage, and its chunks show 3 of 8 tokens: .*include_usage",
}


@contextlib.contextmanager
def three(first: MockOpenAI, **shape: Any) -> Iterator[dict[str, MockOpenAI]]:
    with first, MockOpenAI(**shape) as second, MockOpenAI(**shape) as third:
        yield dict(zip(NAMES, (first, second, third), strict=True))


def replayed(
    mocks: dict[str, MockOpenAI],
    requests: list[Request],
    rule: str = "round_robin",
    *,
    prompts: Prompts = PROMPTS,
    pace: Pace | None = None,
) -> tuple[LiveRecord, Router]:
    """A run on these servers, with a router that knows what it sent alone."""
    router = Router(
        NAMES, rule, ties="first", config=RouterConfig(source="history", capacity_blocks=4096, log_size=0)
    )  # fmt: skip

    async def main() -> LiveRecord:
        async with contextlib.AsyncExitStack() as stack:
            engines = [await stack.enter_async_context(engine_on(mock, name)) for name, mock in mocks.items()]
            paced = Pace(patience_s=60.0) if pace is None else pace
            return await Runner(engines, router, requests, prompts=prompts, pace=paced).run()

    return asyncio.run(main()), router


def asked_of(mock: MockOpenAI, requests: Sequence[Request], prompts: Prompts = PROMPTS) -> list[int]:
    """The requests that a server was asked for, in its order."""
    ids = {prompts.ids(one): one.id for one in requests}
    return [ids[tuple(asked["prompt"])] for asked in mock.asked]


@pytest.mark.parametrize("act", FAULTS)
def test_a_fault_costs_its_request_and_no_other(act: str) -> None:
    requests = [request(number, arrival_s=0.004 * number) for number in range(15)]
    with three(MockOpenAI("works", act)) as mocks:
        live, router = replayed(mocks, requests)
        _, hit, *_ = asked_of(mocks["a"], requests)
    ends = {line.id: (line.end, line.reason) for line in live.lines}
    assert re.fullmatch(FAULTS[act], ends[hit][1]), ends[hit][1]
    assert ends.pop(hit)[0] == "failed"
    assert set(ends.values()) == {("finished", "")}
    assert len(ends) == 14
    assert (router.booked, live.gone) == (0, {})
    assert all(sum(line.token_counts) == 8 for line in live.lines if line.end == "finished")


def test_a_server_that_hangs_is_waited_for_as_long_as_was_said_and_the_job_is_aborted_there() -> None:
    with three(MockOpenAI("hangs")) as mocks:
        live, router = replayed(mocks, [request(0)], pace=Pace(patience_s=0.3))
        (line,) = live.lines
        assert (line.end, line.reason, router.booked) == ("failed", "a said nothing of it for 0.3 s", 0)
        assert line.end_s is not None
        assert line.end_s >= 0.3
        mocks["a"].until(lambda: (mocks["a"].running, mocks["a"].aborted) == (0, 1))
        live, router = replayed(mocks, [request(number) for number in range(6)])
        assert [line.end for line in live.lines] == ["finished"] * 6


def test_a_server_that_dies_is_given_up_and_the_others_take_over() -> None:
    requests = [request(number, arrival_s=0.01 * number) for number in range(30)]
    with three(MockOpenAI("works", "works", "dies", max_batch=1)) as mocks:
        live, router = replayed(mocks, requests, pace=Pace(patience_s=30.0, failures_allowed=3))
    failed = [line for line in live.lines if line.end == "failed"]
    refused = rf"a cannot be reached at {re.escape(mocks['a'].url)}: Connection (refused|reset by peer)"
    assert [line.reason for line in failed if not re.fullmatch(rf"a broke off .*|{refused}", line.reason)] == []
    assert any(line.reason.startswith("a broke off after 4 of 8 tokens: ") for line in failed)
    assert set(live.gone) == {"a"}
    assert live.gone["a"] in {line.reason for line in failed}
    finished = [line.instance for line in live.lines if line.end == "finished"]
    assert {name: finished.count(name) for name in NAMES} == {name: mock.finished for name, mock in mocks.items()}
    assert (finished.count("a"), len(finished) + len(failed), router.booked) == (2, 30, 0)


def test_a_stream_that_is_closed_aborts_the_job_at_the_server() -> None:
    mock = MockOpenAI("hangs")

    async def main() -> None:
        async with engine_on(mock) as engine:
            stream = engine.submit(job())
            assert isinstance(await anext(stream), Tokens)
            assert (mock.running, mock.aborted) == (1, 0)
            await stream.aclose()
            await asyncio.to_thread(mock.until, lambda: (mock.running, mock.aborted) == (0, 1))
            assert isinstance((await events(engine, job(1)))[-1], Finished)

    with mock:
        asyncio.run(main())


def test_whenever_a_job_is_aborted_its_connection_is_given_back() -> None:
    mock = MockOpenAI()

    async def aborted(engine: OpenAIEngine, tokens: int, turns: int) -> None:
        stream, heard = engine.submit(job()), 0
        while heard < tokens:
            event = await anext(stream)
            heard += event.count if isinstance(event, Tokens) else 0
        for _ in range(turns):
            await asyncio.sleep(0)
        await stream.aclose()

    async def main() -> None:
        async with engine_on(mock) as engine:
            for turns in range(30):
                await aborted(engine, 8, turns)  # while it is told that all is done
                await aborted(engine, turns % 8, turns)
            await asyncio.to_thread(mock.until, lambda: mock.running == 0 and mock.open_connections <= 1)
            assert isinstance((await events(engine, job()))[-1], Finished)
        await asyncio.to_thread(mock.until, lambda: mock.open_connections == 0)

    with mock:
        asyncio.run(main())


def test_a_closed_engine_fails_its_jobs_and_takes_no_more() -> None:
    mock = MockOpenAI(rest="hangs")

    async def main() -> None:
        engine = OpenAIEngine("a", mock.url)
        with pytest.raises(EngineFailure, match="a was not started"):
            await events(engine, job())
        await engine.start()
        tasks = [asyncio.ensure_future(events(engine, job(number))) for number in range(3)]
        await asyncio.to_thread(mock.until, lambda: mock.running == 3)
        await engine.close()
        for task in tasks:
            with pytest.raises(EngineFailure, match=r"^a was closed$"):
                await task
        await asyncio.to_thread(mock.until, lambda: mock.aborted == 3)
        await engine.close()
        with pytest.raises(EngineFailure, match=r"^a was closed$"):
            await events(engine, job())

    with mock:
        asyncio.run(main())


@pytest.mark.parametrize("act", ["refuses", "error", "crashes"])
def test_a_server_that_breaks_at_its_first_completion_may_not_know_the_token_ids(act: str) -> None:
    hint = r"\(if its model knows fewer than 5000 token ids, say so: --engine http:vocabulary=N\)$"
    with pytest.raises(EngineFailure, match=hint):
        on_one(MockOpenAI(act), job(), vocabulary=5000)

    async def later(mock: MockOpenAI) -> None:
        engine = OpenAIEngine("a", mock.url)
        await engine.start()
        await events(engine, job())
        with pytest.raises(EngineFailure) as fault:
            await events(engine, job(2))
        await engine.close()
        assert "token ids" not in str(fault.value)

    with MockOpenAI("works", act) as mock:
        asyncio.run(later(mock))


@pytest.mark.parametrize("act", ["truncates", "bos", "too_long"])
def test_a_server_that_says_what_it_does_otherwise_is_not_suspected_of_another_vocabulary(act: str) -> None:
    with pytest.raises(EngineFailure) as fault:
        on_one(MockOpenAI(act), job())
    assert "token ids" not in str(fault.value)


def test_a_model_that_is_not_served_is_named() -> None:
    with pytest.raises(EngineFailure, match="a answered 404 to /v1/completions: The model `gpt` does not exist"):
        on_one(MockOpenAI(), job(), model="gpt")


def test_a_job_without_a_prompt_is_refused() -> None:
    with pytest.raises(BadInput, match="prompt_ids: expected the token ids of the prompt"):
        on_one(MockOpenAI(), Job(request=request(1)))


# Whole runs.


def follow(classes: int, count: int, trace_block: int = BLOCK) -> list[Request]:
    """Requests of a few classes, each after the one before, so that no two overlap."""
    made = []
    for number in range(count):
        keys = tuple(range(1000 * (number % classes), 1000 * (number % classes) + 2 + number % 4))
        made.append(
            request(number, keys, prompt_tokens=len(keys) * trace_block + 3 * (number % 2), block_tokens=trace_block,
                    output_tokens=1 + number % 5, after=number - 1 if number else None)
        )  # fmt: skip
    return made


def hit_of(line: Line) -> int:
    """What was predicted, less the block of the last token, which is always computed [token]."""
    return min(line.predicted_tokens, (line.prompt_tokens - 1) // BLOCK * BLOCK)


@pytest.mark.parametrize("rule", ["lmetric", "round_robin"])
@pytest.mark.parametrize("trace_block", [BLOCK, 40])
def test_the_servers_take_from_their_caches_what_the_router_predicted(rule: str, trace_block: int) -> None:
    requests = follow(5, 40, trace_block)
    prompts = Prompts(1000, block_tokens=BLOCK)
    with three(MockOpenAI()) as mocks:
        live, router = replayed(mocks, requests, rule, prompts=prompts, pace=Pace(closed_loop=True, patience_s=30.0))
    assert [(line.end, line.reason) for line in live.lines] == [("finished", "")] * 40
    assert [line.cached_tokens for line in live.lines] == [hit_of(line) for line in live.lines]
    assert sum(line.cached_tokens or 0 for line in live.lines) > 0
    for line in live.lines:
        assert line.sent_s is not None
        assert line.token_s[0] > line.sent_s
        assert sum(line.token_counts) == line.wanted_tokens
    assert router.booked == 0


def test_when_requests_overlap_none_is_lost_and_counts_stay_exact() -> None:
    requests = [request(number, tuple(range(number % 4, number % 4 + 6))) for number in range(60)]
    with three(MockOpenAI(max_batch=3, token_s=0.001), max_batch=3, token_s=0.001) as mocks:
        live, router = replayed(mocks, requests, "lmetric")
        assert sum(mock.finished for mock in mocks.values()) == 60
    assert {(line.end, sum(line.token_counts)) for line in live.lines} == {("finished", 8)}
    assert (len(live.lines), router.booked) == (60, 0)
