"""Tuning: a rule at its best on one workload, so that rivals are compared fairly, and what its defaults cost there.

One or two knobs are swept on the full grid. More are swept one after the other, each over all its values while the
others stay at the best found so far, until a whole round changes nothing (coordinate descent): a local best along every
axis, not a proof of the global one. Where the best value is the last of a published sweep, and better than the one
before it, single steps past its end follow while they help. Runs go to several processes; the result does not depend
on how many.

The objective is the mean over the plan's seeds. Latencies are those of finished requests, so with a cut-off
(``until_s``) compare the counts of finished requests of two points too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from replay.experiment import Plan, RequestsOf, run_all
from replay.objectives import OBJECTIVES, Objective
from replay.sweep_axes import axes_of
from replay.tune_search import BEYOND_MAX, Point, Progress, Search, mean_of
from scheduler.errors import BadInput, unknown_name
from scheduler.policies.catalogue import policy as read_policy


@dataclass(frozen=True, slots=True)
class TuneResult:
    """What tuning found.

    Args:
        rule: name of the rule.
        objective: what was made best.
        points: every setting tried, in the order tried; the default is the first.
        best: the best of them, the earliest among equals.
        default: the published setting (knobs that the caller fixed apart).
        regret: how much worse the default is, relative to the best: 0.1 is 10%. None if the best is 0 and they differ.
        curves: knob -> points along it through the best, in the order of the sweep.
        settled: False if coordinate descent was stopped before a round changed nothing.
        open_ends: knobs whose best value is the first or last tried, and better than the one beside it: a longer sweep
            may find a better one. Empty if the search was stopped.
    """

    rule: str
    objective: Objective
    points: tuple[Point, ...]
    best: Point
    default: Point
    regret: float | None
    curves: Mapping[str, tuple[Point, ...]]
    settled: bool
    open_ends: tuple[str, ...]


def tune(
    rule: str,
    requests_of: RequestsOf,
    plan: Plan,
    *,
    knobs: Sequence[str] | None = None,
    values: Mapping[str, Sequence[Any]] | None = None,
    objective: str = "ttft_mean",
    jobs: int = 1,
    progress: Progress | None = None,
) -> TuneResult:
    """Find a rule's best setting on a workload.

    Args:
        rule: ``NAME[:knob=value,...]``; knobs given here stay as they are.
        requests_of: the requests of a seed.
        plan: cluster, seeds and loop; its policies are not looked at.
        knobs: which to sweep; None for all that have values to try.
        values: values to try instead of the published sweep, as numbers or as words of the command line.
        objective: a name in :data:`replay.objectives.OBJECTIVES`.
        jobs: processes.
        progress: told how many runs are done.

    Raises:
        BadInput: an unknown rule, knob or objective, a value outside its domain, nothing to sweep, or an objective
            that no request of the workload has.
    """
    base = read_policy(rule)
    aim = objective_named(objective)
    axes = axes_of(rule, knobs, values)
    search = Search(base, axes, requests_of, plan, aim, jobs, progress)
    start = tuple(base.values[name] for name in axes)
    search.run([start])
    if search.points[start].objective is None:
        raise BadInput("objective", objective, "a metric that some request of this workload has")
    best, settled = search.inside(start)
    left = {end: BEYOND_MAX for end in search.ends() if end[0] not in (values or {})}
    while settled and (further := search.outside(best, left)) != best:
        best, settled = search.inside(further)
    ends = search.ends() if settled else []
    open_ends = tuple(dict.fromkeys(end[0] for end in ends if search.past(end, best) is not None))
    default = search.points[start]
    return TuneResult(
        rule=base.rule.name,
        objective=search.objective,
        points=tuple(search.points.values()),
        best=search.points[best],
        default=default,
        regret=regret(default.objective, search.points[best].objective),
        curves=MappingProxyType({name: search.curve(i, best) for i, name in enumerate(axes)}),
        settled=settled,
        open_ends=open_ends,
    )


def untuned(rule: str, requests_of: RequestsOf, plan: Plan, *, objective: str, jobs: int = 1) -> Point:
    """A rule as it is, to stand beside tuned ones.

    Args:
        rule, requests_of, plan, objective, jobs: see :func:`tune`.
    """
    runs = run_all(requests_of, replace(plan, policies=(rule,)), jobs=jobs)
    summaries = tuple(run.summary for run in runs)
    return Point(rule, MappingProxyType({}), mean_of(objective_named(objective), summaries), summaries)


def regret(default: float | None, best: float | None) -> float | None:
    """Relative distance of the default from the best, never negative; None where there is none.

    Example:
        >>> regret(1.2, 1.0) == 1.2 / 1.0 - 1, regret(0.75, 1.0), regret(0.0, 0.0)
        (True, 0.25, 0.0)
    """
    if default is None or best is None:
        return None
    if default == best:
        return 0.0
    return abs(default / best - 1) if best else None


def objective_named(name: str) -> Objective:
    """The objective of a name.

    Raises:
        BadInput: there is none.
    """
    if name not in OBJECTIVES:
        raise unknown_name("objective", name, OBJECTIVES)
    return OBJECTIVES[name]
