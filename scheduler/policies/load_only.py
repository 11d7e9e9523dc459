"""Rules that look at load alone. Source: PEERS.md 1.5 and 15."""

from __future__ import annotations

from scheduler.indicators import Indicators
from scheduler.ops import Number, Ops
from scheduler.policies.rule import Aggregates, Knobs, Rule


def batch(_ops: Ops, x: Indicators, _: Aggregates, __: Knobs) -> Number:
    """The batch size: join the shortest queue."""
    return x.batch_size


JOIN_SHORTEST_QUEUE = Rule("join_shortest_queue", "least batch size", "PEERS.md 1.5 (least-bs-q), 15", batch)

RULES = (JOIN_SHORTEST_QUEUE,)
