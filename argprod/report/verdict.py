"""The verdict: who wins what and by how much, and where LMetric does not, computed from numbers alone.

Wins and losses go through the same code, so they come out in the same words.
"""

from __future__ import annotations

from dataclasses import dataclass

from argprod.report.measures import FURTHER, HEADLINE, Measure, OverSeeds, over_seeds
from argprod.report.model import ReportInput

#: Two means closer than this share of the better one are called equal.
EQUAL_WITHIN = 5e-3


@dataclass(frozen=True, slots=True)
class Standing:
    """One policy in one measure: its label, and the value over its seeds."""

    policy: str
    value: OverSeeds


@dataclass(frozen=True, slots=True)
class Ranking:
    """All policies that have a measure, the best mean first; the same means in the order of the runs."""

    measure: Measure
    standings: tuple[Standing, ...]

    @property
    def best(self) -> Standing:
        """The first."""
        return self.standings[0]

    @property
    def winners(self) -> list[str]:
        """The best and all that equal it: nobody is ahead of them."""
        return [standing.policy for standing in self.standings if not self.ahead_of(standing.policy)]

    def of(self, policy: str) -> Standing | None:
        """Where one policy stands."""
        return next((standing for standing in self.standings if standing.policy == policy), None)

    def ahead_of(self, policy: str) -> list[Standing]:
        """Who is better than a policy, and not merely equal, best first."""
        own = self.of(policy)
        if own is None:
            return []
        return [s for s in self.standings if self.distance(own, s) > 0 and not self.equal(own, s)]

    def equal_to(self, policy: str) -> list[Standing]:
        """Who else is neither ahead nor behind."""
        own = self.of(policy)
        return [] if own is None else [s for s in self.standings if s is not own and self.equal(own, s)]

    def behind(self, policy: str) -> list[Standing]:
        """Who is worse than a policy, and not merely equal, best first."""
        own = self.of(policy)
        if own is None:
            return []
        return [s for s in self.standings if self.distance(s, own) > 0 and not self.equal(own, s)]

    def distance(self, own: Standing, other: Standing) -> float:
        """How far a mean is behind another, as a share of the better of the two; negative if it is ahead."""
        assert own.value.mean is not None
        assert other.value.mean is not None
        return _distance(self.measure, own.value.mean, other.value.mean)

    def equal(self, own: Standing, other: Standing) -> bool:
        """Whether the means are too close, or some seed says otherwise than they do."""
        mean = self.distance(own, other)
        if abs(mean) < EQUAL_WITHIN:
            return True
        one, two = own.value.by_seed, other.value.by_seed
        return any(_distance(self.measure, one[seed], two[seed]) * mean <= 0 for seed in one if seed in two)

    def compared(self, worse: Standing, better: Standing) -> str:
        """The distance of two policies in words, with its base.

        It reads "a is 40.0% slower than b (2.36 s against 1.69 s)".
        """
        verb = "is" if self.measure.latency else "has"
        return f"{worse.policy} {verb} {self.against(worse, better)}"

    def against(self, worse: Standing, better: Standing) -> str:
        """The same without who is worse."""
        shown = self.measure.shown
        return (
            f"{self.measure.worse_by(self.distance(worse, better))} than {better.policy} "
            f"({shown(worse.value.mean)} against {shown(better.value.mean)})"
        )


def _distance(measure: Measure, own: float, other: float) -> float:
    if own == other:
        return 0.0
    gap = other - own if measure.more else own - other
    better = max(own, other) if measure.more else min(own, other)
    return gap / abs(better) if better else float("inf") * gap


def rank(given: ReportInput, measure: Measure) -> Ranking | None:
    """Order the policies by a measure; None if none has it."""
    values = {label: over_seeds(measure, given.summaries_of(label)) for label in given.policies}
    known = {label: value for label, value in values.items() if value.mean is not None}
    if not known:
        return None
    sign = -1 if measure.more else 1
    order = sorted(known, key=lambda label: sign * (known[label].mean or 0.0))
    return Ranking(measure, tuple(Standing(name, known[name]) for name in order))


def product_of(given: ReportInput) -> str | None:
    """The label of LMetric among the policies: as published if it ran, else its first variant with other ties."""
    named = [run.policy for run in given.runs if run.summary.name == "lmetric"]
    return "lmetric" if "lmetric" in named else (named[0] if named else None)


def rankings(given: ReportInput, measures: tuple[Measure, ...] = HEADLINE + FURTHER) -> list[Ranking]:
    """The rankings of all measures that exist."""
    return [ranking for ranking in (rank(given, measure) for measure in measures) if ranking is not None]


