"""The steps that the transformers engine tells: they add up to its jobs and to the time it was busy; a fit holds."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is not installed: `make test-engines` brings it")
pytest.importorskip("transformers", reason="transformers is not installed: `make test-engines` brings it")

from replay.calibration.fit import error_of, fit_step_time
from replay.calibration.plan import Reach
from replay.calibration.rounds import all_steps, split
from replay.calibration.sweep import StepList, measure
from replay.engines.prompts import Prompts
from replay.engines.protocol import Admitted, Finished, Job, Tokens
from replay.engines.transformers_cb import Shape, TransformersEngine
from scheduler import Request
from scheduler.errors import EngineFailure

SHAPE = Shape(batch_tokens=128, max_batch=8)
PROMPTS = Prompts(SHAPE.vocabulary)


def job(number: int, prompt: int, output: int, *keys: int) -> Job:
    request = Request(
        id=number, arrival_s=0.0, prompt_tokens=prompt, output_tokens=output, block_tokens=16, block_keys=keys
    )
    return Job(request=request, prompt_ids=PROMPTS.ids(request))


async def heard(engine: TransformersEngine, asked: Job) -> list[Any]:
    return [event async for event in engine.submit(asked)]


def with_engine(body: Any) -> Any:
    """Run a body with an engine and the list of its steps."""

    async def main() -> Any:
        told = StepList()
        engine = TransformersEngine("a", SHAPE, told)
        await engine.start()
        try:
            return await body(engine, told)
        finally:
            await engine.close()

    return asyncio.run(main())


async def all_told(told: StepList, decoded: int) -> None:
    """The last step is told after the last token."""
    for _ in range(2000):
        if sum(step.decode_requests for step in told.steps) >= decoded:
            return
        await asyncio.sleep(0.005)


def test_the_steps_of_a_request_alone_are_counted_to_the_token() -> None:
    async def body(engine: TransformersEngine, told: StepList) -> None:
        await heard(engine, job(1, 300, 5))
        await all_told(told, 4)
        steps = told.steps
        assert [step.prefill_tokens for step in steps] == [128, 128, 44, 0, 0, 0, 0]
        assert [step.decode_requests for step in steps] == [0, 0, 0, 1, 1, 1, 1]
        assert [step.kv_tokens for step in steps] == [0, 0, 0, 301, 302, 303, 304]
        assert steps[1].pairs == 128 * 128 + 128 * 129 // 2
        assert sum(step.pairs for step in steps) == 300 * 301 // 2  # however it is cut into chunks

    with_engine(body)


def test_what_the_cache_gives_is_no_prefill() -> None:
    async def body(engine: TransformersEngine, told: StepList) -> None:
        await heard(engine, job(1, 544, 2, *range(34)))
        await heard(engine, job(2, 544, 2, *range(34)))
        await all_told(told, 2)
        assert [step.prefill_tokens for step in told.steps] == [128, 128, 128, 128, 32, 0, 1, 0]
        assert told.steps[6].pairs == 544

    with_engine(body)


def test_steps_add_up_to_the_jobs_and_to_the_time_the_engine_was_busy() -> None:
    async def body(engine: TransformersEngine, told: StepList) -> None:
        loop = asyncio.get_running_loop()
        asked = [job(n, 40 + 37 * n, 3 + n, *(range(8) if n % 3 else ())) for n in range(1, 16)]
        wanted = sum(one.request.output_tokens - 1 for one in asked)
        began_s = loop.time()
        events = await asyncio.gather(*(heard(engine, one) for one in asked))
        await all_told(told, wanted)
        wall_s = loop.time() - began_s
        steps = told.steps
        admitted = [event for told_of in events for event in told_of if isinstance(event, Admitted)]
        assert sum(step.prefill_tokens for step in steps) == sum(event.new_tokens or 0 for event in admitted)
        assert sum(event.cached_tokens or 0 for event in admitted) > 0
        assert sum(step.decode_requests for step in steps) == wanted
        assert max(step.decode_requests for step in steps) > 1
        assert all(step.prefill_tokens + step.decode_requests <= SHAPE.batch_tokens for step in steps)
        assert sum(step.step_s for step in steps) <= wall_s
        assert all(one.at_s + one.step_s <= two.at_s + 1e-9 for one, two in itertools.pairwise(steps))
        ends = [step.at_s + step.step_s for step in steps]
        for told_of in events:
            for event in told_of:
                if isinstance(event, Tokens):  # every token comes in a step
                    assert any(step.at_s < event.at_s <= end for step, end in zip(steps, ends, strict=True))

    with_engine(body)


def test_a_step_does_not_count_the_time_before_it() -> None:
    """An engine that waits for work is not busy; one that has work is, from step to step."""

    async def body(engine: TransformersEngine, told: StepList) -> None:
        loop = asyncio.get_running_loop()
        await heard(engine, job(1, 40, 4))
        await all_told(told, 3)
        while told.steps[-1].at_s + 0.5 > loop.time():  # nothing to do for so long
            await asyncio.sleep(0.05)
        sent_s = loop.time()
        await heard(engine, job(2, 40, 4))
        await all_told(told, 6)
        first, second = told.steps[:4], told.steps[4:]
        assert second[0].at_s >= sent_s
        for steps in (first, second):
            for one, two in itertools.pairwise(steps):
                assert two.at_s == pytest.approx(one.at_s + one.step_s, abs=1e-6)

    with_engine(body)


def test_steps_go_on_after_the_cache_was_emptied() -> None:
    async def body(engine: TransformersEngine, told: StepList) -> None:
        await heard(engine, job(1, 40, 2))
        await engine.reset_cache()
        await heard(engine, job(2, 40, 2))
        await all_told(told, 2)
        assert [step.prefill_tokens for step in told.steps] == [40, 0, 40, 0]

    with_engine(body)


def test_an_engine_whose_steps_overlap_is_refused() -> None:
    from replay.engines.transformers_steps import StepWatch

    class Overlapping:
        use_async_batching = True

    with pytest.raises(EngineFailure, match="batches asynchronously"):
        StepWatch("a", StepList()).wrap(Overlapping())


def test_who_listened_to_an_aborted_job_is_forgotten() -> None:
    async def body(engine: TransformersEngine, _: StepList) -> None:
        stream = engine.submit(job(1, 40, 2000))
        while not isinstance(await anext(stream), Tokens):
            pass
        await stream.aclose()
        assert isinstance((await heard(engine, job(2, 40, 2)))[-1], Finished)
        assert engine._manager.output_router.result_handlers == {}

    with_engine(body)


def test_measured_steps_can_be_fitted_and_the_fit_holds_for_others() -> None:
    """Loose bounds: the machine may be busy, and the attention of this engine is not linear."""
    reach = Reach(batch_tokens=128, max_batch=4, kv_tokens=2048, vocabulary=SHAPE.vocabulary)

    def body(engine: TransformersEngine, told: StepList) -> Coroutine[Any, Any, Any]:
        return measure(engine, told, reach, budget_s=6.0)

    fitted, held_out = split(with_engine(body))
    assert {one.kind for one in held_out} == {"prefill", "prompts", "decode", "mixed"}
    fit = fit_step_time(all_steps(fitted))
    assert fit.step_time.base_s > 0
    assert fit.step_time.prefill_s_per_token > 0
    error = error_of(fit.step_time, all_steps(held_out))
    assert error.median < 0.5
    assert abs(error.bias) < 0.5
