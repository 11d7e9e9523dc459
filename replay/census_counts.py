"""What the decisions of a census add up to: how often lines would have differed, and which would have differed least.

No line is asked here: a decision is its agreement interval, and a line differs where its weight lies outside. So the
best line in hindsight is found exactly, as the weight that most intervals contain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from replay.census import Decisions
from replay.census_findings import FindingCount
from replay.sim.ticks import TICKS_PER_S
from scheduler import formulas
from scheduler.policies.catalogue import policy
from scheduler.policies.linear import BATCH_SCALE, TOKEN_SCALE

#: Weights that are counted unless others are asked for: 1 to 65536, three to a factor of 16 [token/request].
WEIGHTS = tuple(2.0 ** (4 * step / 3) for step in range(13))
#: Weights between which a line may be called sane: all of them must agree for a decision to be beyond dispute.
SANE = (16.0, 4096.0)
#: Slices of a run, of equally many decisions.
SLICES = 20
#: The two weights lambda at which the line was published.
PUBLISHED_LAMBDAS = (0.7, 0.55)


class WeightCount(msgspec.Struct, frozen=True, kw_only=True):
    """A line of one weight.

    Args:
        weight: w [token/request].
        weight_lambda: the same as lambda, with the scales of the rule ``linear``.
        differing: decisions at which it would have taken another instance.
        share: of all decisions.
    """

    weight: float
    weight_lambda: float
    differing: int
    share: float


class BestLine(msgspec.Struct, frozen=True, kw_only=True):
    """The lines that differ at the fewest decisions: all weights ``low <= w <= high``; the lowest such range.

    Args:
        low, high: of the range; None stands for no upper end [token/request].
        differing: decisions at which even these would have taken another instance.
        share: of all decisions.
    """

    low: float
    high: float | None
    differing: int
    share: float


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the run.

    Args:
        from_s, to_s: time of its first and last decision [s].
        decisions: how many.
        implied: quantiles 0.1, 0.5, 0.9 of the implied weight [token/request].
        best: the best lines within the slice.
    """

    from_s: float
    to_s: float
    decisions: int
    implied: tuple[float, float, float]
    best: BestLine


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of a census.

    Args:
        decisions: of the run.
        weights: one entry a weight, rising.
        published: published line -> share of decisions at which it would have taken another instance.
        beyond_dispute: share of decisions on which all weights of :data:`SANE` agree with the product.
        tied: share of decisions with several least products.
        batch: quantiles 0.1, 0.5, 0.9 of the chosen batch size, the request counted [request].
        margin: the same of the margin; None for a single instance.
        implied: the same of the implied weight [token/request].
        best: the best lines for the whole run, known in hindsight.
        best_by_slice: share of decisions that would differ if every slice had its own best line.
        slices: parts of the run.
        findings: kind of finding -> how often it came up, and how often lines differ there.
    """

    decisions: int
    weights: tuple[WeightCount, ...]
    published: dict[str, float]
    beyond_dispute: float
    tied: float
    batch: tuple[float, float, float]
    margin: tuple[float, float, float] | None
    implied: tuple[float, float, float]
    best: BestLine
    best_by_slice: float
    slices: tuple[Slice, ...]
    findings: dict[str, FindingCount]


def published_weights() -> tuple[float, ...]:
    """The two published lambdas, with the scales of the rule ``linear`` [token/request].

    The published line normalises at each decision; with constant scales this is its nearest fixed line.

    Example:
        >>> [round(weight, 1) for weight in published_weights()]
        [109.7, 209.5]
    """
    lines = [policy(f"linear:form=p_token,weight={value}") for value in PUBLISHED_LAMBDAS]
    return tuple(formulas.exchange_rate(line.knobs.weight, TOKEN_SCALE, BATCH_SCALE) for line in lines)


def count(
    decisions: Decisions,
    weights: Sequence[float] = WEIGHTS,
    slices: int = SLICES,
    findings: Mapping[str, FindingCount] | None = None,
) -> Counts:
    """Add the decisions of a run up.

    Args:
        decisions: at least one.
        weights: lines to count, > 0 [token/request].
        slices: parts of the run, >= 1; fewer if there are fewer decisions.
        findings: what was found at them, if the detector was asked.
    """
    assert len(decisions), "a run without a decision has nothing to count"
    parts = tuple(
        _slice(decisions, rows) for rows in np.array_split(np.arange(len(decisions)), min(slices, len(decisions)))
    )
    low, high = SANE
    return Counts(
        decisions=len(decisions),
        weights=tuple(_counted(decisions, weight) for weight in sorted(set(weights))),
        published={text: differing / len(decisions) for text, differing in decisions.published.items()},
        beyond_dispute=float(np.mean((decisions.low <= low) & (decisions.high >= high))),
        tied=float(np.mean(decisions.tied > 1)),
        batch=_quantiles(decisions.batch),
        margin=None if np.isnan(decisions.margin).any() else _quantiles(decisions.margin),
        implied=_quantiles(decisions.implied_rate),
        best=best_line(decisions.low, decisions.high),
        best_by_slice=sum(part.best.differing for part in parts) / len(decisions),
        slices=parts,
        findings=dict(findings or {}),
    )


def best_line(low: Any, high: Any) -> BestLine:
    """The weights that most agreement intervals contain.

    The greatest number is reached at the low end of some interval, and holds up to the nearest high end.

    Args:
        low, high: of each interval, at least one [token/request].

    Example:
        >>> best = best_line(np.array([0.0, 2.0, 50.0]), np.array([8.0, 6.0, np.inf]))
        >>> best.low, best.high, best.differing
        (2.0, 6.0, 1)

    Source: claim ``agreement_interval``.
    """
    starts, ends = np.sort(low), np.sort(high)
    containing = np.searchsorted(starts, starts, side="right") - np.searchsorted(ends, starts, side="left")
    place = int(np.argmax(containing))
    weight = float(starts[place]) + 0.0  # never -0.0
    end = float(ends[np.searchsorted(ends, weight, side="left")])
    differing = len(starts) - int(containing[place])
    return BestLine(low=weight, high=None if np.isinf(end) else end, differing=differing, share=differing / len(starts))


def _counted(decisions: Decisions, weight: float) -> WeightCount:
    differing = int(np.count_nonzero(decisions.differs(weight)))
    return WeightCount(
        weight=weight,
        weight_lambda=float(formulas.weight_of_rate(weight, TOKEN_SCALE, BATCH_SCALE)),
        differing=differing,
        share=differing / len(decisions),
    )


def _slice(decisions: Decisions, rows: Any) -> Slice:
    return Slice(
        from_s=float(decisions.at[rows[0]] / TICKS_PER_S),
        to_s=float(decisions.at[rows[-1]] / TICKS_PER_S),
        decisions=len(rows),
        implied=_quantiles(decisions.implied_rate[rows]),
        best=best_line(decisions.low[rows], decisions.high[rows]),
    )


def _quantiles(values: Any) -> tuple[float, float, float]:
    low, middle, high = np.quantile(values, (0.1, 0.5, 0.9))
    return float(low), float(middle), float(high)
