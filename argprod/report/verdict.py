"""The verdict: who wins what and by how much, and where LMetric does not, computed from numbers alone.

Wins and losses go through the same code, so they come out in the same words.
"""

from __future__ import annotations

from dataclasses import dataclass

from argprod.report.measures import FURTHER, HEADLINE, Measure, OverSeeds, number, over_seeds
from argprod.report.model import ReportInput

#: Two means closer than this share of the better one are called equal.
EQUAL_WITHIN = 5e-4


@dataclass(frozen=True, slots=True)
class Standing:
    """One policy in one measure.

    Args:
        policy: label.
        value: over its seeds.
        behind: distance from the best, as a share of the best; 0 for the best.
    """

    policy: str
    value: OverSeeds
    behind: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """All policies that have a measure, best first; equal ones in the order of the runs."""

    measure: Measure
    standings: tuple[Standing, ...]

    @property
    def best(self) -> Standing:
        """The first."""
        return self.standings[0]

    @property
    def winners(self) -> list[str]:
        """All that are equal to the best."""
        return [standing.policy for standing in self.standings if standing.behind <= EQUAL_WITHIN]

    def of(self, policy: str) -> Standing | None:
        """Where one policy stands."""
        return next((standing for standing in self.standings if standing.policy == policy), None)

    def ahead_of(self, policy: str) -> list[Standing]:
        """Who is better than a policy, and not merely equal, best first."""
        own = self.of(policy)
        if own is None:
            return []
        return [s for s in self.standings if distance(self.measure, own.value, s.value) > EQUAL_WITHIN]


def distance(measure: Measure, own: OverSeeds, other: OverSeeds) -> float:
    """How far a value is behind another, as a share of the other; negative if it is ahead."""
    assert own.mean is not None
    assert other.mean is not None
    if own.mean == other.mean:
        return 0.0
    gap = other.mean - own.mean if measure.more else own.mean - other.mean
    return gap / abs(other.mean) if other.mean else float("inf") * gap


def rank(given: ReportInput, measure: Measure) -> Ranking | None:
    """Order the policies by a measure; None if none has it."""
    values = {label: over_seeds(measure, given.summaries_of(label)) for label in given.policies}
    known = {label: value for label, value in values.items() if value.mean is not None}
    if not known:
        return None
    sign = -1 if measure.more else 1
    order = sorted(known, key=lambda label: sign * (known[label].mean or 0.0))
    best = known[order[0]]
    return Ranking(measure, tuple(Standing(name, known[name], distance(measure, known[name], best)) for name in order))


def product_of(given: ReportInput) -> str | None:
    """The label of LMetric among the policies: as published if it ran, else its first variant with other ties."""
    named = [run.policy for run in given.runs if run.summary.name == "lmetric"]
    return "lmetric" if "lmetric" in named else (named[0] if named else None)


def rankings(given: ReportInput, measures: tuple[Measure, ...] = HEADLINE + FURTHER) -> list[Ranking]:
    """The rankings of all measures that exist."""
    return [ranking for ranking in (rank(given, measure) for measure in measures) if ranking is not None]


def seeds_ahead(given: ReportInput, measure: Measure, first: str, second: str) -> str:
    """In how many seeds the first policy was strictly better; empty with a single seed."""
    if len(given.seeds) < 2:
        return ""
    one = {s.seed: measure.read(s) for s in given.summaries_of(first)}
    two = {s.seed: measure.read(s) for s in given.summaries_of(second)}
    pairs = [(one[seed], two[seed]) for seed in one if seed in two]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    better = sum((a > b) if measure.more else (a < b) for a, b in known)
    return f", in {better} of {len(known)} seeds"


def percent(share: float) -> str:
    """A share as a percentage.

    Example:
        >>> percent(0.1234), percent(4.2)
        ('12.3%', '420%')
    """
    if share == float("inf"):
        return "without bound"
    return f"{number(100 * share)}%"


