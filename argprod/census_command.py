"""``argprod census``: on real traffic, how often a weighted line would have decided otherwise, and what that costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from argprod import options as opt
from argprod.census_view import show_census
from argprod.json_out import write_json
from argprod.replay_command import check_outputs, settings_of, tell_source
from argprod.source_view import trace_facts_of
from replay.census import RULE
from replay.census_fork import FORK_WEIGHTS, HORIZON_S, SAMPLES
from replay.census_taking import SAMPLES_DOMAIN, checked_weights, take_census
from replay.workloads.knobs import SEED_DOMAIN
from scheduler.domains import TIME_DOMAIN
from scheduler.errors import BadInput

Weights = Annotated[
    str | None,
    typer.Option(
        help="w,w,... to count [token/request]; default: 1 to 65536, and the published two.", show_default=False
    ),
]
ForkWeights = Annotated[str, typer.Option(help="w,w,... to fork at [token/request].")]
Samples = Annotated[int, typer.Option(help="Forks for each of them, at most; 0 for none.")]
HorizonS = Annotated[float, typer.Option("--horizon-s", help="What arrives so soon after a fork is near it [s].")]
#: As the option takes them.
_FORK_WEIGHTS = ",".join(f"{weight:g}" for weight in FORK_WEIGHTS)

Seed = Annotated[int, typer.Option(help="Of the workload, the draws and the samples.")]


def census_command(
    source: opt.Source,
    weights: Weights = None,
    fork_weights: ForkWeights = _FORK_WEIGHTS,
    samples: Samples = SAMPLES,
    horizon_s: HorizonS = HORIZON_S,
    seed: Seed = 0,
    instances: opt.Instances = 16,
    model: opt.ModelName = "Qwen2-7B",
    gpu: opt.GpuName = "H20",
    tensor_parallel: opt.TensorParallel = None,
    rate_scale: opt.RateScale = 1.0,
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
    jobs: opt.Jobs = 1,
    json_out: opt.JsonOut = None,
) -> None:
    """Replay a source under the product; at every decision, ask which weighted lines would have chosen alike."""
    wanted: dict[str, Any] = {
        "weights": None if weights is None else read_weights("--weights", weights),
        "fork_weights": read_weights("--fork-weights", fork_weights),
        "samples": samples,
        "horizon_s": horizon_s,
    }
    SAMPLES_DOMAIN.check("--samples", samples)
    TIME_DOMAIN.check("--horizon-s", horizon_s)
    SEED_DOMAIN.check("--seed", seed)
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
    plan = replace(opt.read_plan((RULE,), 1, cluster, until_s, jobs), seeds=(seed,))
    chosen = opt.SourceOptions(source, format_name, on_bad_line, rate_scale, from_s, to_s, limit, closed_loop)
    check_outputs(None if json_out is not None and str(json_out) == "-" else json_out)
    console = Console(highlight=False, stderr=json_out is not None and str(json_out) == "-")
    requests, info = chosen.load(seed)
    tell_source(console, info, requests, plan)
    columns = (SpinnerColumn(), TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bars:
        task = bars.add_task("replaying", total=len(requests))

        def tell(what: str, done: int, of: int) -> None:
            words = {"run": "replaying", "detector": "asking the detector"}
            bars.update(task, description=words.get(what, "forking"), completed=done, total=of)

        census = take_census(
            requests,
            plan.cluster,
            seed=seed,
            closed_loop=plan.closed_loop,
            until_s=until_s,
            jobs=jobs,
            progress=tell,
            **wanted,
        )
    show_census(console, census)
    if json_out is not None:
        settings = settings_of(chosen, plan, cluster) | wanted
        facts = trace_facts_of(info, requests)
        write_json(json_out, {"trace": facts, "settings": settings, "census": census})
    if census.interrupted:
        console.print(f"interrupted: {len(census.forks)} of {census.forks_wanted} forks kept")
        raise typer.Exit(130)


def read_weights(name: str, text: str) -> tuple[float, ...]:
    """Read ``w,w,...``.

    Args:
        name: of the option.
        text: what was given.

    Raises:
        BadInput: something else than numbers > 0, each once.

    Example:
        >>> read_weights("--weights", "256,16")
        (16.0, 256.0)
    """
    weights = []
    for part in text.split(","):
        try:
            weights.append(float(part))
        except ValueError:
            raise BadInput(name, text, "numbers > 0 with commas between", "for example 16,256") from None
    return checked_weights(name, weights)
