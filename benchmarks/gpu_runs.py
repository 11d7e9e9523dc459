"""Rules on the engines themselves: each workload under its rules, in turned order, as often as time allows."""

from __future__ import annotations

import asyncio
import tarfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.gpu_checkpoint import Checkpoint, CutShort, tell
from benchmarks.gpu_workload import Load
from replay.calibration.fit import error_of
from replay.calibration.sweep import StepList
from replay.engines.prompts import Prompts
from replay.engines.protocol import Engine
from replay.live_plan import LivePlan, Turn, partial_log, run_plan
from replay.live_result import told_of
from replay.run import Pace
from replay.run_log import Log
from replay.sim.cluster import Cluster
from scheduler.cost import StepTime
from scheduler.router import Router
from scheduler.router_config import RouterConfig

#: What a run takes beside its arrivals: its last replies, an empty cache for all, the log [s].
BESIDE_S = 3.0
#: An engine that says nothing of a request for so long is hung [s].
PATIENCE_S = 30.0


@dataclass(frozen=True)
class Case:
    """One workload and the rules that it is replayed under.

    Args:
        name: of the workload.
        load: its requests.
        policies, mitigations: each with each.
    """

    name: str
    load: Load
    policies: tuple[str, ...]
    mitigations: tuple[str, ...] = ("none",)

    @property
    def pace(self) -> Pace:
        """How it is replayed, and when it is cut off."""
        return Pace(closed_loop=True, patience_s=PATIENCE_S, until_s=round(1.5 * self.load.span_s + 10.0, 3))

    def plan(self, repeats: int) -> LivePlan:
        """Its runs."""
        settings = {"workload": self.name, "requests": len(self.load.requests), "rate_scale": self.load.rate_scale}
        return LivePlan(self.policies, repeats, self.pace, settings=settings, mitigations=self.mitigations)


def router_config(cluster: Cluster, block_tokens: int) -> RouterConfig:
    """Settings of routers, live ones and simulated ones."""
    blocks = cluster.kv_tokens // block_tokens
    return RouterConfig(source="history", capacity_blocks=blocks, kv_tokens=cluster.kv_tokens, log_size=0)


