"""Rules that look at load alone. Source: docs/sources.md#blitz-router."""

from __future__ import annotations

from scheduler.indicators import Indicators
from scheduler.ops import Number, Ops
from scheduler.policies.rule import Aggregates, Knobs, Rule


def batch(_ops: Ops, x: Indicators, _: Aggregates, __: Knobs) -> Number:
    """The batch size: join the shortest queue."""
    return x.batch_size


JOIN_SHORTEST_QUEUE = Rule("join_shortest_queue", "least batch size", "least-bs-q; docs/sources.md#blitz-router", batch)

RULES = (JOIN_SHORTEST_QUEUE,)
