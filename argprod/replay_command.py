"""``argprod replay``: a trace or a workload under several policies; table, JSON, report."""

from __future__ import annotations

import datetime as dt
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

import argprod
from argprod import live_options as lopt
from argprod import options as opt
from argprod.json_out import write_json
from argprod.overload import idle_told, overload_told
from argprod.reasons import alike
from argprod.source_view import source_lines, trace_facts_of
from argprod.tables import legend, replay_table
from argprod.watch_table import watch_table
from replay.experiment import Plan, ReplayResult, Run, disagreement_of, label_of, run_all
from replay.metrics import TPOT_LIMIT_S, TTFT_BASE_S, TTFT_S_PER_PROMPT_TOKEN
from replay.sources import SourceInfo
from scheduler.errors import BadInput
from scheduler.policies.catalogue import policy as read_policy
from scheduler.state import Request

#: What ``replay`` compares when no policy is named.
DEFAULT_POLICIES = ("lmetric", "join_shortest_queue", "bailian", "dynamo")
#: Options that the title of a table says in its own words.
_IN_TITLE = ("instances", "model", "gpu", "text", "calibration")


def replay_command(
    ctx: typer.Context,
    source: opt.Source,
    policy: opt.Policies = None,
    instances: opt.Instances = 16,
    model: opt.ModelName = "Qwen2-7B",
    gpu: opt.GpuName = "H20",
    tensor_parallel: opt.TensorParallel = None,
    rate_scale: opt.RateScale = 1.0,
    seeds: opt.Seeds = 1,
    level: opt.LevelName = "proxy",
    delay_s: opt.DelayS = 0.0,
    speeds: opt.Speeds = None,
    kv_tokens: opt.KvTokens = None,
    batch_tokens: opt.BatchTokens = 4096,
    max_batch: opt.MaxBatch = 256,
    context_limit: opt.ContextLimit = None,
    calibration: opt.CalibrationFile = None,
    until_s: opt.UntilS = None,
    mitigation: opt.Mitigations = None,
    routers: opt.Routers = 1,
    sync_s: opt.SyncS = 0.0,
    findings: opt.Findings = False,
    format_name: opt.FormatName = None,
    on_bad_line: opt.OnBadLine = "fail",
    from_s: opt.FromS = 0.0,
    to_s: opt.ToS = None,
    limit: opt.Limit = None,
    closed_loop: opt.ClosedLoop = None,
    jobs: opt.Jobs = 1,
    json_out: opt.JsonOut = None,
    report: opt.ReportOut = None,
    engine: lopt.EngineText = lopt.SIMULATED,
    endpoint: lopt.Endpoints = None,
    kv_events: lopt.KvEvents = None,
    repeats: lopt.Repeats = 1,
    log: lopt.LogFolder = None,
    patience_s: lopt.PatienceS = 60.0,
    warm_up: lopt.WarmUp = 2,
) -> None:
    """Replay a trace or a generated workload under several routing rules, simulated or on real engines.

    Exit code 1 if a real engine lost, refused or cut short a request; requests that fit no cache are rejected and told.
    """
    policies = tuple(policy or DEFAULT_POLICIES)
    for text in policies:
        read_policy(text)
    lopt.check_kind(ctx, engine, calibrated=calibration is not None)
    chosen = opt.SourceOptions(source, format_name, on_bad_line, rate_scale, from_s, to_s, limit, closed_loop)
    if engine != lopt.SIMULATED:
        from argprod.live_command import live_and_show

        count = lopt.default_instances(ctx, instances, engine, endpoint or ())
        live = lopt.LiveOptions(
            lopt.read_live(engine, count),
            count,
            tuple(endpoint or ()),
            tuple(kv_events or ()),
            repeats,
            patience_s,
            warm_up,
            until_s,
            log,
            tuple(mitigation or ("none",)),
            findings,
        )
        check_outputs(None if json_out is not None and str(json_out) == "-" else json_out, report)
        step_times = None if calibration is None else opt.calibration_of(calibration).step_time
        live_and_show(chosen, policies, live, step_times, json_out=json_out, report=report)
        return
    cluster = opt.ClusterOptions(
        instances,
        model,
        gpu,
        tensor_parallel,
        speeds,
        kv_tokens,
        batch_tokens,
        max_batch,
        level,
        delay_s,
        context_limit,
        None if calibration is None else str(calibration),
    )
    router = opt.RouterOptions(tuple(mitigation or ("none",)), routers, sync_s, findings)
    plan = opt.read_plan(policies, seeds, cluster, until_s, jobs, watched=report is not None, router=router)
    check_outputs(None if json_out is not None and str(json_out) == "-" else json_out, report)
    replay_and_show(chosen, plan, cluster, router, jobs=jobs, json_out=json_out, report=report)


def check_outputs(*paths: Path | None) -> None:
    """Find out before the work, not after it, that a result cannot be written."""
    for path in paths:
        if path is None:
            continue
        if str(path) == "-":
            raise BadInput("output", "-", "a file: a report is not for the terminal")
        if path.is_dir():
            raise BadInput("output", str(path), "a file, not a folder")
        if not path.parent.is_dir():
            raise BadInput("output", str(path), "a file in a folder that exists")


