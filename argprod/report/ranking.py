"""Who is ahead of whom in a measure: told from the runs, or not told apart by them.

Runs of two policies with the same seed (or of the same repetition) are compared in pairs, so what a seed does to both
cancels. The mean of their differences has an interval, mean ± t s / sqrt(n) with s the standard deviation of the n
differences and t Student's quantile for 95%. Then one is ahead of the other if the interval leaves out 0; they are
equal if the whole of it lies within a small band around 0; else the runs do not tell them apart. One run of each has no
interval: their order is then told as it was found, and whoever tells it has to say so.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass

from scipy.special import stdtrit

from argprod.report.measures import FURTHER, HEADLINE, Measure, OverSeeds, over_seeds
from argprod.report.model import ReportInput

#: Distances that lie within this share of the better mean, with their whole interval, are called equal.
EQUAL_WITHIN = 5e-3
#: How sure an interval is.
CONFIDENCE = 0.95


class Relation(enum.Enum):
    """How one policy stands to another in a measure."""

    AHEAD = "ahead"
    BEHIND = "behind"
    EQUAL = "equal"
    UNTOLD = "not told apart"


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
        """The first: the best mean, whether or not the runs tell it apart from the next."""
        return self.standings[0]

    @property
    def unbeaten(self) -> list[str]:
        """Those whom nobody is ahead of."""
        return [standing.policy for standing in self.standings if not self.ahead_of(standing.policy)]

    def of(self, policy: str) -> Standing | None:
        """Where one policy stands."""
        return next((standing for standing in self.standings if standing.policy == policy), None)

    def ahead_of(self, policy: str) -> list[Standing]:
        """Who is better than a policy, best first."""
        return self._to(policy, Relation.BEHIND)

    def equal_to(self, policy: str) -> list[Standing]:
        """Who is equal to it."""
        return self._to(policy, Relation.EQUAL)

    def untold_from(self, policy: str) -> list[Standing]:
        """Whom the runs do not tell apart from it."""
        return self._to(policy, Relation.UNTOLD)

    def behind(self, policy: str) -> list[Standing]:
        """Who is worse than a policy, best first."""
        return self._to(policy, Relation.AHEAD)

    def _to(self, policy: str, asked: Relation) -> list[Standing]:
        own = self.of(policy)
        return [] if own is None else [s for s in self.standings if s is not own and self.relation(own, s) is asked]

    def distance(self, own: Standing, other: Standing) -> float:
        """How far a mean is behind another, as a share of the better of the two; negative if it is ahead."""
        assert own.value.mean is not None
        assert other.value.mean is not None
        return _distance(self.measure, own.value.mean, other.value.mean)

    def relation(self, own: Standing, other: Standing) -> Relation:
        """How the first stands to the second, as far as the runs tell."""
        one, two = own.value.by_seed, other.value.by_seed
        shared = [seed for seed in one if seed in two]
        if not shared or len(shared) == 1 < max(len(one), len(two)):
            return Relation.UNTOLD  # an experiment that was interrupted: their runs are of different seeds
        low, high = _interval(self.measure, one, two, shared)
        if max(abs(low), abs(high)) < EQUAL_WITHIN:
            return Relation.EQUAL
        if low > 0:
            return Relation.BEHIND
        return Relation.AHEAD if high < 0 else Relation.UNTOLD

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
    return gap / abs(better) if better else math.copysign(math.inf, gap)


def _interval(
    measure: Measure, one: Mapping[int, float], two: Mapping[int, float], shared: list[int]
) -> tuple[float, float]:
    """Where the distance of the first from the second lies, as a share of the better mean over the shared seeds."""
    count = len(shared)
    means = [sum(values[seed] for seed in shared) / count for values in (one, two)]
    distance = _distance(measure, *means)
    gaps = [one[seed] - two[seed] for seed in shared]
    if count == 1 or max(gaps) == min(gaps):
        return distance, distance
    middle = sum(gaps) / count
    deviation = math.sqrt(sum((gap - middle) ** 2 for gap in gaps) / (count - 1))
    reach = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * deviation / math.sqrt(count)
    better = abs(max(means) if measure.more else min(means))
    if better and math.isfinite(distance):
        return distance - reach / better, distance + reach / better
    told = reach < abs(middle)  # there is no better mean to take shares of, so only the order can be told
    return (distance, distance) if told else (-math.inf, math.inf)


def rank(given: ReportInput, measure: Measure) -> Ranking | None:
    """Order the policies by a measure; None if none has it."""
    values = {label: over_seeds(measure, given.summaries_of(label)) for label in given.policies}
    known = {label: value for label, value in values.items() if value.mean is not None}
    if not known:
        return None
    sign = -1 if measure.more else 1
    order = sorted(known, key=lambda label: sign * (known[label].mean or 0.0))
    return Ranking(measure, tuple(Standing(name, known[name]) for name in order))


def rankings(given: ReportInput, measures: tuple[Measure, ...] = HEADLINE + FURTHER) -> list[Ranking]:
    """The rankings of all measures that exist."""
    return [ranking for ranking in (rank(given, measure) for measure in measures) if ranking is not None]
