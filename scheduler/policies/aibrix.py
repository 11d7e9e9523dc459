"""AIBrix, policy ``prefix-cache``: the best match that is not more than one sigma above the mean load.

1. If the most loaded instance has over 8 requests more than the least, only instances at the minimum are candidates.
2. Among candidates that hold any of the prompt and whose count is at most ``mean + 1 sigma`` (sample sigma over all
   instances): longest match, then fewest requests, then at random.
3. If there is none: fewest requests among the candidates, at random.

Choices: the count is requests in flight (running + waiting), as of AIBrix's real-time counter and the LMetric port; the
match is in tokens, not in whole per cent. ``count <= mean + k sigma`` is decided without division or root, from
``d = n count - total``: ``d <= 0`` or ``d^2 (n - 1) <= k^2 sum d^2``, exact in whole numbers.

Source: AIBrix at e3e10f9, local ``prefix-cache`` policy (docs/sources.md#aibrix).
"""

from __future__ import annotations

from scheduler.domains import REQUESTS_MAX, Domain
from scheduler.indicators import Indicators
from scheduler.ops import Number, Ops, Over
from scheduler.policies.rule import Aggregates, Knob, Knobs, Pick, Rule


def counts(_ops: Ops, over: Over, _: Knobs) -> Aggregates:
    """Least and most requests, how many instances, their total and ``sum d^2``."""
    least, most = over.least(lambda x: x.running + x.waiting), over.most(lambda x: x.running + x.waiting)
    size, total = over.size(), over.total(lambda x: x.running + x.waiting)

    def squared(x: Indicators) -> Number:
        distance = size * (x.running + x.waiting) - total
        return distance * distance

    return least, most, size, total, over.total(squared)


def at_minimum_if_uneven(ops: Ops, x: Indicators, aggregates: Aggregates, knobs: Knobs) -> Number:
    """The first step."""
    least, most, *_ = aggregates
    return ops.or_(most - least <= knobs.imbalance, ops.eq(x.running + x.waiting, least))


def match_then_load(ops: Ops, x: Indicators, aggregates: Aggregates, knobs: Knobs) -> tuple[Number, ...]:
    """The second and third step: instances that qualify come first, by match; all by requests."""
    _, _, size, total, squares = aggregates
    count = x.running + x.waiting
    distance = size * count - total
    near = ops.or_(distance <= 0, distance * distance * (size - 1) <= knobs.sigmas * knobs.sigmas * squares)
    qualifies = ops.and_(x.hit_tokens > 0, near)
    return ops.where(qualifies, 0, 1), ops.where(qualifies, -x.hit_tokens, 0), count


AIBRIX_PREFIX_CACHE = Rule(
    "aibrix_prefix_cache",
    "best match within one sigma of the mean load",
    "AIBrix e3e10f9 prefix-cache; docs/sources.md#aibrix",
    match_then_load,
    counts,
    at_minimum_if_uneven,
    pick=Pick.RANDOM,
    knobs=(
        Knob(
            "imbalance",
            8,
            "difference of requests above which only the least loaded stay",
            Domain(0, REQUESTS_MAX, integer=True, unit="request"),
            sweep=(2, 4, 8, 16, 32),
        ),
        Knob("sigmas", 1, "standard deviations above the mean that are allowed", Domain(0, 16), sweep=(0.5, 1, 2)),
    ),
)

RULES = (AIBRIX_PREFIX_CACHE,)
