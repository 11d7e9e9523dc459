"""Tuning: a rule at its best on one workload, so that rivals are compared fairly, and what its defaults cost there.

One or two knobs are swept on the full grid. More are swept one after the other, each over all its values while the
others stay at the best found so far, until a whole round changes nothing (coordinate descent): a local best along every
axis, not a proof of the global one. Runs go to several processes; the result does not depend on how many.

The objective is the mean over the plan's seeds. Latencies are those of finished requests, so with a cut-off
(``until_s``) compare the counts of finished requests of two points too.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from replay.experiment import Plan, RequestsOf, run_all
from replay.metrics import Summary
from replay.objectives import OBJECTIVES, Objective
from scheduler.errors import BadInput, unknown_name
from scheduler.policies.catalogue import CATALOGUE
from scheduler.policies.catalogue import policy as read_policy
from scheduler.policies.rule import Knob, Policy

#: Up to so many knobs the whole grid is run.
GRID_KNOBS_MAX = 2
#: Rounds of coordinate descent, at most; it nearly always settles in two or three.
ROUNDS_MAX = 5


#: A setting: one value for each swept knob, in their order.
Setting = tuple[Any, ...]
#: ``progress(runs done, runs known so far)``; descent learns of more runs as it goes.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Point:
    """One setting that was tried.

    Args:
        policy: as ``--policy`` takes it.
        values: of the swept knobs, by name.
        objective: mean over the seeds; None if no seed has it.
        summaries: one a seed.
    """

    policy: str
    values: Mapping[str, Any]
    objective: float | None
    summaries: tuple[Summary, ...]


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
    """

    rule: str
    objective: Objective
    points: tuple[Point, ...]
    best: Point
    default: Point
    regret: float | None
    curves: Mapping[str, tuple[Point, ...]]
    settled: bool


def tunable() -> list[str]:
    """Names of the rules that have knobs to sweep."""
    return [rule.name for rule in CATALOGUE.values() if any(knob.sweep for knob in rule.knobs)]


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
    search = _Search(base, axes, requests_of, plan, aim, jobs, progress)
    start = tuple(base.values[name] for name in axes)
    search.run([start])
    if search.points[start].objective is None:
        raise BadInput("objective", objective, "a metric that some request of this workload has")
    if len(axes) <= GRID_KNOBS_MAX:
        search.run(itertools.product(*axes.values()))
        best, settled = search.best(search.points), True
    else:
        best, settled = search.descend(start)
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
    )


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


def axes_of(
    rule: str, knobs: Sequence[str] | None = None, values: Mapping[str, Sequence[Any]] | None = None
) -> dict[str, tuple[Any, ...]]:
    """The values of each knob to sweep; the starting value is always among them.

    Args:
        rule, knobs, values: see :func:`tune`.

    Raises:
        BadInput: see :func:`tune`.

    Example:
        >>> axes_of("load_aware"), axes_of("bailian:gamma=0", ["beta"], {"beta": ["0.1", "0.2"]})
        ({'beta': (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)}, {'beta': (0.1, 0.15, 0.2)})
    """
    base, fixed, values = read_policy(rule), _fixed(rule), values or {}
    known = {knob.name: knob for knob in base.rule.all_knobs()}
    for name in (*(knobs or ()), *values):
        if name not in known:
            raise unknown_name(f"knob of {base.rule.name}", name, known)
        if name in fixed:
            raise BadInput(f"knob of {base.rule.name}", name, "a knob that the policy itself does not fix")
    if knobs is None:
        chosen = [name for name, knob in known.items() if (knob.sweep or name in values) and name not in fixed]
    else:
        chosen = [name for name in known if name in knobs or name in values]
    axes = {name: _axis(base, known[name], values.get(name)) for name in chosen}
    if not axes:
        names = ", ".join(tunable())
        raise BadInput("policy to tune", base.label, "a rule with knobs to sweep", f"rules with such knobs: {names}")
    return axes


