"""The parts of a session on one machine with one GPU, in order, each within its share of the time."""

from __future__ import annotations

import argparse
import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.gpu_checkpoint import Checkpoint, CutShort, tell
from benchmarks.gpu_compare import comparison, simulated
from benchmarks.gpu_fits import fitted, measured_alone, measured_together
from benchmarks.gpu_machine import gpu_facts
from benchmarks.gpu_numerics import numerics
from benchmarks.gpu_runs import BESIDE_S, Case, Runs, pack
from benchmarks.gpu_shapes import check_memory, engines_of, shape_of
from benchmarks.gpu_workload import CHAT, HOT_SPOT, PROBE_RULE, Load, Source, load_of, tuned_line
from replay.calibration.sweep import StepList
from replay.engines.prompts import Prompts
from replay.engines.protocol import Engine
from replay.sim.cluster import Cluster
from scheduler.cost import StepTime
from scheduler.errors import EngineFailure

PARTS = ("numerics", "engines", "step_time", "together", "load", "simulated", "runs")
#: Shares of the whole time: comparing prompts, measuring steps alone and together, and what is kept for the end.
NUMERICS_SHARE, ALONE_SHARE, TOGETHER_SHARE, RESERVE_SHARE = 0.06, 0.14, 0.06, 0.02
#: Time kept for the end beside that share [s].
RESERVE_S = 4.0
#: A share of the time for runs is left over, because runs take longer than they were planned.
RUNS_SHARE, RUN_S_MIN, RUN_S_MAX = 0.9, 1.5, 60.0
#: Repetitions of every run, if nobody says how many.
REPEATS = 2
LOGS = "gpu_replay_logs.tar.gz"


