"""``argprod calibrate``: measure the steps of an engine, fit step times, say how well they hold, write them down.

Exit code 1 if the engine failed, 130 if the user stopped it; what was measured by then is fitted, shown and kept.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from argprod import options as opt
from argprod.calibrate_view import show_calibration
from argprod.json_out import write_json
from argprod.provenance import provenance
from argprod.replay_command import check_outputs
from replay.calibration.file import Calibration, as_json, calibrate
from replay.calibration.plan import Reach
from replay.calibration.rounds import Round
from replay.calibration.step_log import EngineFacts, Header, StepLog, StepLogWriter, read_step_log
from replay.calibration.sweep import StepList, measure
from replay.engines.catalogue import EngineChoice, read_engine, torch_engine
from replay.engines.protocol import Engine
from replay.engines.torch_here import check_device, check_libraries
from scheduler.domains import Domain
from scheduler.errors import BadInput, EngineFailure

EngineText = Annotated[
    str | None,
    typer.Option("--engine", help="Measure this one: torch[:param=value,...].", show_default=False),
]
Out = Annotated[Path, typer.Option("--out", help="The calibration file to write.", show_default=False)]
StepsIn = Annotated[
    Path | None, typer.Option("--steps", help="Fit this log of steps; nothing is measured.", show_default=False)
]
SaveSteps = Annotated[
    Path | None, typer.Option("--save-steps", help="Write the log of measured steps here.", show_default=False)
]
Minutes = Annotated[float, typer.Option(help="How long to measure [min].")]
Seed = Annotated[int, typer.Option(help="Of the plan of measurement, and of which rounds are held out.")]

_MINUTES = Domain(0, 24 * 60, unit="min", low_open=True)
_PACKAGES = ("numpy", "torch", "transformers")


def calibrate_command(
    out: Out,
    engine: EngineText = None,
    steps: StepsIn = None,
    minutes: Minutes = 2.0,
    seed: Seed = 0,
    save_steps: SaveSteps = None,
    json_out: opt.JsonOut = None,
) -> None:
    """Measure the steps of an engine, or read a log of them, and fit the step times that the simulator takes."""
    if (engine is None) == (steps is None):
        given = "neither" if engine is None else "both"
        raise BadInput("--engine, --steps", given, "one of them", "--engine torch measures, --steps FILE reads")
    if steps is not None and save_steps is not None:
        raise BadInput("--save-steps", str(save_steps), "to be left out beside --steps", "there the steps are")
    _MINUTES.check("--minutes", minutes)
    to_stdout = json_out is not None and str(json_out) == "-"
    check_outputs(out, save_steps, None if to_stdout else json_out)
    console = Console(highlight=False, stderr=to_stdout)
    if steps is not None:
        log, interrupted, fault = _read(steps), False, None
    else:
        assert engine is not None
        log, interrupted, fault = _measured(console, read_engine(engine), minutes, seed, save_steps)
    calibration = _fitted(log, seed, interrupted or fault is not None)
    if calibration is not None:
        _write(out, calibration)
        show_calibration(console, calibration)
        console.print(f"calibration: {out}", soft_wrap=True, markup=False)
        if json_out is not None:
            write_json(json_out, calibration)
    if interrupted:
        kept = "too few steps to fit" if calibration is None else f"{len(log.rounds)} rounds kept"
        console.print(f"interrupted: {kept}")
        raise typer.Exit(130)
    if fault is not None:
        raise fault


def _read(path: Path) -> StepLog:
    try:
        return read_step_log(path)
    except OSError as fault:
        raise BadInput("--steps", str(path), "a file that can be read", fault.strerror or "") from None


def _fitted(log: StepLog, seed: int, interrupted: bool) -> Calibration | None:
    """None where it ended early, before there was enough to fit."""
    try:
        return calibrate(log, seed)
    except BadInput:
        if interrupted:
            return None
        raise


def _write(path: Path, calibration: Calibration) -> None:
    try:
        path.write_bytes(as_json(calibration))
    except OSError as fault:
        raise BadInput("--out", str(path), "a file that can be written", fault.strerror or "") from None


def engine_of(choice: EngineChoice, told: StepList) -> Engine:
    """The engine, not started, which tells its steps to the list.

    Raises:
        BadInput: where what it needs is not here.
    """
    check_libraries()
    check_device(choice.options.device)
    return torch_engine("0", choice.options, processes=choice.processes, step_sink=told)


def _measured(
    console: Console, choice: EngineChoice, minutes: float, seed: int, save_steps: Path | None
) -> tuple[StepLog, bool, EngineFailure | None]:
    """Measure with a progress bar; the log, whether the user stopped it, and what broke."""
    if choice.name != "torch":
        raise BadInput("--engine", choice.name, "an engine that tells its steps: torch")
    choice = choice.settled(1)
    told, shape = StepList(), choice.options
    facts = EngineFacts(
        name=choice.name,
        settings=choice.settings(),
        block_tokens=shape.block_tokens,
        kv_blocks=shape.kv_blocks,
        batch_tokens=shape.batch_tokens,
        max_batch=shape.max_batch,
    )
    reach = Reach(
        batch_tokens=shape.batch_tokens,
        max_batch=shape.max_batch,
        kv_tokens=shape.kv_blocks * shape.block_tokens,
        context_tokens=shape.context,
        block_tokens=shape.block_tokens,
        vocabulary=shape.vocabulary,
    ).checked()
    engine = engine_of(choice, told)
    rounds: list[Round] = []
    console.print(f"measuring {choice.describe()} for {minutes:g} min", soft_wrap=True, markup=False)
    columns = (SpinnerColumn(), TextColumn("{task.description:<28}"), BarColumn())
    with contextlib.ExitStack() as stack:
        save = stack.enter_context(_saving(save_steps, facts))
        bars = stack.enter_context(Progress(*columns, TimeElapsedColumn(), console=console, transient=True))
        task = bars.add_task("starting the engine", total=60 * minutes)

        def heard(one: Round, at_s: float) -> None:
            rounds.append(one)
            save(one)
            steps = sum(len(each.steps) for each in rounds)
            bars.update(task, completed=at_s, description=f"{one.kind}: {steps} steps so far")

        async def main() -> None:
            try:
                await engine.start()
                bars.update(task, description="warming up")
                await measure(engine, told, reach, budget_s=60 * minutes, seed=seed, heard=heard)
            finally:
                await engine.close()

        interrupted, fault = False, None
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            interrupted = True
        except EngineFailure as failure:
            fault = failure
    header = Header(engine=facts, provenance=provenance(_PACKAGES))
    return StepLog(header=header, rounds=rounds), interrupted, fault


@contextlib.contextmanager
def _saving(path: Path | None, facts: EngineFacts) -> Iterator[Callable[[Round], None]]:
    """What takes each round when it is over, into a file if there is one."""
    if path is None:
        yield lambda _: None
        return
    try:
        file = path.open("wb")
    except OSError as fault:
        raise BadInput("--save-steps", str(path), "a file that can be written", fault.strerror or "") from None
    with file:
        writer: list[StepLogWriter] = []

        def save(one: Round) -> None:
            if not writer:  # by now the engine runs, and the machine can be told
                writer.append(StepLogWriter(file, Header(engine=facts, provenance=provenance(_PACKAGES))))
            writer[0].round(one)

        yield save
