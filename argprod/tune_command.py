"""``argprod tune``: a rule at its best on a workload, the curve of every knob, and what its defaults cost there."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from argprod import options as opt
from argprod.json_out import write_json
from argprod.replay_command import check_outputs, settings_of, tell_source
from argprod.source_view import trace_facts_of
from argprod.tables import number
from replay.experiment import Plan
from replay.sweep_axes import axes_of, numbers_of
from replay.tune import TuneResult, objective_named, tune, untuned
from replay.tune_search import Point, policy_text
from scheduler.errors import BadInput
from scheduler.policies.catalogue import policy as read_policy
from scheduler.policies.rule import Policy

TunedPolicies = Annotated[
    list[str],
    typer.Option("--policy", "-p", help="NAME[:knob=value,...]; knobs given here stay. May be given again."),
]
KnobValues = Annotated[
    list[str] | None,
    typer.Option(
        "--knob", "-k", help="knob, or knob=value,value,...; default: all, published sweeps.", show_default=False
    ),
]
ObjectiveName = Annotated[
    str,
    typer.Option(
        help="ttft_mean, ttft_p99, tpot_mean, tpot_p99, e2e_mean, e2e_p99, ttft_tpot (geometric mean) or goodput."
    ),
]
#: The rule that stands beside the tuned ones.
PRODUCT = "lmetric"
#: Length of the longest bar; the table fits 80 columns with the longest knob names.
_BAR = 18


def tune_command(
    source: opt.Source,
    policy: TunedPolicies,
    knob: KnobValues = None,
    objective: ObjectiveName = "ttft_mean",
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
    until_s: opt.UntilS = None,
    format_name: opt.FormatName = None,
    on_bad_line: opt.OnBadLine = "fail",
    from_s: opt.FromS = 0.0,
    to_s: opt.ToS = None,
    limit: opt.Limit = None,
    closed_loop: opt.ClosedLoop = None,
    jobs: opt.JobsByCore = None,
    json_out: opt.JsonOut = None,
) -> None:
    """Sweep the knobs of routing rules on a workload: the best setting, the curves, the regret of the defaults."""
    jobs = (os.cpu_count() or 1) if jobs is None else jobs
    knobs, values = read_knobs(knob or [])
    objective_named(objective)
    for text in policy:
        axes_of(text, knobs, values)  # a mistake in the last policy is told before the first is tuned
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
    )
    plan = opt.read_plan(tuple(policy), seeds, cluster, until_s, jobs)
    chosen = opt.SourceOptions(source, format_name, on_bad_line, rate_scale, from_s, to_s, limit, closed_loop)
    check_outputs(None if json_out is not None and str(json_out) == "-" else json_out)
    tune_and_show(chosen, plan, cluster, knobs=knobs, values=values, objective=objective, jobs=jobs, json_out=json_out)


def read_knobs(texts: Sequence[str]) -> tuple[list[str] | None, dict[str, list[str]]]:
    """Read ``knob`` and ``knob=value,value,...``: names to sweep (None for all), and values for some of them.

    Raises:
        BadInput: an empty name or list, or a knob twice.

    Example:
        >>> read_knobs(["alpha=0.1,0.5", "beta"]), read_knobs([])
        ((['alpha', 'beta'], {'alpha': ['0.1', '0.5']}), (None, {}))
    """
    names: list[str] = []
    values: dict[str, list[str]] = {}
    for text in texts:
        name, equals, listed = text.partition("=")
        words = listed.split(",") if equals else []
        if not name or (equals and not all(words)):
            raise BadInput("--knob", text, "knob or knob=value,value,...")
        if name in names:
            raise BadInput("--knob", text, "each knob once")
        names.append(name)
        if words:
            values[name] = words
    return names or None, values


def tune_and_show(
    chosen: opt.SourceOptions,
    plan: Plan,
    cluster: opt.ClusterOptions,
    *,
    knobs: Sequence[str] | None,
    values: Mapping[str, Sequence[Any]],
    objective: str,
    jobs: int = 1,
    json_out: Path | None = None,
) -> None:
    """Tune every policy of a plan with a progress bar and show what was found.

    Interrupted by the user, it keeps and shows the policies that are done, then exits with 130.
    """
    console = Console(highlight=False, stderr=json_out is not None and str(json_out) == "-")
    requests, info = chosen.load(plan.seeds[0])
    tell_source(console, info, requests, plan)
    requests_of = opt.LoadedSource(chosen, plan.seeds[0], requests, same=info.kind == "trace")
    results: list[TuneResult] = []
    once = replace(plan, policies=(), records=False)
    product: Point | None = None
    interrupted = False
    columns = (SpinnerColumn(), TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bars:
        try:
            task = bars.add_task(PRODUCT, total=None)
            product = untuned(PRODUCT, requests_of, once, objective=objective, jobs=jobs)
            bars.update(task, completed=len(once.seeds), total=len(once.seeds))
            for text in plan.policies:
                task = bars.add_task(text, total=None)
                told = functools.partial(_told, bars, task)
                found = tune(
                    text, requests_of, once, knobs=knobs, values=values, objective=objective, jobs=jobs, progress=told
                )
                results.append(found)
        except KeyboardInterrupt:
            interrupted = True
    for result in results:
        _show(console, result)
    if product is not None and results:
        console.print(best_table(results, product))
        console.print("Regret is in-sample: tuned and judged on the same requests; on others it may be less.")
        console.print("All numbers are simulated.")
    if json_out is not None and product is not None and results:
        settings = settings_of(chosen, plan, cluster)
        tuned = [_as_json(result) for result in results]
        facts = {"trace": trace_facts_of(info, requests), "settings": settings}
        write_json(json_out, {**facts, "tuned": tuned, "product": _point(product)})
    if interrupted:
        console.print(f"interrupted: {len(results)} of {len(plan.policies)} policies kept")
        raise typer.Exit(130)


def _told(bars: Progress, task: TaskID, done: int, known: int) -> None:
    bars.update(task, completed=done, total=known)


def _show(console: Console, result: TuneResult) -> None:
    console.print(curve_table(result))
    best, default = result.best, result.default
    where = "best along every knob" if len(result.curves) > 2 else "best of all that was tried"
    if not result.settled:
        where = "best so far: the search was stopped before it settled"
    console.print(
        f"best: {best.policy}  {_value(result, best)} ({where}, {_counted(len(result.points), 'setting')})",
        soft_wrap=True,
    )
    console.print(
        f"default: {default.policy}  {_value(result, default)}  regret {_percent(result.regret)}", soft_wrap=True
    )
    for name in result.open_ends:
        tried = numbers_of([point.values[name] for point in result.curves[name]])
        advice = f"more may be better: -p {_without(best.policy, name)} --knob {name}=VALUE,VALUE"
        told = f"{name}: the best is at an end of what was tried, {tried[0]} to {tried[-1]}; {advice}"
        console.print(told, soft_wrap=True)
    console.print()


def _without(text: str, knob: str) -> str:
    """A policy with one knob left unsaid, so that it can be swept while the others stay."""
    setting = read_policy(text)
    default = next(each.default for each in setting.rule.all_knobs() if each.name == knob)
    return policy_text(Policy(setting.rule, {**setting.values, knob: default}))


def curve_table(result: TuneResult) -> Table:
    """One row a value of each knob, the other knobs at their best; bars are relative to the largest value."""
    title = escape(f"{result.rule}: {result.objective.label}, other knobs at their best")
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("knob", no_wrap=True)
    table.add_column("value", justify="right")
    table.add_column(escape(f"{result.objective.title}\n[{result.objective.unit}]"), justify="right", no_wrap=True)
    table.add_column("lost", justify="right")
    table.add_column("", no_wrap=True)
    table.add_column("")
    for name, curve in result.curves.items():
        known = [point.objective for point in curve if point.objective is not None]
        most = max(known, default=0.0)
        for index, point in enumerate(curve):
            value = point.values[name]
            marks = ["best"] if point is result.best else []
            if value == result.default.values[name]:
                marks.append("default")
            length = round(_BAR * point.objective / most) if point.objective is not None and most > 0 else 0
            table.add_row(
                name if index == 0 else "",
                "none" if value is None else str(value),
                number(result.objective.scaled(point.objective)),
                str(sum(summary.rejected + summary.failed for summary in point.summaries)),
                "█" * max(length, 1 if point.objective else 0),
                ", ".join(marks),
                end_section=index == len(curve) - 1,
                style="bold" if point is result.best else None,
            )
    return table


def best_table(results: Sequence[TuneResult], product: Point) -> Table:
    """Every rule at its best and the product, which has nothing to tune, the best rule first."""
    objective = results[0].objective
    table = Table(
        title=escape(f"at their best: {objective.label}"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("policy", overflow="fold")
    for heading in (f"best [{objective.unit}]", f"default [{objective.unit}]", "regret [%]"):
        table.add_column(escape(heading), justify="right", no_wrap=True)
    rows = [(result.best, result.default, result.regret) for result in results]
    if all(result.rule != product.policy for result in results):
        rows.append((product, product, None))
    sign = -1 if objective.more else 1
    # Whoever has no value comes last.
    for best, default, lost in sorted(rows, key=lambda row: (row[0].objective is None, sign * (row[0].objective or 0))):
        table.add_row(
            best.policy,
            number(objective.scaled(best.objective)),
            number(objective.scaled(default.objective)),
            "-" if lost is None else number(100 * lost),
        )
    return table


def _value(result: TuneResult, point: Point) -> str:
    objective = result.objective
    return f"{objective.title} {number(objective.scaled(point.objective))} {objective.unit}"


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{number(100 * share)}%"


def _point(point: Point) -> dict[str, Any]:
    return {"policy": point.policy, "values": dict(point.values), "objective": point.objective}


def _as_json(result: TuneResult) -> dict[str, Any]:
    return {
        "rule": result.rule,
        "objective": result.objective.name,
        "more_is_better": result.objective.more,
        "best": _point(result.best),
        "default": _point(result.default),
        "regret": result.regret,
        "settled": result.settled,
        "open_ends": list(result.open_ends),
        "curves": {name: [_point(each) for each in curve] for name, curve in result.curves.items()},
        "points": [{**_point(each), "summaries": each.summaries} for each in result.points],
    }
