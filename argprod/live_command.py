"""``argprod replay --engine torch|http``: the same replay on real engines; table, JSON, logs, a telling exit code.

Exit code 1 if an engine failed or refused a request, 130 if the user stopped it; what was learned by then is shown and
kept. A request that no cache can hold is rejected before it is sent, and blames no engine.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape

import argprod
from argprod import options as opt
from argprod.json_out import write_json
from argprod.live_options import LiveOptions
from argprod.live_session import Session
from argprod.live_view import cut_told, engines_told, events_told, late_told, remarks, show_live
from argprod.overload import idle_told, overload_told
from argprod.provenance import provenance
from argprod.source_view import source_lines, trace_facts_of
from replay.engines.openai_http import BESIDE
from replay.engines.protocol import Engine
from replay.experiment import Plan, Run
from replay.live_plan import LivePlan
from replay.live_result import LiveResult, LiveRun, told_of
from replay.log_folder import SOURCE
from replay.metrics import TPOT_LIMIT_S, TTFT_BASE_S, TTFT_S_PER_PROMPT_TOKEN
from replay.run import Pace
from replay.run_log import read_log
from replay.sim.cluster import Cluster
from replay.sources import SourceInfo
from scheduler.cost import StepTime
from scheduler.errors import BadInput
from scheduler.state import Request

#: Whose versions matter.
_PACKAGES = {"torch": ("numpy", "torch", "transformers"), "http": ("httpx", "pyzmq")}


def live_and_show(
    chosen: opt.SourceOptions,
    policies: Sequence[str],
    live: LiveOptions,
    step_times: StepTime | None = None,
    json_out: Path | None = None,
    report: Path | None = None,
) -> None:
    """Replay on real engines with a progress bar, then show the table and write what was asked for."""
    console = Console(highlight=False, stderr=json_out is not None and str(json_out) == "-")
    requests, info = chosen.load(0)
    plan = _plan(chosen, policies, live, info, step_times)
    runs = len(list(plan.order()))
    with _folder(live.log) as folder:
        _check_logs(plan, folder)
        session = Session(plan, live, requests, folder, step_times)
        for line in source_lines(info, requests):
            console.print(escape(line), soft_wrap=True)
        console.print(f"runs: {runs}, measured in real time on {escape(engines_told(live))}", soft_wrap=True)
        interrupted = session.run(console)
        cut = session.cut_short()
    by_id = {request.id: request for request in requests}
    whole = [told_of(log, by_id, session.block_tokens) for log in session.logs]
    part = [] if cut is None else [told_of(cut, by_id, session.block_tokens)]
    told = [*whole, *part]
    heard = [*(events_told(ear) for ear in session.ears if session.measured), *session.contradictions]
    if told:  # part of a trace is not compared with the whole of it
        show_live(console, whole or part, live, heard)
        done = [run for run, _ in whole]
        for line in filter(None, (overload_told(done, chosen.rate_scale), idle_told(done, live.instances))):
            console.print(line, soft_wrap=True)
    for _, run in part if whole else ():
        console.print(escape(cut_told(run)), soft_wrap=True)
    settings = {**_settings(chosen, plan, live, session.engines), "interrupted": interrupted}
    try:
        if report is not None and told:
            _report(report, whole or part, live, plan, requests, info, settings, heard)
            console.print(f"report: {escape(str(report))}", soft_wrap=True)
    finally:  # a report that cannot be written costs nothing else
        if json_out is not None and told:
            result = LiveResult(
                trace=trace_facts_of(info, requests),
                settings=settings,
                policies=[run.summary for run, _ in told],
                runs=[run for _, run in told],
            )
            write_json(json_out, result)
    if interrupted:
        console.print(f"interrupted: {len(session.logs)} of {runs} runs are complete")
        raise typer.Exit(130)
    if session.fault is not None:
        if told:
            console.print(f"ended early: {len(session.logs)} of {runs} runs are complete")
        raise session.fault
    if any(lost.blames_an_engine for _, run in told for lost in run.lost):
        raise typer.Exit(1)


def _plan(
    chosen: opt.SourceOptions,
    policies: Sequence[str],
    live: LiveOptions,
    info: SourceInfo,
    step_times: StepTime | None,
) -> LivePlan:
    """What to run; :mod:`replay.log_folder` says which settings make a run another one, and which are noted only."""
    engine = live.engine.settings()
    beside = {name: engine.pop(name) for name in BESIDE if live.engine.name == "http"}
    settings = {
        "argprod": argprod.__version__,
        "step_times": None if step_times is None else asdict(step_times),
        **engine,
        "hears_caches": bool(live.kv_events),
    }
    noted = {
        SOURCE: {**asdict(chosen), "sha256": info.sha256},
        **beside,
        "endpoints": list(live.endpoints),
        "kv_events": list(live.kv_events),
    }
    pace = Pace(closed_loop=True, until_s=live.until_s, patience_s=live.patience_s)
    return LivePlan(
        tuple(policies),
        repeats=live.repeats,
        pace=pace,
        warm_up=live.warm_up,
        settings=settings,
        mitigations=live.mitigations,
        noted=noted,
    )


def _report(
    path: Path,
    told: Sequence[tuple[Run, LiveRun]],
    live: LiveOptions,
    plan: LivePlan,
    requests: Sequence[Request],
    info: SourceInfo,
    settings: dict[str, Any],
    heard: Sequence[str],
) -> None:
    """The same report as of simulated runs, which says that these were measured."""
    from argprod.report import report_input, write_report

    # Of the cluster a report tells only how many instances there are: what they can do is not known, but measured.
    cluster = Cluster((StepTime(0.0, 0.0, 0.0, 0.0),) * live.instances, kv_tokens=1)
    asked = Plan(plan.policies, tuple(range(plan.repeats)), cluster, closed_loop=True, mitigations=plan.mitigations)
    live_runs = [run for _, run in told]
    given = report_input(
        [run for run, _ in told],
        asked,
        info,
        requests,
        settings,
        date=dt.datetime.now(tz=dt.UTC).date().isoformat(),
        command=shlex.join(["argprod", *sys.argv[1:]]),
        measured_on=engines_told(live),
        remarks=[*remarks(live_runs, kept=True, late=False), *heard],
        warnings=late_told(live_runs),
        cut_short=sum(not run.complete for run in live_runs),
    )
    write_report(path, given)


@contextlib.contextmanager
def _folder(log: Path | None) -> Iterator[Path]:
    """Where the logs go, for good or for the time of the command."""
    if log is None:
        with tempfile.TemporaryDirectory(prefix="argprod-") as folder:
            yield Path(folder)
        return
    try:
        log.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise BadInput("--log", str(log), "a folder that can be made", fault.strerror or "") from None
    yield log


def _check_logs(plan: LivePlan, folder: Path) -> None:
    """A file in the place of a log that is none is told before anything starts."""
    for turn in plan.order():
        if turn.path(folder).exists():
            read_log(turn.path(folder))


def _engine_told(live: LiveOptions, engines: Sequence[Engine]) -> dict[str, Any]:
    """The engine's parameters, in place of defaults what the engines said of themselves, and their versions."""
    facts = {"block_tokens": _agreed({engine.name: engine.block_tokens for engine in engines})}
    facts["kv_blocks"] = _agreed({engine.name: engine.kv_blocks for engine in engines})
    facts["about"] = _agreed({engine.name: engine.about for engine in engines})
    models = {engine.name: engine.about["model"] for engine in engines if "model" in engine.about}
    return {**live.engine.settings(), **({"model": _agreed(models)} if models else {}), **facts}