def _axis(base: Policy, knob: Knob, values: Sequence[Any] | None) -> tuple[Any, ...]:
    tried = knob.sweep or knob.choices if values is None else values
    if not tried:
        raise BadInput(f"{base.rule.name}:{knob.name}", (), "values to try, because the rule publishes no sweep")
    axis = list(dict.fromkeys(knob.read(base.rule.name, value) for value in tried))
    start = base.values[knob.name]
    if start not in axis:
        axis.append(start)
        if all(isinstance(value, int | float) for value in axis):
            axis.sort()
    return tuple(axis)


def _fixed(text: str) -> set[str]:
    """Names of the knobs that a policy text settles."""
    return {part.partition("=")[0] for part in text.partition(":")[2].split(",") if part}


@dataclass(slots=True)
class _Search:
    base: Policy
    axes: Mapping[str, tuple[Any, ...]]
    requests_of: RequestsOf
    plan: Plan
    objective: Objective
    jobs: int
    progress: Progress | None
    points: dict[Setting, Point] = field(default_factory=dict)

    def run(self, settings: Iterable[Setting]) -> None:
        """Run the settings that were not tried yet."""
        fresh = [setting for setting in dict.fromkeys(settings) if setting not in self.points]
        if not fresh:
            return
        texts = tuple(self.text(setting) for setting in fresh)
        before = len(self.points) * len(self.plan.seeds)
        total = before + len(fresh) * len(self.plan.seeds)
        summaries: list[list[Summary]] = [[] for _ in fresh]
        # Only summaries are kept: the record of a run is as large as its trace.
        runs = run_all(self.requests_of, replace(self.plan, policies=texts), jobs=self.jobs)
        for number, run in enumerate(runs):
            summaries[number % len(fresh)].append(run.summary)
            if self.progress is not None:
                self.progress(before + number + 1, total)
        for setting, text, seen in zip(fresh, texts, summaries, strict=True):
            named = MappingProxyType(dict(zip(self.axes, setting, strict=True)))
            self.points[setting] = Point(text, named, self.mean(seen), tuple(seen))

    def text(self, setting: Setting) -> str:
        """The policy as the command line takes it, so that it can be repeated; defaults are left unsaid."""
        values = {**self.base.values, **dict(zip(self.axes, setting, strict=True))}
        return policy_text(Policy(self.base.rule, values))

    def mean(self, summaries: Sequence[Summary]) -> float | None:
        known = [value for value in map(self.objective.value, summaries) if value is not None]
        return sum(known) / len(known) if known else None

    def best(self, settings: Iterable[Setting]) -> Setting:
        """The best setting; the earliest among equals."""

        def rank(setting: Setting) -> float:
            value = self.points[setting].objective
            if value is None:
                return float("inf")
            return -value if self.objective.more else value

        return min(settings, key=rank)

    def axis(self, index: int, through: Setting) -> list[Setting]:
        """The settings that differ from one in a single knob at most."""
        values = list(self.axes.values())[index]
        return [(*through[:index], value, *through[index + 1 :]) for value in values]

    def descend(self, start: Setting) -> tuple[Setting, bool]:
        """One knob after the other until a round changes nothing: where it ended, and False if stopped before."""
        here = start
        for _ in range(ROUNDS_MAX):
            at_round_start = here
            for index in range(len(self.axes)):
                self.run(self.axis(index, here))
                here = self.best([here, *self.axis(index, here)])
            if here == at_round_start:
                return here, True
        return here, False

    def curve(self, index: int, through: Setting) -> tuple[Point, ...]:
        return tuple(self.points[setting] for setting in self.axis(index, through) if setting in self.points)


def policy_text(policy: Policy) -> str:
    """A policy as ``--policy`` takes it, with the knobs that differ from their defaults.

    Example:
        >>> policy_text(read_policy("mooncake_min_ttft:threshold=2"))
        'mooncake_min_ttft:threshold=2.0'
    """
    defaults = {knob.name: knob.default for knob in policy.rule.all_knobs()}
    changed = {name: value for name, value in policy.values.items() if value != defaults[name]}
    words = [f"{name}={'none' if value is None else value}" for name, value in changed.items()]
    return policy.rule.name + (":" + ",".join(words) if words else "")
