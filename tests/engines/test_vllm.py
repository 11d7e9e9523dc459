"""Three real vLLM servers on CPU: a router that is told of their caches predicts what they take from them."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
if importlib.util.find_spec("vllm") is None:
    pytest.skip("vllm is not installed: `make test-vllm` brings it", allow_module_level=True)

from replay.engines.cache_feed import CacheFeed  # noqa: E402
from replay.engines.kv_subscriber import KvSubscriber  # noqa: E402
from replay.engines.openai_http import HttpOptions, OpenAIEngine  # noqa: E402
from replay.engines.prompts import Prompts  # noqa: E402
from replay.engines.protocol import CacheSink, Finished, Job, Tokens  # noqa: E402
from replay.engines.vllm_servers import Server, Shape, servers  # noqa: E402
from replay.live_record import LiveRecord  # noqa: E402
from replay.prediction import Off, prediction  # noqa: E402
from replay.run import Pace, Runner  # noqa: E402
from replay.sources import open_source  # noqa: E402
from scheduler import Request, Router, RouterConfig  # noqa: E402
from scheduler.block_keys import token_keys  # noqa: E402
from scheduler.errors import EngineFailure  # noqa: E402

#: So few blocks that the workload pushes some out.
SHAPE = Shape(kv_blocks=192, context=4096)
BLOCK = SHAPE.block_tokens
OPTIONS = HttpOptions(vocabulary=SHAPE.vocabulary, ready_s=60.0)
#: The trace has blocks of its own size; the router thinks in those of the engine.
PROMPTS = Prompts(SHAPE.vocabulary, block_tokens=BLOCK)
SOURCE = (
    "workload:chat:requests=150,rate_per_s=5,block_tokens=16,system_tokens=64,opening_tokens_mean=250,"
    "opening_tokens_sigma=0.5,turn_tokens_mean=60,turn_tokens_sigma=0.5,output_tokens_mean=10,output_tokens_sigma=0.5,"
    "turns_mean=4,think_s_mean=1,think_s_sigma=0.5,context_tokens_max=1500"
)


@pytest.fixture(scope="module")
def running() -> Iterator[list[Server]]:
    with servers(3, shape=SHAPE) as started:
        yield started


@dataclass
class Cluster:
    """Engines, those who listen to them, and a router that is told."""

    engines: list[OpenAIEngine]
    listeners: list[KvSubscriber]
    router: Router
    noted: Noted

    def sees(self, ids: Sequence[int], place: int) -> int:
        """Tokens of a prompt that the router believes to be cached on an engine."""
        keys = token_keys(ids, BLOCK)
        request = Request(id=0, arrival_s=0.0, prompt_tokens=len(ids), block_tokens=BLOCK, block_keys=keys)
        return self.router.state(request).hit_tokens[place]

    async def told(self, place: int, ids: Sequence[int]) -> None:
        """Wait until the router has been told of a prompt."""
        async with asyncio.timeout(10):
            while self.sees(ids, place) < len(ids) // BLOCK * BLOCK:
                await asyncio.sleep(0.01)


class Noted:
    """Passes on what caches do, and remembers when it did."""

    def __init__(self, feed: CacheFeed) -> None:
        self.feed = feed
        self.moments: list[tuple[float, str, frozenset[int], frozenset[int]]] = []

    def __call__(self, name: str, stored: tuple[int, ...], after: int | None, removed: tuple[int, ...]) -> None:
        self.feed(name, stored, after, removed)
        self.moments.append((asyncio.get_running_loop().time(), name, frozenset(stored), frozenset(removed)))

    def late(self, off: Off, keys: Sequence[int], sent_s: float) -> bool:
        """Whether the router was told only afterwards of the first block about which it was wrong."""
        key = keys[min(off.cached_tokens, off.predicted_tokens) // BLOCK]
        came = off.cached_tokens > off.predicted_tokens
        return any(
            at_s >= sent_s and name == off.instance and key in (stored if came else removed)
            for at_s, name, stored, removed in self.moments
        )


def listener(name: str, server: Server, feed: CacheFeed, sink: CacheSink | None = None) -> KvSubscriber:
    return KvSubscriber(
        name,
        server.events,
        sink=feed if sink is None else sink,
        cleared=feed.cleared,
        block_tokens=BLOCK,
        replay=server.replay,
    )


def router(names: Sequence[str]) -> Router:
    return Router(names, "lmetric", seed=1, config=RouterConfig(source="events"))


@contextlib.asynccontextmanager
async def cluster(running: Sequence[Server]) -> AsyncIterator[Cluster]:
    """All of them, with empty caches."""
    feed, names = CacheFeed(), [str(place) for place in range(len(running))]
    engines = [OpenAIEngine(name, server.url, OPTIONS) for name, server in zip(names, running, strict=True)]
    noted = Noted(feed)
    listeners = [listener(name, server, feed, noted) for name, server in zip(names, running, strict=True)]
    feed.router = router(names)
    async with contextlib.AsyncExitStack() as stack:
        for engine, one in zip(engines, listeners, strict=True):
            stack.push_async_callback(engine.close)
            await engine.start()
            stack.push_async_callback(one.close)
            await one.start()
            await engine.reset_cache()
            one.forget()
        yield Cluster(engines, listeners, feed.router, noted)


async def asked(engine: OpenAIEngine, ids: Sequence[int], output: int = 4) -> list[Any]:
    request = Request(id=1, arrival_s=0.0, prompt_tokens=len(ids), output_tokens=output, block_tokens=BLOCK)
    return [event async for event in engine.submit(Job(request=request, prompt_ids=tuple(ids)))]


def prompt(seed: int, tokens: int) -> tuple[int, ...]:
    request = Request(id=seed, arrival_s=0.0, prompt_tokens=tokens, block_tokens=BLOCK)
    return PROMPTS.ids(request)


@dataclass
class Run:
    record: LiveRecord
    share: float | None
    off: list[Off]
    unexplained: list[Off]
    gaps: list[int]
    left_out: list[int]
    removed: list[int]
    unknown: list[int]


@pytest.fixture(scope="module")
def run(running: list[Server]) -> Run:
    """The generated workload, routed by what the engines tell."""

    async def main() -> Run:
        async with cluster(running) as found:
            requests = {request.id: request for request in open_source(SOURCE, seed=1)[0]}
            before = [one.blocks.counts.removed for one in found.listeners]
            pace = Pace(closed_loop=True, patience_s=60.0)
            runner = Runner(found.engines, found.router, list(requests.values()), prompts=PROMPTS, pace=pace)
            record = await runner.run()
            began_s = asyncio.get_running_loop().time() - runner.now_s()
            sent_s = {line.id: began_s + (line.sent_s or 0.0) for line in record.lines}
            keys = {name: token_keys(PROMPTS.ids(request), BLOCK) for name, request in requests.items()}
            found_out = prediction(record.lines, BLOCK, requests)
            blocks = [one.blocks.counts for one in found.listeners]
            batches = [one.counts for one in found.listeners]
            return Run(
                record=record,
                share=found_out.share,
                off=found_out.off,
                unexplained=[one for one in found_out.off if not found.noted.late(one, keys[one.id], sent_s[one.id])],
                gaps=[count.gaps + count.lost + count.unreadable + count.restarts for count in batches],
                left_out=[count.orphans + count.others for count in blocks],
                removed=[count.removed - old for count, old in zip(blocks, before, strict=True)],
                unknown=[count.unknown for count in blocks],
            )

    return asyncio.run(main())


def test_every_request_ends_with_the_exact_number_of_tokens(run: Run) -> None:
    assert len(run.record.lines) == 150
    for line in run.record.lines:
        assert (line.end, line.reason) == ("finished", "")
        assert sum(line.token_counts) == line.wanted_tokens


def test_the_first_token_takes_time_and_the_others_follow(run: Run) -> None:
    for line in run.record.lines:
        assert line.sent_s is not None
        assert line.sent_s < line.token_s[0]
        assert line.token_s == sorted(line.token_s)


def test_servers_take_from_their_caches_what_the_router_predicted(run: Run) -> None:
    """But for blocks that were stored or pushed out when it decided, and of which it was told afterwards."""
    assert all(line.cached_tokens is not None for line in run.record.lines)
    assert sum(line.cached_tokens or 0 for line in run.record.lines) > 0
    assert run.unexplained == []
    assert run.share is not None
    assert run.share >= 0.95, run.off


def test_no_event_is_lost_or_left_out(run: Run) -> None:
    assert (run.gaps, run.left_out, run.unknown) == ([0, 0, 0], [0, 0, 0], [0, 0, 0])
    assert sum(run.removed) > 0  # the caches ran full


def test_what_a_full_cache_pushes_out_the_router_forgets(running: list[Server]) -> None:
    async def main() -> None:
        async with cluster(running[:1]) as found:
            first, *others = (prompt(seed, 3000) for seed in range(3))
            (engine,), (heard,) = found.engines, found.listeners
            removed = heard.blocks.counts.removed
            await asked(engine, first)
            await found.told(0, first)
            for ids in others:
                await asked(engine, ids)
                await found.told(0, ids)
            assert heard.blocks.counts.removed > removed
            believed = found.sees(first, 0)
            assert believed < 3000 // BLOCK * BLOCK
            assert len(heard.blocks) < SHAPE.kv_blocks
            again = await asked(engine, first)
            assert again[-1].cached_tokens == believed

    asyncio.run(main())


def test_a_block_that_is_there_several_times_goes_with_its_last_copy(running: list[Server]) -> None:
    """Requests for the same prompt share it, but each generates, and so fills, blocks of its own."""

    async def main() -> None:
        async with cluster(running[:1]) as found:
            (engine,), (heard,), ids = found.engines, found.listeners, prompt(5, 200)
            unknown = heard.blocks.counts.unknown
            await asyncio.gather(*(asked(engine, ids, output=40) for _ in range(4)))
            await found.told(0, ids)
            for seed in range(6, 9):
                await asked(engine, prompt(seed, 3000))
                await found.told(0, prompt(seed, 3000))
                if seed == 6:
                    assert heard.blocks._copies
            assert (found.sees(ids, 0), heard.blocks._copies) == (0, {})
            assert heard.blocks.counts.unknown == unknown

    asyncio.run(main())


def test_an_emptied_cache_is_empty_for_the_router(running: list[Server]) -> None:
    async def main() -> None:
        async with cluster(running[:1]) as found:
            (engine,), (heard,) = found.engines, found.listeners
            old, new = prompt(10, 640), prompt(11, 320)
            await asked(engine, old)
            await found.told(0, old)
            cleared = heard.blocks.counts.cleared
            await engine.reset_cache()
            await asked(engine, new)  # vLLM tells of it with its next step
            await found.told(0, new)
            assert heard.blocks.counts.cleared == cleared + 1
            assert (found.sees(old, 0), len(heard.blocks)) == (0, 10)
            assert (await asked(engine, old))[-1].cached_tokens == 0

    asyncio.run(main())


def test_who_comes_late_knows_the_same(running: list[Server]) -> None:
    async def main() -> None:
        async with cluster(running[:1]) as found:
            for seed in range(3):
                await asked(found.engines[0], prompt(20 + seed, 500))
                await found.told(0, prompt(20 + seed, 500))
            feed = CacheFeed()
            feed.router = router(["0"])
            late = listener("0", running[0], feed)
            await late.start()
            try:
                believed = Cluster(found.engines, [late], feed.router, found.noted)
                assert [believed.sees(prompt(20 + seed, 500), 0) for seed in range(3)] == [480, 480, 480]
                assert len(late.blocks) == len(found.listeners[0].blocks)
            finally:
                await late.close()

    asyncio.run(main())


def test_an_aborted_job_leaves_the_server_as_good_as_before(running: list[Server]) -> None:
    async def main() -> None:
        async with cluster(running[:1]) as found:
            engine, ids = found.engines[0], prompt(30, 400)
            request = Request(id=1, arrival_s=0.0, prompt_tokens=400, output_tokens=3000, block_tokens=BLOCK)
            stream = engine.submit(Job(request=request, prompt_ids=ids))
            while not isinstance(await anext(stream), Tokens):
                pass
            await stream.aclose()
            assert isinstance((await asked(engine, prompt(31, 400)))[-1], Finished)
            await engine.reset_cache()
            assert (await asked(engine, ids))[-1].cached_tokens == 0

    asyncio.run(main())


def test_a_closed_engine_fails_its_jobs_and_its_server_goes_on(running: list[Server]) -> None:
    async def main() -> None:
        async with cluster(running[:1]) as found:
            engine = found.engines[0]
            task = asyncio.ensure_future(asked(engine, prompt(40, 400), output=3000))
            await found.told(0, prompt(40, 384))
            await engine.close()
            with pytest.raises(EngineFailure, match="0 was closed"):
                await task
        async with cluster(running[:1]) as again:
            assert isinstance((await asked(again.engines[0], prompt(41, 64)))[-1], Finished)

    asyncio.run(main())


def replayed(
    running: Sequence[Server], events: Sequence[Server], *more: str, requests: int
) -> subprocess.CompletedProcess[str]:
    """The command, with the addresses of events of these servers."""
    words = [
        word
        for one, told in zip(running, events, strict=True)
        for word in ("--endpoint", one.url, "--kv-events", f"{told.events},{told.replay}")
    ]
    command = [
        sys.executable, "-c", "from argprod.cli import main; main()", "replay",
        SOURCE.replace("requests=150", f"requests={requests}"), "--engine", "http", *words, *more,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_the_command_replays_on_them_and_its_router_hears_of_their_caches(
    running: list[Server], tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    words = ("-p", "lmetric", "-p", "random", "--json", str(out), "--log", str(tmp_path / "logs"))
    done = replayed(running, running, *words, requests=60)
    assert done.returncode == 0, done.stderr
    heard = done.stdout[done.stdout.index("KV events of") :]
    assert heard.count("KV events of 127.0.0.1:") == 3
    assert "lost" not in heard
    assert "prompts that it was sent" not in heard
    found = json.loads(out.read_bytes())
    assert found["settings"]["engine"]["block_tokens"] == BLOCK
    for row, told in zip(found["policies"], found["runs"], strict=True):
        assert (row["finished"], row["failed"]) == (60, 0)
        assert row["ttft_s"]["mean"] > 0
        assert told["prediction"]["told"] == 60
        assert told["prediction"]["equal"] >= 54  # some are routed before the last event has come
    hits = {row["name"]: row["hit_fraction"] for row in found["policies"]}
    assert hits["lmetric"] > hits["random"]
    again = replayed(running, running, *words, requests=60)
    assert again.returncode == 0, again.stderr
    assert "2 of 2 runs taken from the log\n" in again.stdout
    assert "KV events of" not in again.stdout  # what was published before is history
    other = replayed(running, running, *words, requests=61)
    assert other.returncode == 2
    assert "00-lmetric.jsonl there is of others: text 'workload:chat:" in other.stderr


def test_swapped_addresses_of_events_are_noticed(running: list[Server]) -> None:
    first, second, third = running
    done = replayed(running, [second, first, third], "-p", "round_robin", requests=24)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("are --kv-events in the order of --endpoint?") == 2


def test_what_servers_write_is_in_a_folder_that_goes_with_them() -> None:
    def sockets() -> set[Path]:
        return {path for path in Path(tempfile.gettempdir()).iterdir() if path.is_socket()}

    before = sockets()
    with servers(1, shape=SHAPE) as (server,):
        assert sockets() == before
        assert any(path.is_socket() for path in server.log.parent.iterdir())
    assert not server.log.parent.exists()