def lead_sentence(given: ReportInput) -> str:
    """One or two sentences about the headline measures."""
    found = rankings(given, HEADLINE)
    label = product_of(given)
    if len(given.policies) == 1:
        return f"Only {given.policies[0]} ran, so there is nothing to compare it with."
    if label is None:
        parts = [f"{_names(r.winners)} in {r.measure.label}" for r in found]
        return f"LMetric is not among the policies of this experiment. Best: {'; '.join(parts)}."
    won = [r.measure.label for r in found if label in r.winners]
    lost = [r for r in found if label not in r.winners]
    text = f"{label} is best or equal to the best in {len(won)} of {len(found)} headline measures"
    text += f" ({', '.join(won)})." if won else "."
    if lost:
        parts = [_loss(r, label) for r in lost]
        text += f" It is not ahead in {len(lost)}: {'; '.join(parts)}."
    return text


def _loss(ranking: Ranking, label: str) -> str:
    own = ranking.of(label)
    if own is None:
        return f"{ranking.measure.label}, which it does not have"
    return f"{ranking.measure.label}, where {ranking.best.policy} is better by {percent(own.behind)}"


def _names(labels: list[str], most: int = 3) -> str:
    shown = ", ".join(labels[:most])
    return shown if len(labels) <= most else f"{shown} and {len(labels) - most} more"


def ahead_lines(given: ReportInput, label: str) -> list[str]:
    """Each measure in which no policy is ahead of LMetric, with the next one and the distance."""
    lines = []
    for ranking in rankings(given):
        own = ranking.of(label)
        if own is None or ranking.ahead_of(label):
            continue
        measure = ranking.measure
        equal = [name for name in ranking.winners if name != label]
        others = [s for s in ranking.standings if s.policy != label and s.policy not in equal]
        text = f"{measure.label}: {measure.shown(own.value.mean)}"
        if equal:
            text += f", equal to {_names(equal)}"
        if others:
            behind = distance(measure, others[0].value, own.value)
            text += f"; {others[0].policy} follows, {percent(behind)} behind ({measure.shown(others[0].value.mean)}"
            text += seeds_ahead(given, measure, label, others[0].policy) + ")"
        lines.append(text + ".")
    return lines


def behind_lines(given: ReportInput, label: str, most: int = 4) -> list[str]:
    """Each measure in which some policy is ahead of LMetric: which ones, and by how much."""
    lines = []
    for ranking in rankings(given):
        own, measure = ranking.of(label), ranking.measure
        ahead = ranking.ahead_of(label)
        if own is None or not ahead:
            continue
        parts = [
            f"{s.policy} is ahead by {percent(distance(measure, own.value, s.value))} ({measure.shown(s.value.mean)}"
            + seeds_ahead(given, measure, s.policy, label)
            + ")"
            for s in ahead[:most]
        ]
        more = f", and {len(ahead) - most} more" if len(ahead) > most else ""
        lines.append(f"{measure.label}: {measure.shown(own.value.mean)}; {', '.join(parts)}{more}.")
    return lines


def caveats(given: ReportInput) -> list[str]:
    """What a reader has to know before believing the verdict."""
    notes = [
        "All numbers are simulated: they come from a cost model of the GPU, not from a measurement on one.",
        "Distances are relative to the better of the two values; a distance below 0.05% is called equal.",
    ]
    seeds = given.seeds
    if len(seeds) == 1:
        notes.append("One seed: there is no spread, so small distances mean little.")
    else:
        notes.append(f"Means over {len(seeds)} seeds. Where ranges over the seeds overlap, an order may be chance.")
    lost = {
        label: count
        for label in given.policies
        if (count := sum(s.rejected + s.failed for s in given.summaries_of(label)))
    }
    if lost:
        listed = ", ".join(f"{label}: {count}" for label, count in lost.items())
        notes.append(f"Latencies are those of finished requests. Rejected or failed: {listed}.")
    planned = len(given.plan.policies) * len(given.plan.seeds)
    if len(given.runs) < planned:
        notes.append(f"Interrupted: {len(given.runs)} of {planned} runs are in here.")
    return notes
