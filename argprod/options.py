"""Options that several commands share, and how they become a source and a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from replay.calibration.file import Calibration, read_calibration
from replay.experiment import Plan
from replay.sim.cluster import Cluster, roofline_cluster
from replay.sim.cost_model import GPUS, MODELS
from replay.sim.router_decider import Routing
from replay.sources import SourceInfo, open_source
from replay.traces import FORMATS
from scheduler.accounting import Level
from scheduler.domains import TIME_DOMAIN, Domain
from scheduler.errors import BadInput, unknown_name
from scheduler.mitigation import read_mode
from scheduler.policies.catalogue import policy as read_policy
from scheduler.state import Request

Source = Annotated[str, typer.Argument(help="A trace file, or workload:NAME[:param=value,...].", show_default=False)]
Policies = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        "-p",
        help="NAME[:knob=value,...]; may be given again. Default: lmetric, join_shortest_queue, bailian, dynamo.",
        show_default=False,
    ),
]
Instances = Annotated[int, typer.Option(help="Number of instances; of real engines 2 unless given.")]
ModelName = Annotated[str, typer.Option("--model", help=f"Model of the cost model: {', '.join(MODELS)}.")]
GpuName = Annotated[str, typer.Option("--gpu", help=f"GPU of the cost model: {', '.join(GPUS)}.")]
TensorParallel = Annotated[int | None, typer.Option(help="GPUs of one instance; default: by model.")]
RateScale = Annotated[float, typer.Option(help="Divide the time between arrivals by this.")]
Seeds = Annotated[int, typer.Option(help="How many seeds, from 0.")]
LevelName = Annotated[str, typer.Option("--level", help="What the router sees: proxy, events or per_step.")]
DelayS = Annotated[float, typer.Option("--delay-s", help="How old what the router sees is [s].")]
Speeds = Annotated[
    str | None, typer.Option(help="Relative speeds of the instances, e.g. 1,1,0.5; repeated.", show_default=False)
]
KvTokens = Annotated[int | None, typer.Option(help="KV capacity of an instance [token]; default: what the GPU holds.")]
BatchTokens = Annotated[int, typer.Option(help="Tokens one step may process (chunked prefill).")]
MaxBatch = Annotated[int, typer.Option(help="Requests an instance admits at once.")]
CalibrationFile = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        help="Simulate the engine of this file (argprod calibrate --out) in place of a model and a GPU; with real "
        "engines: the step times for rules that read them.",
        show_default=False,
    ),
]
ContextLimit = Annotated[int | None, typer.Option(help="Reject requests longer than this [token].")]
UntilS = Annotated[float | None, typer.Option("--until-s", help="Cut the run off at this time [s].")]
Mitigations = Annotated[
    list[str] | None,
    typer.Option(
        "--mitigation",
        help="What the router does about findings; may be given again, each policy runs with each. none: nothing. "
        "filter: sends a confirmed hot class off its holders while that does not raise the largest batch. replicate: "
        "gives it the copies that its share asks for. offset: decides by least harm, decode counted, whatever is "
        "found. probe_cold: gives a starved instance its fair share. auto: floors collapsed scores, avoids silent "
        "instances, replicates, probes who starves by more than chance. With one of these the detector looks at the "
        "runs with none, too. Default: none, the rule alone.",
        show_default=False,
    ),
]
Routers = Annotated[int, typer.Option(help="Routers that share the cluster; requests go to them in turn.")]
SyncS = Annotated[float, typer.Option("--sync-s", help="How late a router learns what another one did [s].")]
Findings = Annotated[
    bool, typer.Option("--findings", help="Let the detector look at every decision, without a mitigation too.")
]
FormatName = Annotated[
    str | None, typer.Option("--format", help=f"Trace format: {', '.join(FORMATS)}; default: detected.")
]
OnBadLine = Annotated[str, typer.Option(help="fail or skip.")]
FromS = Annotated[float, typer.Option("--from-s", help="Leave out what arrives earlier [s].")]
ToS = Annotated[float | None, typer.Option("--to-s", help="Leave out what arrives at or after [s].")]
Limit = Annotated[int | None, typer.Option(help="At most so many requests.")]
ClosedLoop = Annotated[
    bool | None,
    typer.Option("--closed-loop/--open-loop", help="Whether turns wait for replies; default: by source."),
]
Jobs = Annotated[int, typer.Option(help="Processes.")]
JobsByCore = Annotated[int | None, typer.Option("--jobs", help="Processes; default: one a core.", show_default=False)]
JsonOut = Annotated[
    Path | None, typer.Option("--json", help="Write the results here; - for standard output.", show_default=False)
]
ReportOut = Annotated[Path | None, typer.Option("--report", help="Write an HTML report here.", show_default=False)]

#: Options that a calibration stands in for.
CALIBRATED = ("model", "gpu", "tensor_parallel", "speeds", "batch_tokens", "max_batch")

_SEEDS = Domain(1, 10_000, integer=True, unit="seed")
_JOBS = Domain(1, 1024, integer=True, unit="process")
_SCALE = Domain(1e-6, 1e6, unit="1")
_TOKENS = Domain(1, 2**40, integer=True, unit="token")
_GPUS = Domain(1, 1024, integer=True, unit="gpu")


@dataclass(frozen=True)
class SourceOptions:
    """How to open the source of requests; :meth:`load` does it. Can be sent to another process."""

    text: str
    format_name: str | None = None
    on_bad_line: str = "fail"
    rate_scale: float = 1.0
    from_s: float = 0.0
    to_s: float | None = None
    limit: int | None = None
    closed_loop: bool | None = None

    def __post_init__(self) -> None:
        _SCALE.check("--rate-scale", self.rate_scale)

    def load(self, seed: int) -> tuple[list[Request], SourceInfo]:
        """All requests of a seed, and what is known of the source once they are read."""
        requests, info = open_source(
            self.text,
            seed=seed,
            format_name=self.format_name,
            on_bad_line=self.on_bad_line,
            closed_loop=self.closed_loop,
            rate_scale=self.rate_scale,
            from_s=self.from_s,
            to_s=self.to_s,
            limit=self.limit,
        )
        return list(requests), info


@dataclass(frozen=True)
class LoadedSource:
    """The requests of every seed, those of the first one at hand; can be sent to another process.

    A trace is read once (it may be a pipe) and is the same for all seeds; a workload is generated again for each.
    """

    options: SourceOptions
    first_seed: int
    first: Sequence[Request]
    same: bool

    def __call__(self, seed: int) -> Sequence[Request]:
        """The requests of a seed."""
        return self.first if self.same or seed == self.first_seed else self.options.load(seed)[0]


@dataclass(frozen=True)
class ClusterOptions:
    """The cluster as the command line names it; kept as given, for settings and provenance."""

    instances: int = 16
    model: str = "Qwen2-7B"
    gpu: str = "H20"
    tensor_parallel: int | None = None
    speeds: str | None = None
    kv_tokens: int | None = None
    batch_tokens: int = 4096
    max_batch: int = 256
    level: str = Level.PROXY.value
    delay_s: float = 0.0
    context_limit: int | None = None
    calibration: str | None = None


@dataclass(frozen=True)
class RouterOptions:
    """What the command line says about routers and mitigation; kept as given, for settings and provenance."""

    mitigations: tuple[str, ...] = ("none",)
    routers: int = 1
    sync_s: float = 0.0
    findings: bool = False

    def routing(self) -> Routing | None:
        """How the shipped router is used also where there is no mitigation; None: not at all.

        Raises:
            BadInput: naming the option, the value and the domain.
        """
        for place, name in enumerate(self.mitigations):
            read_mode(name)
            if name in self.mitigations[:place]:
                raise BadInput("--mitigation", name, "each mitigation once")
        if self.routers == 1 and self.sync_s:
            raise BadInput("--sync-s", self.sync_s, "0 with one router", "--routers 2")
        routing = Routing("none", self.routers, self.sync_s)
        compared = any(name != "none" for name in self.mitigations)  # what is found without it, too
        return routing if self.findings or compared or self.routers > 1 else None


def read_plan(
    policies: Sequence[str],
    seeds: int,
    cluster: ClusterOptions,
    until_s: float | None = None,
    jobs: int = 1,
    watched: bool = False,
    router: RouterOptions | None = None,
) -> Plan:
    """Check everything the command line said about a run and put it into a plan.

    Raises:
        BadInput: naming the option, the value and the domain.
    """
    router = RouterOptions() if router is None else router
    levels = {level.value: level for level in Level}
    if cluster.level not in levels:
        raise unknown_name("--level", cluster.level, levels)
    labels: set[str] = set()
    for text in policies:
        label = read_policy(text).label
        if label in labels:
            raise BadInput("--policy", text, "each policy once", f"{label} is there already")
        labels.add(label)
    _SEEDS.check("--seeds", seeds)
    _JOBS.check("--jobs", jobs)
    if until_s is not None:
        TIME_DOMAIN.check("--until-s", until_s)
    for name, value, domain in (
        ("--tensor-parallel", cluster.tensor_parallel, _GPUS),
        ("--kv-tokens", cluster.kv_tokens, _TOKENS),
        ("--context-limit", cluster.context_limit, _TOKENS),
    ):
        if value is not None:
            domain.check(name, value)
    return Plan(
        policies=tuple(policies),
        seeds=tuple(range(seeds)),
        cluster=_simulated(cluster, levels[cluster.level]),
        closed_loop=True,
        until_s=until_s,
        watched=watched,
        mitigations=router.mitigations,
        routing=router.routing(),
    )


def _simulated(cluster: ClusterOptions, level: Level) -> Cluster:
    """The cluster of a model on a GPU, or of the engine that a calibration is of."""
    if cluster.calibration is not None:
        return calibration_of(Path(cluster.calibration)).cluster(
            cluster.instances,
            level,
            kv_tokens=cluster.kv_tokens,
            delay_s=cluster.delay_s,
            context_limit_tokens=cluster.context_limit,
        )
    return roofline_cluster(
        cluster.instances,
        cluster.model,
        cluster.gpu,
        speeds=_read_speeds(cluster.speeds, cluster.instances),
        tensor_parallel=cluster.tensor_parallel,
        kv_tokens=cluster.kv_tokens,
        batch_tokens=cluster.batch_tokens,
        max_batch=cluster.max_batch,
        level=level,
        delay_s=cluster.delay_s,
        context_limit_tokens=cluster.context_limit,
    )


def told_cluster(cluster: ClusterOptions) -> dict[str, Any]:
    """The options of a cluster for settings; those that a calibration stands in for are left out."""
    told = asdict(cluster)
    if cluster.calibration is None:
        del told["calibration"]
        return told
    return {name: value for name, value in told.items() if name not in CALIBRATED}


def calibration_of(path: Path) -> Calibration:
    """The calibration in a file.

    Raises:
        BadInput: if it cannot be read, or is none.
    """
    try:
        return read_calibration(path)
    except OSError as fault:
        raise BadInput("--calibration", str(path), "a file that can be read", fault.strerror or "") from None


def _read_speeds(text: str | None, instances: int) -> list[float] | None:
    if text is None:
        return None
    speeds = []
    for part in text.split(","):
        try:
            speeds.append(float(part))
        except ValueError:
            raise BadInput("--speeds", part, "a number > 0", "for example 1,1,0.5") from None
    if len(speeds) > instances:
        raise BadInput("--speeds", text, f"at most {instances} numbers, one an instance")
    return speeds
