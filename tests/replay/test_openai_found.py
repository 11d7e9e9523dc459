"""What is found out of a server: its cache, which can be emptied, its load, why it cannot be used; in plain words."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from replay.engines.openai_http import HttpOptions, OpenAIEngine
from replay.engines.openai_metrics import CacheShape, Gauges, read_cache_shape, read_gauges
from replay.engines.openai_server import Server
from scheduler import BadInput
from scheduler.errors import EngineFailure
from tests.replay.mock_openai import MockOpenAI
from tests.replay.test_openai_http import cached, engine_on, events, job


@pytest.mark.parametrize(
    ("style", "about"),
    [("vllm", {"server": "0.32"}), ("sglang", {"server": "0.5"}), ("plain", {})],
)
def test_a_server_says_what_it_is(style: str, about: dict[str, str]) -> None:
    async def main(mock: MockOpenAI) -> dict[str, str]:
        async with engine_on(mock) as engine:
            return engine.about

    with MockOpenAI(style=style) as mock:
        assert asyncio.run(main(mock)) == {"model": "mock", **about}


@pytest.mark.parametrize("style", ["vllm", "sglang"])
@pytest.mark.parametrize("reset", ["auto", "endpoint"])
def test_a_cache_that_is_reset_is_empty(style: str, reset: str) -> None:
    mock, chain = MockOpenAI(style=style, busy_resets=3), tuple(range(6))

    async def main() -> list[int | None]:
        async with engine_on(mock, reset=reset) as engine:
            assert engine.resets
            told = [await events(engine, job(number, chain)) for number in range(2)]
            await engine.reset_cache()
            told += [await events(engine, job(number, chain)) for number in range(2, 4)]
            return cached(told)

    with mock:
        first, *others = asyncio.run(main())
    assert first in (0, None)
    assert others == [96, 0, 96]
    assert mock.resets == 2  # one of them at the start


@pytest.mark.parametrize(("style", "reset"), [("plain", "auto"), ("vllm", "salt")])
def test_where_no_cache_is_reset_the_engine_says_so(style: str, reset: str) -> None:
    mock = MockOpenAI(style=style)

    async def main() -> None:
        async with engine_on(mock, reset=reset) as engine:
            await engine.reset_cache()
            assert not engine.resets

    with mock:
        asyncio.run(main())
    assert mock.resets == 0


def test_a_cache_is_not_reset_while_somebody_uses_it() -> None:
    mock = MockOpenAI(rest="hangs")

    async def main() -> None:
        async with engine_on(mock, "b") as other, engine_on(mock, reset_s=0.1) as engine:
            stream = other.submit(job())
            await anext(stream)
            with pytest.raises(EngineFailure, match="b has open jobs, so its cache cannot be reset"):
                await other.reset_cache()
            with pytest.raises(EngineFailure, match="the cache of a cannot be emptied: 1 requests run and 0 wait"):
                await engine.reset_cache()
            resets = mock.resets
            await stream.aclose()
            await engine.reset_cache()
            assert mock.resets == resets + 1

    with mock:
        asyncio.run(main())


@pytest.mark.parametrize("style", ["vllm", "sglang"])
def test_gauges_are_those_of_the_server(style: str) -> None:
    mock, chain = MockOpenAI(rest="hangs", style=style, max_batch=2), tuple(range(4))

    async def main() -> Gauges:
        async with engine_on(mock) as engine:
            assert await engine.gauges() == Gauges(
                running=0, waiting=0, kv_used_fraction=0.25, prefix_queries=0, prefix_hits=0
            )
            tasks = [asyncio.ensure_future(events(engine, job(number, chain))) for number in range(3)]
            await asyncio.to_thread(mock.until, lambda: mock.running == 2 and mock.waiting == 1)
            await asyncio.to_thread(mock.until, lambda: mock.queried_tokens == 138)
            found = await engine.gauges()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            return found

    with mock:
        found = asyncio.run(main())
    assert found == Gauges(running=2, waiting=1, kv_used_fraction=0.25, prefix_queries=138, prefix_hits=64)


def test_where_no_gauges_are_told_there_are_none() -> None:
    async def main(mock: MockOpenAI) -> Gauges:
        async with engine_on(mock) as engine:
            return await engine.gauges()

    with MockOpenAI(style="plain") as mock:
        assert asyncio.run(main(mock)) == Gauges()


def test_engines_behind_one_address_are_added_up_and_ranks_of_one_engine_are_not() -> None:
    found = read_gauges(
        "# TYPE vllm:num_requests_running gauge\n"
        'vllm:num_requests_running{engine="0",model_name="a } b"} 2.0\n'
        'vllm:num_requests_running{engine="1",model_name="a } b"} 5.0 1712345678\n'
        'vllm:num_requests_running_peak{engine="0"} 99.0\n'
        'vllm:gpu_cache_usage_perc{engine="0"} 0.5\n'
        'vllm:gpu_cache_usage_perc{engine="1"} 0.25\n'
        "vllm:num_requests_waiting NaN\n"
        'sglang:cached_tokens_total{cache_source="device",tp_rank="0"} 1e3\n'
        'sglang:cached_tokens_total{cache_source="device",tp_rank="1"} 1e3\n'
        'sglang:cached_tokens_total{cache_source="host"} 24\n'
    )
    assert found == Gauges(running=7, kv_used_fraction=0.375, prefix_hits=1024)
    text = 'vllm:cache_config_info{block_size="32",num_gpu_blocks="%s",engine="%d"} 1.0\n'
    assert read_cache_shape(text % (90, 0) + text % (80, 1)) == CacheShape(
        block_tokens=32, kv_blocks=79
    )  # one of them is empty
    assert read_cache_shape(text % (None, 0)) == CacheShape(block_tokens=32)


@pytest.mark.parametrize(
    ("style", "given", "found"),
    [
        ("vllm", {"block_tokens": 0}, (32, 70)),
        ("vllm", {"block_tokens": 16, "kv_blocks": 9}, (32, 70)),
        ("sglang", {}, (32, 70)),
        ("plain", {"block_tokens": 48, "kv_blocks": 9}, (48, 9)),
        ("plain", {}, (16, None)),
    ],
)
def test_blocks_are_those_that_the_server_tells_else_those_given(
    style: str, given: dict[str, Any], found: tuple[int, int | None]
) -> None:
    async def main(mock: MockOpenAI) -> None:
        async with engine_on(mock, **given) as engine:
            assert (engine.block_tokens, engine.kv_blocks) == found

    with MockOpenAI(style=style, block_tokens=32, kv_blocks=70) as mock:
        asyncio.run(main(mock))


def fails_to_start(url: str, **options: Any) -> str:
    """Why an engine does not start."""

    async def main() -> str:
        engine = OpenAIEngine("a", url, HttpOptions(ready_s=0.1, **options))
        with pytest.raises(EngineFailure) as caught:
            await engine.start()
        with pytest.raises(EngineFailure, match="a was closed"):
            await events(engine, job())
        return str(caught.value)

    return asyncio.run(main())


def test_an_engine_whose_server_is_not_as_needed_says_what_to_try() -> None:
    with MockOpenAI(style="plain", extra_models=("other",)) as mock:
        assert fails_to_start(mock.url) == "a serves mock, other: name the model"
        known = {"model": "mock"}
        told = "a does not tell how many tokens its KV blocks hold: give block_tokens"
        assert fails_to_start(mock.url, block_tokens=0, **known) == told
        assert fails_to_start(mock.url, reset="endpoint", **known) == (
            "a has neither of /reset_prefix_cache and /flush_cache: start vLLM with VLLM_SERVER_DEV_MODE=1, or take "
            "reset=salt"
        )
    for style, answer in (
        ("vllm", '/reset_prefix_cache answered 200: {"success": false}'),
        ("sglang", "/flush_cache answered 400: requests run or wait"),
    ):
        with MockOpenAI(busy_resets=1000, style=style) as mock:
            assert fails_to_start(mock.url, reset_s=0.1) == f"the cache of a cannot be emptied: {answer}"
    told = f"a cannot be reached at {mock.url}: Connection refused; is the server running there? (waited 0.1 s)"
    assert fails_to_start(mock.url) == told


@contextlib.contextmanager
def listening(backlog: int) -> Iterator[tuple[str, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}", server


def test_a_server_that_takes_no_connection_or_does_not_answer_is_not_waited_for_longer_than_said() -> None:
    with listening(8) as (url, _):
        told = "a did not answer within 0.1 s; is the server running there? (waited 0.1 s)"
        assert fails_to_start(url, ask_s=0.1) == told
    with listening(0) as (url, server), contextlib.ExitStack() as stack:
        for _ in range(4):  # more than may wait there, so that the next one waits for an answer
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        told = f"a took no connection at {url} within 0.1 s"
        began_s = time.monotonic()
        assert fails_to_start(url, connect_s=0.1) == f"{told}; is the server running there? (waited 0.1 s)"
        assert asyncio.run(streamed(url)) == told
        assert time.monotonic() - began_s < 8.0


async def streamed(url: str) -> str:
    """What comes of a post to a server: the bytes of its stream, or why there are none."""
    server = Server("a", url, connect_s=0.1, ask_s=5.0)
    server.open()
    try:
        pieces = server.stream("/v1/completions", b"{}", "text/event-stream", lambda: "somewhere")
        return b"".join([piece async for piece in pieces]).decode()
    except EngineFailure as fault:
        return str(fault)
    finally:
        await server.close()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x", "data: x"),
        (b"200 OK\r\nContent-Type: Text/Event-Stream;charset=utf-8\r\n\r\ndata: x", "data: x"),
        (
            b"200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 99\r\n\r\ndata: x",
            (
                "a broke off somewhere: peer closed connection without sending complete message body "
                "(received 7 bytes, expected 99)"
            ),
        ),
        (b"429 Slow Down\r\nContent-Type: text/event-stream\r\n\r\nlater", "a answered 429 to /v1/completions: later"),
        (
            b"204 No Content\r\nContent-Type: text/event-stream\r\n\r\n",
            "a answered 204 with text/event-stream to /v1/completions, not 200 with text/event-stream: nothing",
        ),
        (
            b"307 Elsewhere\r\nLocation: http://127.0.0.1:9/\r\n\r\n",
            "a answered 307 with no content-type to /v1/completions, not 200 with text/event-stream: nothing",
        ),
        (b"what", "a broke off before it answered: illegal status line: bytearray(b'HTTP/1.1 what')"),
    ],
)
def test_an_answer_that_is_no_stream_is_told_in_plain_words(answer: bytes, told: str) -> None:
    async def main() -> str:
        server = await answering(b"HTTP/1.1 " + answer + (b"" if b"\r\n" in answer else b"\r\n\r\n"))
        async with server:
            return await streamed(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")

    assert asyncio.run(main()) == told


def test_what_the_system_says_of_a_name_is_passed_on() -> None:
    with listening(1) as (url, _):
        pass
    named = url.replace("127.0.0.1", "localhost")  # two addresses, neither of which answers
    assert asyncio.run(streamed(named)) == f"a cannot be reached at {named}: Connection refused"
    secret = url.replace("http:", "https:")
    assert asyncio.run(streamed(secret)) == f"a cannot be reached at {secret}: Connection refused"


def answering(*answers: bytes) -> Coroutine[Any, Any, Any]:
    """A server that gives these answers, one a connection."""
    left = list(answers)

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(left.pop(0))
        await writer.drain()
        writer.close()

    return asyncio.start_server(served, "127.0.0.1", 0)


def test_a_server_that_loads_its_model_is_waited_for() -> None:
    empty = b"HTTP/1.1 %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    models = b'HTTP/1.1 200 OK\r\nContent-Length: 23\r\nConnection: close\r\n\r\n{"data": [{"id": "m"}]}'
    absent = empty % b"404 Not Found"

    async def main() -> str:
        server = await answering(
            empty % b"503 Loading", empty % b"503 Loading", empty % b"200 OK", models, *[absent] * 7
        )
        async with server:
            engine = OpenAIEngine("a", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
            await engine.start()
            await engine.close()
            return engine.model

    assert asyncio.run(main()) == "m"


@pytest.mark.parametrize(
    "wrong",
    [
        {"block_tokens": -1}, {"kv_blocks": 0}, {"vocabulary": 10}, {"reset": "flush"}, {"connect_s": 0.0},
        {"ready_s": float("nan")}, {"ask_s": -1.0}, {"reset_s": 0.0},
    ],
)  # fmt: skip
def test_options_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=f"^{next(iter(wrong))}: "):
        OpenAIEngine("a", "http://127.0.0.1:8000", HttpOptions(**wrong))


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://", "http://host:no", "http://host/?a=1"])
def test_an_address_that_cannot_be_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match=r"^url: expected http://HOST:PORT, got "):
        OpenAIEngine("a", url)