class Runs:
    """Makes the runs and writes down what each has shown.

    Args:
        engines: ready.
        told: of their steps, one each.
        cases: the workloads.
        cluster: of the fitted step times.
        step_times: by name, for the error that each makes on the steps of the runs.
        prompts: makes token ids.
        folder: for the logs.
        checkpoint: gets ``runs``.
        reserve_s: what has to be left for whatever comes after the runs [s].
        after: told all rows after each run.
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        told: Sequence[StepList],
        cases: Sequence[Case],
        cluster: Cluster,
        step_times: dict[str, StepTime],
        prompts: Prompts,
        folder: Path,
        checkpoint: Checkpoint,
        reserve_s: float,
        after: Callable[[list[dict[str, Any]]], None],
    ) -> None:
        self.engines, self.told, self.cases, self.cluster = engines, told, cases, cluster
        self.step_times, self.prompts, self.folder = step_times, prompts, folder
        self.checkpoint, self.reserve_s, self._after = checkpoint, reserve_s, after
        self.rows: list[dict[str, Any]] = []
        self._seen: set[tuple[str, Turn]] = set()
        self._longest_s = max(case.load.span_s for case in cases) + BESIDE_S

    @property
    def _left_s(self) -> float:
        return self.checkpoint.deadline.left_s - self.reserve_s

    async def all(self, repeats: int, more: bool) -> None:
        """All runs, repetition by repetition.

        Args:
            repeats: how many repetitions there shall be.
            more: whether others follow while there is time for a whole one.

        Raises:
            CutShort: when there is no time for another; what was not done is told in ``runs_not_done``.
            EngineFailure: if the engines cannot go on.
        """
        self._note(repeats)
        for case in self.cases:
            self._folder(case).mkdir(parents=True, exist_ok=True)
        try:
            async with asyncio.timeout(max(0.0, self._left_s)):
                for repeat in range(repeats):
                    for case in self.cases:
                        await self._case(case, repeat + 1)
                        self._note(repeats)
                while more and self._left_s > self._repetition_s:
                    repeats += 1
                    for case in self.cases:
                        await self._case(case, repeats)
        except TimeoutError:
            raise CutShort("the last run was cut off, because time was up") from None
        finally:
            self._note(repeats)

    @property
    def _repetition_s(self) -> float:
        """How long a repetition takes at most."""
        return self._longest_s * sum(len(list(case.plan(1).order())) for case in self.cases)

    def _folder(self, case: Case) -> Path:
        return self.folder / case.name

    async def _case(self, case: Case, repeats: int) -> None:
        """What is missing of so many repetitions of a case."""
        self._check_time()
        plan, order = case.plan(repeats), list(case.plan(repeats).order())
        known = {request.id: request for request in case.load.requests}

        def router_of(turn: Turn) -> Router:
            names = [engine.name for engine in self.engines]
            times = dict(zip(names, self.cluster.step_times, strict=True))
            config = router_config(self.cluster, self.engines[0].block_tokens)
            return Router(
                names, turn.policy, seed=turn.repeat, mitigation=turn.mitigation, config=config, step_times=times
            )

        def done(turn: Turn, log: Log) -> None:
            if (case.name, turn) in self._seen:
                return
            self._seen.add((case.name, turn))
            steps = [step for each in self.told for step in each.take()]
            told, live = told_of(log, known, self.engines[0].block_tokens)
            row = {"workload": case.name, "policy": turn.policy, "mitigation": turn.mitigation, "repeat": turn.repeat}
            row |= {"measured": msgspec.to_builtins(told.summary), "complete": live.complete, "gone": live.gone}
            row |= {"client_lag": msgspec.to_builtins(live.client_lag), "prediction": short_of(live.prediction)}
            row["lost"] = dict(Counter(lost.reason for lost in live.lost))
            if steps:
                row["step_errors"] = {
                    name: msgspec.to_builtins(error_of(time, steps)) for name, time in self.step_times.items()
                }
            self.rows.append(row)
            self.checkpoint.found["runs"] = self.rows
            self._after(self.rows)
            self.checkpoint.save()
            self._longest_s = max(self._longest_s, told.summary.wall_s + 0.5 * BESIDE_S)
            ttft = told.summary.ttft_s.mean
            shown = "none finished" if ttft is None else f"TTFT {1000 * ttft:.1f} ms"
            tell(f"  {case.name}, repetition {turn.repeat}: {told.policy}: {shown}, {self._left_s:.0f} s left")
            if turn != order[-1]:
                self._check_time()

        for each in self.told:
            each.take()
        await run_plan(
            plan, self.engines, case.load.requests, router_of, self._folder(case), prompts=self.prompts, done=done
        )

    def _check_time(self) -> None:
        if self._left_s < self._longest_s:
            raise CutShort(f"{max(0.0, self._left_s):.0f} s were left, and a run takes {self._longest_s:.0f} s")

    def _note(self, repeats: int) -> None:
        """Which runs were not done, and which one was cut off."""
        wanted = [(case.name, turn) for case in self.cases for turn in case.plan(repeats).order()]
        missing = [(name, turn) for name, turn in wanted if (name, turn) not in self._seen]
        self.checkpoint.found["runs_not_done"] = [
            {"workload": name, "policy": turn.policy, "mitigation": turn.mitigation, "repeat": turn.repeat}
            for name, turn in missing
        ]
        cut = [partial_log(case.plan(repeats), self._folder(case)) for case in self.cases]
        self.checkpoint.found["runs_cut_off"] = [
            {"workload": case.name, "policy": one[0].policy, "repeat": one[0].repeat, "requests": len(one[1].lines)}
            for case, one in zip(self.cases, cut, strict=True)
            if one is not None
        ]
        self.checkpoint.save()


def short_of(prediction: Any) -> dict[str, Any]:
    """How good predictions were, without a row for each that was off."""
    causes = Counter(off.cause for off in prediction.off)
    return {"told": prediction.told, "equal": prediction.equal, "share": prediction.share, "off": dict(causes)}


def pack(folder: Path, into: Path) -> None:
    """All logs in one file, whole or not at all."""
    beside = into.with_name(into.name + ".part")
    with tarfile.open(beside, "w:gz") as archive:
        archive.add(folder, arcname="logs")
    beside.replace(into)