def replay_and_show(
    chosen: opt.SourceOptions,
    plan: Plan,
    cluster: opt.ClusterOptions,
    router: opt.RouterOptions | None = None,
    *,
    jobs: int = 1,
    json_out: Path | None = None,
    report: Path | None = None,
) -> None:
    """Run a plan with a progress bar, then show the table and write what was asked for.

    Interrupted by the user, it keeps and shows what is done, then exits with 130.
    """
    console = Console(highlight=False, stderr=json_out is not None and str(json_out) == "-")
    requests, info = chosen.load(plan.seeds[0])
    tell_source(console, info, requests, plan)
    requests_of = opt.LoadedSource(chosen, plan.seeds[0], requests, same=info.kind == "trace")
    started = time.perf_counter()
    runs, interrupted = _run_with_progress(console, plan, requests_of, requests, jobs)
    if runs:
        wall_s = time.perf_counter() - started
        console.print(replay_table(runs, title_of(chosen, cluster), console.width))
        console.print(legend("Simulated", "the seeds" if len(plan.seeds) > 1 else ""))
        watch = watch_table(runs)
        if watch is not None:
            console.print(watch)
        tell_lost(console, runs)
        for told in filter(None, (overload_told(runs, chosen.rate_scale), idle_told(runs, len(plan.cluster)))):
            console.print(told, soft_wrap=True)
        console.print(f"{sum(run.summary.requests for run in runs)} requests in {wall_s:.1f} s of wall time")
    settings = settings_of(chosen, plan, cluster, router)
    settings["interrupted"] = interrupted
    if report is not None and runs:  # before the JSON, so that a disk that is full loses one of them at most
        from argprod.report import report_input, write_report

        write_report(
            report,
            report_input(
                runs,
                plan,
                info,
                requests,
                settings,
                disagreement=disagreement_of(runs, plan) if any(run.disagreement for run in runs) else None,
                date=dt.datetime.now(tz=dt.UTC).date().isoformat(),
                command=shlex.join(["argprod", *sys.argv[1:]]),
            ),
        )
        console.print(f"report: {escape(str(report))}", soft_wrap=True)
    if json_out is not None and runs:
        facts = trace_facts_of(info, requests)
        write_json(json_out, ReplayResult(trace=facts, settings=settings, policies=[run.summary for run in runs]))
    if interrupted:
        console.print(
            f"interrupted: {len(runs)} of {len(plan.policies) * len(plan.mitigations) * len(plan.seeds)} runs kept"
        )
        raise typer.Exit(130)


def title_of(chosen: opt.SourceOptions, cluster: opt.ClusterOptions) -> str:
    """The set-up in one line: what is always said, and what differs from the defaults."""
    kind = f"{cluster.model} on {cluster.gpu}"
    if cluster.calibration is not None:
        kind = f"the engine of {cluster.calibration}"
    words = [f"simulated: {cluster.instances} x {kind}"]
    for given, default in ((cluster, opt.ClusterOptions()), (chosen, opt.SourceOptions(chosen.text))):
        for field in fields(given):
            value = getattr(given, field.name)
            if value != getattr(default, field.name) and field.name not in _IN_TITLE:
                words.append(f"{field.name} {value}")
    return escape(", ".join(words))


def tell_lost(console: Console, runs: Sequence[Run]) -> None:
    """Why requests were lost, one line a reason."""
    reasons = [sim.reason for run in runs for sim in run.record.sims if sim.reason]
    for reason, found in alike(reasons, str)[:3]:
        console.print(f"lost: {len(found):,} times {escape(reason)}", soft_wrap=True)
    absent = sum(run.summary.not_arrived for run in runs)
    if absent:
        console.print(f"not arrived by the cut-off, and not counted: {absent}")


def tell_source(console: Console, info: SourceInfo, requests: Sequence[Request], plan: Plan) -> None:
    """A few lines about what will be replayed."""
    for line in source_lines(info, requests):
        console.print(escape(line), soft_wrap=True)
    if info.kind == "trace" and len(plan.seeds) > 1:
        console.print("A trace is the same for every seed: seeds change only draws and random ties.")
    mitigations = len(plan.mitigations)
    parts = [f"policies: {len(plan.policies)}", f"seeds: {len(plan.seeds)}"]
    if mitigations > 1:
        parts.insert(1, f"mitigations: {mitigations}")
    console.print(
        f"runs: {len(plan.policies) * mitigations * len(plan.seeds)} ({', '.join(parts)}), "
        f"instances: {len(plan.cluster)}, "
        f"what the router sees: {plan.cluster.level.value}"
    )


def _run_with_progress(
    console: Console, plan: Plan, requests_of: Any, first: Sequence[Request], jobs: int
) -> tuple[list[Run], bool]:
    runs: list[Run] = []
    names = [
        label_of(read_policy(text), mitigation)
        for _ in plan.seeds
        for text in plan.policies
        for mitigation in plan.mitigations
    ]
    columns = (SpinnerColumn(), TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bars:
        task = bars.add_task("replaying", total=len(first) * len(names))

        def tell(number: int, done: int) -> None:
            bars.update(task, description=names[number], completed=number * len(first) + done)

        try:
            for run in run_all(requests_of, plan, jobs=jobs, progress=tell):
                runs.append(run)  # noqa: PERF402 - what is done must survive an interrupt
        except KeyboardInterrupt:
            return runs, True
    return runs, False


def settings_of(
    chosen: opt.SourceOptions, plan: Plan, cluster: opt.ClusterOptions, router: opt.RouterOptions | None = None
) -> dict[str, Any]:
    """Everything needed to repeat the run."""
    return {
        "argprod": argprod.__version__,
        "simulated": True,
        "source": asdict(chosen),
        "cluster": opt.told_cluster(cluster),
        "kv_tokens": plan.cluster.kv_tokens,
        "step_time": asdict(plan.cluster.step_times[0]),
        "seeds": list(plan.seeds),
        "until_s": plan.until_s,
        "router": asdict(router or opt.RouterOptions()),
        "objective": {
            "ttft_base_s": TTFT_BASE_S,
            "ttft_s_per_prompt_token": TTFT_S_PER_PROMPT_TOKEN,
            "tpot_s": TPOT_LIMIT_S,
        },
    }
