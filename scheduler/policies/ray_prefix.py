"""Ray Serve LLM's ``PrefixCacheAffinityRouter``: the best match, else the smallest tree, else two drawn.

While queue lengths differ by at most ``imbalanced_threshold`` (infinite by default, so always): if the longest match is
at least ``match_rate`` of the prompt, the instances that have it, else those with the smallest trees. Beyond the
threshold: two distinct instances drawn uniformly. Among these the shortest queue.

Choices: a queue is the requests in flight, as probed without delay. Tokens stand for the source's characters. Matches
are those of the router's prefix index; the size of a tree is what this router sent there and missed, as for
:mod:`scheduler.policies.sglang`, since eviction is off by default. Trees start equal, so the first requests without a
match go by queue. Among equal queues the lowest index, of two drawn the first drawn (not said there). Numbers are drawn
only if the threshold is finite. An instance that joins starts with an empty tree.

Source: Ray Serve LLM, ``PrefixCacheAffinityRouter`` (docs/sources.md#ray-serve).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from scheduler.domains import REQUESTS_MAX, Domain
from scheduler.indicators import Indicators
from scheduler.ops import SCALAR, Number, Ops, Over
from scheduler.policies.common import in_flight, longest_match, missed_tokens, widened
from scheduler.policies.power_of_two import TWO_DRAWN
from scheduler.policies.rule import Aggregates, Knob, Knobs, Memory, Rule
from scheduler.state import Request


def _recall(
    trees: tuple[int, ...], request: Request, view: Any, knobs: Knobs, rng: random.Random
) -> Mapping[str, Sequence[Number]]:
    count = len(view.running)
    drawn: Mapping[str, Sequence[Number]] = {"order": [0] * count}
    if knobs.imbalanced_threshold is not None:
        drawn = TWO_DRAWN.recall(None, request, view, knobs, rng)
    return {"tree_tokens": widened(trees, count), **drawn}


def _remember(trees: tuple[int, ...], request: Request, view: Any, chosen: int, _: Knobs) -> tuple[int, ...]:
    grown = list(widened(trees, len(view.running)))
    grown[chosen] += missed_tokens(SCALAR, request.prompt_tokens, view.hit_tokens[chosen])
    return tuple(grown)


#: Columns ``tree_tokens`` and ``order``, the latter of :mod:`scheduler.policies.power_of_two`.
TREES = Memory(
    columns={
        "tree_tokens": Domain(0, None, integer=True, unit="token", typical_high=1_000_000),
        **TWO_DRAWN.columns,
    },
    start=lambda count, _knobs: (0,) * count,
    recall=_recall,
    remember=_remember,
)


def uneven_longest_smallest(ops: Ops, over: Over, knobs: Knobs) -> Aggregates:
    """Whether queues are uneven (None: never), the longest match, the smallest tree."""
    threshold = knobs.imbalanced_threshold
    uneven = None if threshold is None else over.spread(in_flight) > threshold
    return uneven, longest_match(ops, over, knobs), over.least(lambda x: x.recalled["tree_tokens"])


def matched_small_or_drawn(ops: Ops, x: Indicators, aggregates: Aggregates, knobs: Knobs) -> Number:
    """The two drawn if queues are uneven; else the holders of a match that is long enough; else the smallest trees."""
    uneven, longest, smallest = aggregates
    matched = longest / x.prompt_tokens >= knobs.match_rate
    holds = ops.and_(matched, ops.eq(x.hit_tokens, longest))
    small = ops.and_(ops.not_(matched), ops.eq(x.recalled["tree_tokens"], smallest))
    even = ops.or_(holds, small)
    if uneven is None:
        return even
    drawn = x.recalled["order"] < 2
    return ops.or_(ops.and_(uneven, drawn), ops.and_(ops.not_(uneven), even))


def shorter_queue(ops: Ops, x: Indicators, aggregates: Aggregates, _: Knobs) -> tuple[Number, ...]:
    """Requests in flight, then, where two were drawn, the order of drawing."""
    uneven = aggregates[0]
    return (in_flight(x),) if uneven is None else (in_flight(x), ops.where(uneven, x.recalled["order"], 0))


RAY_PREFIX_AFFINITY = Rule(
    "ray_prefix_affinity",
    "best match or smallest tree; two drawn if uneven",
    "Ray PrefixCacheAffinityRouter; docs/sources.md#ray-serve",
    shorter_queue,
    uneven_longest_smallest,
    matched_small_or_drawn,
    knobs=(
        Knob(
            "imbalanced_threshold",
            None,
            "difference of queues above which two are drawn; none is infinite",
            Domain(0, REQUESTS_MAX, integer=True, unit="request"),
            sweep=(None, 4, 16, 64),
            optional=True,
        ),
        Knob("match_rate", 0.1, "match/prompt from where the cache decides", Domain(0, 1), sweep=(0.1, 0.3, 0.5)),
    ),
    memory=TREES,
)

RULES = (RAY_PREFIX_AFFINITY,)
