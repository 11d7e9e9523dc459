"""Step times of an engine alone, and of engines that share what they run on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.gpu_shapes import reach_of
from replay.calibration.fit import error_of, fit_step_time
from replay.calibration.rounds import Round, all_steps, split
from replay.calibration.step_log import EngineFacts, Header, StepLogWriter
from replay.calibration.sweep import StepList, measure
from replay.engines.protocol import Engine
from replay.engines.transformers_cb import Shape
from scheduler.cost import StepTime


async def measured_alone(
    engine: Engine, told: StepList, shape: Shape, budget_s: float, seed: int, folder: Path
) -> list[Round]:
    """Steps of one engine; they are logged as they come.

    Args:
        engine: ready.
        told: of its steps.
        shape: of the engine.
        budget_s: how long [s].
        seed: of sizes and prompts.
        folder: for the log, named after the engine.
    """
    facts = EngineFacts(
        name="torch",
        settings=msgspec.to_builtins(shape),
        block_tokens=shape.block_tokens,
        kv_blocks=shape.kv_blocks,
        batch_tokens=shape.batch_tokens,
        max_batch=shape.max_batch,
    )
    folder.mkdir(parents=True, exist_ok=True)
    told.take()
    with (folder / f"steps-{engine.name}.jsonl").open("wb") as file:
        writer = StepLogWriter(file, Header(engine=facts))
        return await measure(
            engine, told, reach_of(shape), budget_s=budget_s, seed=seed, heard=lambda one, _: writer.round(one)
        )


async def measured_together(
    engines: Sequence[Engine],
    told: Sequence[StepList],
    shape: Shape,
    budget_s: float,
    seed: int,
    folder: Path,
    alone: StepTime,
) -> tuple[list[Round], float]:
    """Steps of all engines at once, each in rounds of its own order, and how many times longer they took than alone.

    Args:
        engines, told, shape, budget_s, seed, folder: see :func:`measured_alone`.
        alone: step time of one alone.
    """
    measured = await asyncio.gather(
        *(
            measured_alone(engine, each, shape, budget_s, seed + 1 + place, folder / "together")
            for place, (engine, each) in enumerate(zip(engines, told, strict=True))
        ),
        return_exceptions=True,  # so that none still runs when this is over
    )
    rounds: list[Round] = []
    for some in measured:
        if isinstance(some, BaseException):
            raise some
        rounds += some
    return rounds, 1.0 / (1.0 + error_of(alone, all_steps(rounds)).bias)


def fitted(rounds: Sequence[Round], seed: int) -> tuple[StepTime, dict[str, Any]]:
    """The fit, and what is told of it; its error is that on rounds which it has not seen.

    Args:
        rounds: that were measured.
        seed: of the draw of those that are held out.
    """
    seen, held_out = split(rounds, seed)
    fit = fit_step_time(all_steps(seen))
    return fit.step_time, {
        "fit": msgspec.to_builtins(fit),
        "rounds": {"fitted": len(seen), "held_out": len(held_out)},
        "held_out_error": msgspec.to_builtins(error_of(fit.step_time, all_steps(held_out))),
    }
