"""An experiment: one source of requests, several policies, several seeds, on one cluster.

Runs are independent, so they may go to several processes; results come back in the order asked for, whatever the number
of processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from replay.disagreement import Disagreement, DisagreementMatrix, matrix, watched
from replay.metrics import Summary, summarise
from replay.sim.cluster import Cluster
from replay.sim.parts import Prepared, prepare
from replay.sim.record import RunRecord
from replay.sim.router_decider import Routing
from scheduler.policies.catalogue import policy as read_policy
from scheduler.policies.rule import Policy
from scheduler.state import Request


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run.

    Args:
        policies: as ``NAME[:knob=value,...]``.
        seeds: seeds of draws and ties; for generated workloads also of the workload.
        cluster: what is simulated.
        closed_loop: see :func:`replay.sim.run.simulate`.
        until_s: see :func:`replay.sim.run.simulate`.
        watched: whether in each run the other policies are asked what they would have chosen.
        records: whether runs keep their records; without, only summaries travel between processes.
        mitigations: each policy runs once with each; ``none`` is the rule alone.
        routing: how the shipped router is used where there is a mitigation; given, it decides also where there is none,
            and so says what it finds.
    """

    policies: tuple[str, ...]
    seeds: tuple[int, ...]
    cluster: Cluster
    closed_loop: bool = False
    until_s: float | None = None
    watched: bool = False
    records: bool = True
    mitigations: tuple[str, ...] = ("none",)
    routing: Routing | None = None

    def routing_of(self, mitigation: str) -> Routing | None:
        """How requests are routed with a mitigation; None: by the rule alone."""
        if self.routing is None:
            return None if mitigation == "none" else Routing(mitigation)
        return replace(self.routing, mitigation=mitigation)


@dataclass(slots=True)
class Run:
    """One policy with one seed: its summary, the record the report draws from, and what the other policies said.

    ``policy`` is the label of the policy, with `` +NAME`` for the mitigation if there was one.
    """

    policy: str
    summary: Summary
    record: RunRecord
    disagreement: Disagreement | None = None


class ReplayResult(msgspec.Struct, frozen=True, kw_only=True):
    """The file that ``replay --json`` writes."""

    trace: dict[str, Any]
    settings: dict[str, Any]
    policies: list[Summary]


#: ``requests_of(seed)``: the requests of a seed; the same ones for a trace, others for a workload.
RequestsOf = Callable[[int], Sequence[Request]]
#: ``progress(run number, requests done)``.
Progress = Callable[[int, int], None]


def run_one(
    text: str,
    requests: Sequence[Request] | Prepared,
    plan: Plan,
    seed: int,
    progress: Callable[[int], None] | None = None,
    mitigation: str = "none",
) -> Run:
    """Simulate one policy with one seed and measure it; in a watched run the wall time includes the onlookers.

    Onlookers read what the rule alone would read, so runs of the shipped router have none.
    """
    chosen: Policy = read_policy(text)
    routing = plan.routing_of(mitigation)
    is_watched = plan.watched and routing is None
    others = [read_policy(other) for other in plan.policies] if is_watched else []
    started = time.perf_counter()
    record, disagreement = watched(
        requests,
        chosen,
        others,
        plan.cluster,
        seed=seed,
        closed_loop=plan.closed_loop,
        until_s=plan.until_s,
        routing=routing,
        progress=progress,
    )
    wall_s = time.perf_counter() - started
    summary = summarise(record, chosen.rule.name, dict(chosen.values), len(plan.cluster), wall_s, mitigation)
    if not plan.records:
        record = RunRecord(record.policy, record.seed, [])
    return Run(label_of(chosen, mitigation), summary, record, disagreement if is_watched else None)


def label_of(chosen: Policy, mitigation: str) -> str:
    """How a run is called in tables.

    Example:
        >>> label_of(read_policy("lmetric"), "none"), label_of(read_policy("lmetric"), "auto")
        ('lmetric', 'lmetric +auto')
    """
    return chosen.label if mitigation == "none" else f"{chosen.label} +{mitigation}"


def disagreement_of(runs: Sequence[Run], plan: Plan) -> DisagreementMatrix:
    """How often the policies of watched runs disagree, seeds pooled."""
    found = [run.disagreement for run in runs if run.disagreement is not None]
    return matrix(found, [read_policy(text) for text in plan.policies])


def run_all(requests_of: RequestsOf, plan: Plan, *, jobs: int = 1, progress: Progress | None = None) -> Iterator[Run]:
    """Run every policy with every seed; yields each run as soon as it and all before it are done.

    Args:
        requests_of: the requests of a seed.
        plan: what to run.
        jobs: processes; with 1 everything runs here.
        progress: told how far each run is.
    """
    work = [
        (text, mitigation, seed) for seed in plan.seeds for text in plan.policies for mitigation in plan.mitigations
    ]
    if jobs <= 1 or len(work) == 1:
        requests: dict[int, Prepared] = {}
        for number, (text, mitigation, seed) in enumerate(work):
            if seed not in requests:
                requests = {seed: prepare(requests_of(seed))}
            tell = None if progress is None else _teller(progress, number)
            yield run_one(text, requests[seed], plan, seed, tell, mitigation)
        return
    with ProcessPoolExecutor(min(jobs, len(work)), initializer=_start_worker, initargs=(requests_of, plan)) as pool:
        for number, run in enumerate(pool.map(_work, work)):
            if progress is not None:
                progress(number, run.summary.requests + run.summary.not_arrived)
            yield run


def _teller(progress: Progress, number: int) -> Callable[[int], None]:
    return lambda done: progress(number, done)


@dataclass(slots=True)
class _Worker:
    requests_of: RequestsOf
    plan: Plan
    loaded: dict[int, Prepared] = field(default_factory=dict)


_worker: list[_Worker] = []


def _start_worker(requests_of: RequestsOf, plan: Plan) -> None:
    _worker[:] = [_Worker(requests_of, plan)]


def _work(item: tuple[str, str, int]) -> Run:
    text, mitigation, seed = item
    worker = _worker[0]
    if seed not in worker.loaded:
        worker.loaded = {seed: prepare(worker.requests_of(seed))}
    return run_one(text, worker.loaded[seed], worker.plan, seed, mitigation=mitigation)