class Session:
    """One session.

    Args:
        options: of the command line.
        checkpoint: gets what is found.
        folder: for logs while they are written.
        interrupted: set when the user has had enough.
    """

    def __init__(
        self, options: argparse.Namespace, checkpoint: Checkpoint, folder: Path, interrupted: threading.Event
    ) -> None:
        self.options, self.checkpoint, self.folder, self.interrupted = options, checkpoint, folder, interrupted
        self.shape = shape_of(options.shape, options.device)
        self.repeats: int = REPEATS if options.repeats is None else options.repeats
        self.told = [StepList() for _ in range(options.instances)]
        self.engines: list[Engine] = []
        self.clusters: dict[str, Cluster] = {}
        self.cases: list[Case] = []
        self.prompts = Prompts(self.shape.vocabulary, seed=options.seed, block_tokens=self.shape.block_tokens)

    async def run(self) -> None:
        """All parts."""
        total_s, check = self.checkpoint.deadline.seconds, self.checkpoint
        with check.part("numerics", least_s=0.5 * total_s) as go:
            if go:
                stop = self._after(NUMERICS_SHARE * total_s)
                check.found["numerics"] = await asyncio.to_thread(numerics, self.shape, self.options.seed, stop)
        try:
            with check.part("engines", least_s=0.3 * total_s) as go:
                if go:
                    await self._start()
            alone_s = self.options.sweep_s or ALONE_SHARE * total_s
            together_s = alone_s * TOGETHER_SHARE / ALONE_SHARE
            with check.part("step_time", ("engines",), alone_s) as go:
                if go:
                    await self._alone(alone_s)
            with check.part("together", ("step_time",), together_s) as go:
                if go:
                    await self._together(together_s)
            with check.part("load", ("step_time",)) as go:
                if go:
                    self._plan_runs()
            with check.part("simulated", ("load",)) as go:
                if go:
                    rows = check.found["simulated"] = []
                    simulated(rows, self.cases, self.clusters, self.prompts, self.repeats, self._stop)
            with check.part("runs", ("load",)) as go:
                if go:
                    await self._runs()
        finally:
            self._pack()
            await asyncio.gather(*(engine.close() for engine in self.engines), return_exceptions=True)

    @property
    def _reserve_s(self) -> float:
        return RESERVE_S + RESERVE_SHARE * self.checkpoint.deadline.seconds

    def _after(self, seconds: float) -> Callable[[], bool]:
        """Whether so much time has passed since the first question."""
        until_s: list[float] = []

        def over() -> bool:
            until_s[:] = until_s or [time.monotonic() + seconds]
            return self.interrupted.is_set() or time.monotonic() > until_s[0]

        return over

    def _stop(self) -> None:
        """For work that asks now and then whether to go on."""
        if self.checkpoint.deadline.left_s < self._reserve_s:
            raise CutShort("time was up")

    async def _start(self) -> None:
        """Engines, each in a process of its own if that is possible and wanted."""
        shape, options = self.shape, self.options
        if options.device == "cuda":
            check_memory(shape, options.instances, gpu_facts()["free_bytes"])
        began_s, refused = time.monotonic(), None
        ready_s = max(20.0, 0.4 * self.checkpoint.deadline.left_s)
        processes = options.engines == "processes"
        try:
            await self._started(engines_of(shape, self.told, processes, ready_s), processes)
        except EngineFailure as fault:
            if not processes:
                raise
            refused, processes = str(fault), False
            tell(f"  engines in processes of their own cannot be had ({fault}); all in this one")
            await self._started(engines_of(shape, self.told, processes, ready_s), processes)
        self.checkpoint.found["engines"] = {
            "kind": "transformers' continuous batching, random weights",
            "instances": len(self.engines),
            "processes": processes,
            "processes_refused": refused,
            "shape": msgspec.to_builtins(shape),
            "ready_s": round(time.monotonic() - began_s, 1),
            "gpu": gpu_facts() if options.device == "cuda" else None,
        }

    async def _started(self, engines: Sequence[Engine], at_once: bool) -> None:
        """All of them, or none; threads of one process would import the same libraries at the same time.

        Raises:
            EngineFailure: if one cannot be started.
        """
        groups = [engines] if at_once else [[engine] for engine in engines]
        ended: list[BaseException | None] = []
        for group in groups:
            ended += await asyncio.gather(*(engine.start() for engine in group), return_exceptions=True)
        faults = [fault for fault in ended if fault is not None]
        if faults:
            await asyncio.gather(*(engine.close() for engine in engines), return_exceptions=True)
            raise faults[0]
        self.engines = list(engines)

    async def _alone(self, budget_s: float) -> None:
        """Step times of one instance while the others rest."""
        rounds = await measured_alone(
            self.engines[0], self.told[0], self.shape, budget_s, self.options.seed, self.folder
        )
        fit, facts = fitted(rounds, self.options.seed)
        self.checkpoint.found["step_time"] = facts
        self.clusters["alone"] = self._cluster(fit)

    async def _together(self, budget_s: float) -> None:
        """The same while all are busy: they share a processor or a GPU."""
        alone = self.clusters["alone"].step_times[0]
        rounds, slowdown = await measured_together(
            self.engines, self.told, self.shape, budget_s, self.options.seed, self.folder, alone
        )
        fit, facts = fitted(rounds, self.options.seed)
        self.checkpoint.found["together"] = {"slowdown": slowdown, **facts}
        self.clusters["together"] = self._cluster(fit)

    def _cluster(self, step_time: StepTime) -> Cluster:
        shape = self.shape
        return Cluster(
            (step_time,) * self.options.instances,
            shape.kv_blocks * shape.block_tokens,
            batch_tokens=shape.batch_tokens,
            max_batch=shape.max_batch,
        )

    def _plan_runs(self) -> None:
        """How much load, for how long, and the weight of the line."""
        options, fit = self.options, self._fit
        cluster = self.clusters[fit]
        run_s = self._run_s()
        chat = Source(CHAT) if options.trace is None else Source(options.trace, generated=False)
        loads = {
            name: load_of(source, cluster, options.load, run_s, options.seed)
            for name, source in (("chat" if options.trace is None else "trace", chat), ("hot_spot", Source(HOT_SPOT)))
        }
        self.checkpoint.found["load"] = {
            "share_of_maximum": options.load,
            "maximum": "what the simulator works off in a second when all requests are there at once",
            "maximum_rule": PROBE_RULE,
            "step_time": fit,
            "run_s": run_s,
            "closed_loop": True,
            "workloads": {name: load_facts(load) for name, load in loads.items()},
        }
        first = next(iter(loads))
        line = tuned_line(loads[first], cluster, options.seed, self._stop)
        self.checkpoint.found["tuning"] = {
            "rule": line.best.policy,
            "objective": "least mean TTFT, simulated",
            "on": "two other seeds of the workload"
            if options.trace is None
            else "the requests of the trace that follow",
            "step_time": fit,
            "points": [{"policy": point.policy, "simulated_ttft_mean_s": point.objective} for point in line.points],
        }
        rules = ("lmetric", "join_shortest_queue", line.best.policy, "marginal_delay")
        self.cases = [
            Case(first, loads[first], rules),
            Case("hot_spot", loads["hot_spot"], ("lmetric",), ("none", "auto")),
        ]

    @property
    def _fit(self) -> str:
        """The step times that runs are planned with: those of instances that are all busy, if they were measured."""
        return "together" if "together" in self.clusters else "alone"

    def _run_s(self) -> float:
        """How long requests shall keep coming in each run."""
        if self.options.run_s is not None:
            return float(self.options.run_s)
        left_s = self.checkpoint.deadline.left_s - 2 * self._reserve_s
        each_s = RUNS_SHARE * left_s / (6 * self.repeats) - BESIDE_S
        return round(min(RUN_S_MAX, max(RUN_S_MIN, each_s)), 1)

    async def _runs(self) -> None:
        """The rules on the engines."""
        check = self.checkpoint

        def after(rows: list[dict[str, Any]]) -> None:
            check.found["comparison"] = comparison(self.cases, rows, check.found.get("simulated", []))

        runs = Runs(
            self.engines, self.told, self.cases, self.clusters[self._fit],
            {name: cluster.step_times[0] for name, cluster in self.clusters.items()},
            self.prompts, self.folder, check, self._reserve_s, after,
        )  # fmt: skip
        await runs.all(self.repeats, more=self.options.repeats is None)

    def _pack(self) -> None:
        try:
            pack(self.folder, self.checkpoint.path.with_name(LOGS))
        except OSError as fault:
            tell(f"the logs could not be packed: {fault}")


def load_facts(load: Load) -> dict[str, Any]:
    """What is told of a workload's requests."""
    requests = load.requests
    return {
        "source": load.source.text.format(count=len(requests))
        if load.source.generated
        else Path(load.source.text).name,
        "requests": len(requests),
        "span_s": load.span_s,
        "maximum_per_s": load.maximum_per_s,
        "wanted_per_s": load.wanted_per_s,
        "wanted_share": load.wanted_per_s / load.maximum_per_s,
        "rate_scale": load.rate_scale,
        "prompt_tokens_mean": sum(one.prompt_tokens for one in requests) / len(requests),
        "output_tokens_mean": sum(one.output_tokens for one in requests) / len(requests),
        "context_tokens_max": max(one.prompt_tokens + one.output_tokens for one in requests),
    }
