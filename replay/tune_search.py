"""The search for a rule's best setting: which settings are run, in which order, and when it is over."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from replay.experiment import Plan, RequestsOf, run_all
from replay.metrics import Summary
from replay.objectives import Objective
from replay.sweep_axes import beyond, goes_on, grown, numbers_of
from scheduler.policies.rule import Policy

#: Up to so many knobs the whole grid is run.
GRID_KNOBS_MAX = 2
#: Rounds of coordinate descent, at most; it nearly always settles in two or three.
ROUNDS_MAX = 5
#: Values tried past each end of a published sweep, at most. Values that the caller gave are all that is tried.
BEYOND_MAX = 4

#: A setting: one value for each swept knob, in their order.
Setting = tuple[Any, ...]
#: An end of a sweep: the knob, and True for the upper end.
End = tuple[str, bool]
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


def mean_of(objective: Objective, summaries: Iterable[Summary]) -> float | None:
    """Mean of an objective over the runs that have it; None if none has."""
    known = [value for value in map(objective.value, summaries) if value is not None]
    return sum(known) / len(known) if known else None


@dataclass(slots=True)
class Search:
    """Settings of one rule, run when they are first asked for.

    Args:
        base: the rule with the knobs that stay as they are.
        axes: knob -> values to try; they grow when a sweep goes on past its end.
        requests_of: the requests of a seed.
        plan: cluster, seeds and loop.
        objective: what is made best.
        jobs: processes.
        progress: told how many runs are done.
        points: what was run.
    """

    base: Policy
    axes: dict[str, tuple[Any, ...]]
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
            self.points[setting] = Point(text, named, mean_of(self.objective, seen), tuple(seen))

    def text(self, setting: Setting) -> str:
        """The policy as the command line takes it, so that it can be repeated; defaults are left unsaid."""
        values = {**self.base.values, **dict(zip(self.axes, setting, strict=True))}
        return policy_text(Policy(self.base.rule, values))

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
        name, values = list(self.axes.items())[index]
        return [self.with_value(name, value, through) for value in values]

    def ends(self) -> list[End]:
        """The ends of the axes that a sweep may go past: of knobs that are numbers, two values or more."""
        return [(name, upper) for name, axis in self.axes.items() if goes_on(axis) for upper in (False, True)]

    def inside(self, start: Setting) -> tuple[Setting, bool]:
        """The best within the axes: of the whole grid, or by descent."""
        if len(self.axes) > GRID_KNOBS_MAX:
            return self.descend(start)
        self.run(itertools.product(*self.axes.values()))
        return self.best(self.points), True

    def outside(self, here: Setting, left: dict[End, int]) -> Setting:
        """Past each end of a sweep where the best setting lies, as long as the last step helped.

        Args:
            here: the best within the axes, which grow.
            left: how many values may still be tried past an end; counted down.
        """
        for end, room in left.items():
            name, upper = end
            for tried in range(1, room + 1):
                further = self.past(end, here)
                if further is None:
                    break
                left[end] = room - tried
                self.axes[name] = grown(self.axes[name], further, upper=upper)
                setting = self.with_value(name, further, here)
                self.run([setting])
                here = self.best([here, setting])
        return here

    def past(self, end: End, here: Setting) -> float | None:
        """The next value past an end, if a setting lies there and is better than its neighbour; None else."""
        name, upper = end
        values = numbers_of(self.axes[name])
        last, neighbour = (values[-1], values[-2]) if upper else (values[0], values[1])
        beside = self.with_value(name, neighbour, here)
        if self.with_value(name, last, here) != here:
            return None
        self.run([beside])
        if self.best([beside, here]) == beside:
            return None
        domain = next(knob.domain for knob in self.base.rule.all_knobs() if knob.name == name)
        return beyond(domain, values, upper=upper) if domain is not None else None

    def with_value(self, name: str, value: Any, here: Setting) -> Setting:
        """A setting with another value of one knob."""
        return tuple(value if knob == name else now for knob, now in zip(self.axes, here, strict=True))

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
        """What was run along one knob through a setting."""
        return tuple(self.points[setting] for setting in self.axis(index, through) if setting in self.points)


def policy_text(policy: Policy) -> str:
    """A policy as ``--policy`` takes it, with the knobs that differ from their defaults.

    Example:
        >>> from scheduler.policies.catalogue import policy
        >>> policy_text(policy("mooncake_min_ttft:threshold=2"))
        'mooncake_min_ttft:threshold=2.0'
    """
    defaults = {knob.name: knob.default for knob in policy.rule.all_knobs()}
    changed = {name: value for name, value in policy.values.items() if value != defaults[name]}
    words = [f"{name}={'none' if value is None else value}" for name, value in changed.items()]
    return policy.rule.name + (":" + ",".join(words) if words else "")