def lead_sentence(given: ReportInput) -> str:
    """One or two sentences about the headline measures."""
    found = rankings(given, HEADLINE)
    label = product_of(given)
    if len(given.policies) == 1:
        return f"Only {given.policies[0]} ran, so there is nothing to compare it with."
    if label is None:
        parts = [f"{_names(r.winners)} in {r.measure.label}" for r in found]
        return f"LMetric is not among the policies of this experiment. Best: {'; '.join(parts)}."
    won = [r for r in found if r.winners == [label]]
    level = [r for r in found if label in r.winners and r not in won]
    lost = [r for r in found if label not in r.winners]
    parts = []
    if won:
        parts.append(f"ahead in {len(won)} ({_measures(won)})")
    if level:
        parts.append(f"equal to the best in {len(level)} ({_measures(level)})")
    if lost:
        parts.append(f"behind in {len(lost)}: {'; '.join(_loss(r, label) for r in lost)}")
    return f"Of {len(found)} headline measures {label} is {', '.join(parts)}."


def _measures(found: list[Ranking]) -> str:
    return ", ".join(ranking.measure.label for ranking in found)


def _loss(ranking: Ranking, label: str) -> str:
    own = ranking.of(label)
    if own is None:
        return f"{ranking.measure.label}, which it does not have"
    return f"{ranking.measure.label}, where {ranking.compared(own, ranking.ahead_of(label)[0])}"


def _names(labels: list[str], most: int = 3) -> str:
    shown = ", ".join(labels[:most])
    return shown if len(labels) <= most else f"{shown} and {len(labels) - most} more"


def ahead_lines(given: ReportInput, label: str) -> list[str]:
    """Each measure in which no policy is ahead of LMetric: which ones equal it, and how far the next one is behind."""
    lines = []
    for ranking in rankings(given):
        own, shown = ranking.of(label), ranking.measure.shown
        if own is None or ranking.ahead_of(label):
            continue
        equal, behind = ranking.equal_to(label), ranking.behind(label)
        parts = []
        if equal:
            names = [f"{s.policy} ({shown(s.value.mean)})" for s in equal]
            parts.append(f"{label} ({shown(own.value.mean)}) equals {_names(names)}")
        if behind:
            parts.append(ranking.compared(behind[0], own))
        lines.append(f"{ranking.measure.label}: {'; '.join(parts) or shown(own.value.mean)}.")
    return lines


def behind_lines(given: ReportInput, label: str, most: int = 4) -> list[str]:
    """Each measure in which some policy is ahead of LMetric: which ones, and by how much."""
    lines = []
    for ranking in rankings(given):
        own, ahead = ranking.of(label), ranking.ahead_of(label)
        if own is None or not ahead:
            continue
        parts = [ranking.compared(own, ahead[0])] + [ranking.against(own, s) for s in ahead[1:most]]
        more = f", and worse than {len(ahead) - most} more" if len(ahead) > most else ""
        lines.append(f"{ranking.measure.label}: {', '.join(parts)}{more}.")
    return lines


def caveats(given: ReportInput) -> list[str]:
    """What a reader has to know before believing the verdict."""
    notes = [
        f"All numbers were measured on {given.measured_on}, times on the client; another machine or model differs."
        if given.measured_on
        else "All numbers are simulated: they come from a cost model of the GPU, not from a measurement on one.",
        "A percentage of a comparison is the difference divided by the better of the two values.",
        "Rules ran with the knobs shown; one that was not tuned for this traffic may do better (argprod tune).",
    ]
    seeds, word, close = given.seeds, given.one_of_several, f"less than {100 * EQUAL_WITHIN:g}% apart"
    if len(seeds) == 1:
        notes.append(f"Called equal: what is {close}. One {word} has no spread, so small distances mean little.")
    else:
        notes.append(
            f"Means over {len(seeds)} {word}s. Called equal: what is {close}, or not in the same order in every {word}."
        )
        if given.source.kind == "trace" and not given.measured_on:
            notes.append(
                "A trace is the same for every seed: seeds change only draws and random ties, so the runs of a rule "
                "without either are copies of one another, and agreement of seeds says nothing about other traffic."
            )
    lost = {
        label: count
        for label in given.policies
        if (count := sum(s.rejected + s.failed for s in given.summaries_of(label)))
    }
    if lost:
        listed = ", ".join(f"{label}: {count}" for label, count in lost.items())
        notes.append(f"Latencies are those of finished requests. Rejected or failed: {listed}.")
    notes += given.remarks
    planned = len(given.plan.policies) * len(given.plan.mitigations) * len(given.plan.seeds)
    if len(given.runs) < planned:
        notes.append(f"Interrupted: {len(given.runs)} of {planned} runs are in here.")
    return notes
