"""A real engine: transformers' continuous batching on CPU, replayed onto by the same runner as the simulated one."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import msgspec
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: `make test-engines` brings it")
pytest.importorskip("transformers", reason="transformers is not installed: `make test-engines` brings it")

from replay.engines.prompts import Prompts  # noqa: E402
from replay.engines.protocol import Admitted, Finished, Job, Tokens  # noqa: E402
from replay.engines.transformers_cb import Shape, TransformersEngine  # noqa: E402
from replay.live_record import LiveRecord  # noqa: E402
from replay.metrics import summarise  # noqa: E402
from replay.prediction import ON_ITS_WAY, prediction  # noqa: E402
from replay.run import Pace, Runner  # noqa: E402
from replay.sources import open_source  # noqa: E402
from scheduler import Request, Router, RouterConfig  # noqa: E402
from scheduler.errors import EngineFailure  # noqa: E402

SHAPE = Shape(kv_blocks=2048)
NAMES = ("a", "b", "c")
SOURCE = (
    "workload:chat:requests=150,rate_per_s=12,block_tokens=16,system_tokens=64,opening_tokens_mean=250,"
    "opening_tokens_sigma=0.5,turn_tokens_mean=60,turn_tokens_sigma=0.5,output_tokens_mean=10,output_tokens_sigma=0.5,"
    "turns_mean=4,think_s_mean=1,think_s_sigma=0.5,context_tokens_max=1500"
)
PROMPTS = Prompts(SHAPE.vocabulary)
RULES = ("lmetric", "join_shortest_queue", "random")


def request(number: int, *keys: int, tokens: int = 544, output: int = 8) -> Request:
    return Request(
        id=number, arrival_s=0.0, prompt_tokens=tokens, output_tokens=output, block_tokens=16, block_keys=keys
    )


async def events(engine: TransformersEngine, asked: Request) -> list[Any]:
    job = Job(request=asked, prompt_ids=PROMPTS.ids(asked))
    return [event async for event in engine.submit(job)]


async def with_engine(body: Any) -> Any:
    engine = TransformersEngine("a", SHAPE)
    await engine.start()
    try:
        return await body(engine)
    finally:
        await engine.close()


def test_a_prompt_that_comes_again_is_taken_from_the_cache_to_the_last_whole_block() -> None:
    async def body(engine: TransformersEngine) -> None:
        first = await events(engine, request(1, *range(34)))
        again = await events(engine, request(2, *range(34)))
        other = await events(engine, request(3, *range(17), *range(100, 117)))
        await engine.reset_cache()
        fresh = await events(engine, request(4, *range(34)))
        cached = [
            one.cached_tokens for told in (first, again, other, fresh) for one in told if isinstance(one, Admitted)
        ]
        assert cached == [0, 543, 272, 0]  # 34 blocks, of which the last token is computed anew
        for told in (first, again, other, fresh):
            assert sum(one.count for one in told if isinstance(one, Tokens)) == 8
            assert isinstance(told[-1], Finished)
            assert told[-1].output_tokens == 8
            assert [one.at_s for one in told] == sorted(one.at_s for one in told)

    asyncio.run(with_engine(body))


def test_what_is_said_does_not_hang_on_what_is_cached() -> None:
    """Greedy output with and without a cached prefix is the same: the numerics of prefix reuse."""

    async def body(engine: TransformersEngine) -> list[list[int]]:
        manager, outputs = engine._manager, []
        for number in range(2):
            ids = list(PROMPTS.ids(request(1, *range(34))))
            manager.add_request(ids, request_id=f"plain {number}", max_new_tokens=16, eos_token_id=-1)
            output = await asyncio.to_thread(manager.get_result, f"plain {number}", 30.0)
            outputs.append(list(output.generated_tokens))
        return outputs

    first, again = asyncio.run(with_engine(body))
    assert first == again
    assert len(first) == 16


def test_steps_take_as_many_threads_as_the_shape_says() -> None:
    """Whatever thread steps: PyTorch keeps the number a thread, and takes it over when one first computes."""
    before = torch.get_num_threads()

    async def used(threads: int) -> list[int]:
        engine, told = TransformersEngine("a", msgspec.structs.replace(SHAPE, threads=threads)), []
        await engine.start()
        try:
            cache = engine._manager.batch_processor.cache
            search = cache.search_prefix_match  # called by the thread that steps

            def noted(*given: Any) -> Any:
                told.append(torch.get_num_threads())
                return search(*given)

            cache.search_prefix_match = noted
            await events(engine, request(1, *range(34)))
        finally:
            await engine.close()
        return told

    try:
        assert [asyncio.run(used(threads)) for threads in (2, 1)] == [[2], [1]]
    finally:
        torch.set_num_threads(before)


def test_a_model_too_large_for_the_machine_is_one_line() -> None:
    shape = msgspec.structs.replace(SHAPE, hidden=2**18, intermediate=2**20, heads=4, layers=2**10)
    with pytest.raises(EngineFailure, match=r"^a could not make its model: [^\n]*memory[^\n]*$"):
        asyncio.run(TransformersEngine("a", shape).start())


def test_an_aborted_job_leaves_the_engine_as_good_as_before() -> None:
    async def body(engine: TransformersEngine) -> None:
        asked = request(1, *range(34), output=2000)
        stream = engine.submit(Job(request=asked, prompt_ids=PROMPTS.ids(asked)))
        while not isinstance(await anext(stream), Tokens):
            pass
        await stream.aclose()
        assert isinstance((await events(engine, request(2, *range(50, 84))))[-1], Finished)
        await engine.reset_cache()

    asyncio.run(with_engine(body))


def test_a_closed_engine_fails_its_jobs() -> None:
    async def main() -> None:
        engine = TransformersEngine("a", SHAPE)
        await engine.start()
        task = asyncio.ensure_future(events(engine, request(1, *range(34), output=4000)))
        await asyncio.sleep(0.2)
        await engine.close()
        with pytest.raises(EngineFailure, match="a was closed"):
            await task
        await engine.close()

    asyncio.run(main())


def asked() -> dict[int, Request]:
    return {one.id: one for one in open_source(SOURCE, seed=1)[0]}


@functools.lru_cache(maxsize=1)
def runs() -> dict[str, LiveRecord]:
    """The generated workload under three rules, on three instances with empty caches each time."""
    requests = list(asked().values())

    async def main() -> dict[str, LiveRecord]:
        engines = [TransformersEngine(name, SHAPE) for name in NAMES]
        for engine in engines:
            await engine.start()
        found = {}
        try:
            for rule in RULES:
                config = RouterConfig(source="history", capacity_blocks=SHAPE.kv_blocks)
                runner = Runner(
                    engines, Router(NAMES, rule, seed=1, config=config), requests, prompts=PROMPTS,
                    pace=Pace(closed_loop=True, patience_s=60.0),
                )  # fmt: skip
                found[rule] = await runner.run()
                for engine in engines:
                    await engine.reset_cache()
        finally:
            for engine in engines:
                await engine.close()
        return found

    return asyncio.run(main())


@pytest.mark.parametrize("rule", RULES)
def test_every_request_ends_with_the_exact_number_of_tokens(rule: str) -> None:
    for line in runs()[rule].lines:
        assert (line.end, line.reason) == ("finished", "")
        assert sum(line.token_counts) == line.wanted_tokens


@pytest.mark.parametrize("rule", RULES)
def test_the_engine_takes_from_its_cache_what_the_router_predicted(rule: str) -> None:
    found = prediction(runs()[rule].lines, SHAPE.block_tokens, asked())
    assert found.told == len(runs()[rule].lines)
    assert {off.cause for off in found.off} <= {ON_ITS_WAY}
    assert found.share is not None
    assert found.share >= 0.99


def test_the_product_finds_more_in_the_caches_than_chance_does() -> None:
    hits = {
        rule: summarise(found.run, rule, {}, len(NAMES), 0.0, "none").hit_fraction for rule, found in runs().items()
    }
    assert hits["lmetric"] is not None
    assert hits["random"] is not None
    assert hits["lmetric"] > hits["random"]