def _agreed(told: Mapping[str, Any]) -> Any:
    """What all engines say; by name where they do not agree."""
    first = next(iter(told.values()))
    return first if all(each == first for each in told.values()) else dict(told)


def _settings(
    chosen: opt.SourceOptions, plan: LivePlan, live: LiveOptions, engines: Sequence[Engine]
) -> dict[str, Any]:
    """Everything needed to repeat the runs."""
    pace = asdict(plan.pace)
    del pace["closed_loop"]  # it follows the links of the source, of which the source says whether there are any
    return {
        "argprod": argprod.__version__,
        "simulated": False,
        "source": asdict(chosen),
        "engine": _engine_told(live, engines),
        "instances": live.instances,
        "endpoints": list(live.endpoints),
        "kv_events": list(live.kv_events),
        "repeats": plan.repeats,
        "warm_up": plan.warm_up,
        "pace": pace,
        "mitigations": list(plan.mitigations),
        "log": None if live.log is None else str(live.log),
        "step_times": plan.settings["step_times"],
        "provenance": msgspec.to_builtins(provenance(_PACKAGES[live.engine.name])),
        "objective": {
            "ttft_base_s": TTFT_BASE_S,
            "ttft_s_per_prompt_token": TTFT_S_PER_PROMPT_TOKEN,
            "tpot_s": TPOT_LIMIT_S,
        },
    }
