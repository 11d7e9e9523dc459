"""Bailian's production rule: ``alpha h' + beta n' + gamma t'`` of three min-max normalised indicators.

``h'`` is the hit ratio, ``n'`` the batch size turned round, ``t'`` all context tokens turned round, each mapped to
[0, 1] over the instances of this decision (a range below 1e-6 counts as 1e-6, so equal values give 0). As published
one instance is drawn in proportion to the score; the archived "deterministic" runs took the greatest, and we take the
lowest index among equals there (the source does not say).

Source: blitz-router, ``router/src/policies/bailian.rs`` at 2327a08 (docs/sources.md#bailian).
"""

from __future__ import annotations

from scheduler.domains import Domain
from scheduler.indicators import Indicators
from scheduler.ops import Number, Ops, Over
from scheduler.policies.rule import Aggregates, Knob, Knobs, Pick, Rule

#: The floor 1e-6 of a range, as its reciprocal: whole numbers keep the exact worlds exact.
_RANGE_RESOLUTION = 1_000_000


def _hit_ratio(x: Indicators) -> Number:
    return x.hit_tokens / x.prompt_tokens


def ranges(_ops: Ops, over: Over, _: Knobs) -> Aggregates:
    """Least hit ratio, greatest batch, greatest context and the three ranges."""
    hits = over.least(_hit_ratio), over.spread(_hit_ratio)
    batches = over.most(lambda x: x.batch_size), over.spread(lambda x: x.batch_size)
    contexts = over.most(lambda x: x.context_tokens), over.spread(lambda x: x.context_tokens)
    return hits, batches, contexts


def _unit(ops: Ops, distance: Number, spread: Number) -> Number:
    return distance * _RANGE_RESOLUTION / ops.max_(spread * _RANGE_RESOLUTION, 1)


def weight(ops: Ops, x: Indicators, aggregates: Aggregates, knobs: Knobs) -> Number:
    """The score, greater is better: a weight to draw by."""
    (least_hit, hits), (most_batch, batches), (most_context, contexts) = aggregates
    return (
        knobs.alpha * _unit(ops, _hit_ratio(x) - least_hit, hits)
        + knobs.beta * _unit(ops, most_batch - x.batch_size, batches)
        + knobs.gamma * _unit(ops, most_context - x.context_tokens, contexts)
    )


def negative_weight(ops: Ops, x: Indicators, aggregates: Aggregates, knobs: Knobs) -> Number:
    """The score turned round, so that the least key has the greatest score."""
    return -weight(ops, x, aggregates, knobs)


_SHARE = Domain(0, None, typical_high=1)
_KNOBS = (
    # Scores are compared by ratio only, so moving alpha against fixed beta and gamma covers the published settings.
    Knob("alpha", 0.7, "weight of the hit ratio", _SHARE, sweep=(0.03, 0.1, 0.2, 0.3, 0.45, 0.7, 1.0, 1.5, 3.0, 10.0)),
    Knob("beta", 0.15, "weight of the batch size", _SHARE, sweep=(0.05, 0.15, 0.3)),
    Knob("gamma", 0.15, "weight of the context tokens", _SHARE, sweep=(0.0, 0.15, 0.3)),
)
_NEEDS = ("context_tokens",)

BAILIAN = Rule(
    "bailian",
    "hit ratio, batch, context: drawn by weight",
    "blitz-router bailian.rs 2327a08; docs/sources.md#bailian",
    weight,
    ranges,
    pick=Pick.WEIGHTED,
    knobs=_KNOBS,
    needs=_NEEDS,
)
BAILIAN_ARGMAX = Rule(
    "bailian_argmax",
    "hit ratio, batch, context: the greatest",
    "blitz-router deterministic runs; docs/sources.md#bailian",
    negative_weight,
    ranges,
    knobs=_KNOBS,
    needs=_NEEDS,
)

RULES = (BAILIAN, BAILIAN_ARGMAX)
