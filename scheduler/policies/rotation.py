"""Taking turns: the memory is the index that comes first, and the rules that rest on it or on chance alone.

Source: PEERS.md 1.5 (round-robin, random), 3 (rotating start of the scan).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from scheduler.domains import REQUESTS_MAX, Domain
from scheduler.indicators import Indicators
from scheduler.ops import Number, Ops
from scheduler.policies.rule import Aggregates, Knobs, Memory, Pick, Rule
from scheduler.state import Request


def _turns(first: int, _: Request, view: Any, __: Knobs, ___: random.Random) -> Mapping[str, Sequence[Number]]:
    count = len(view.running)
    return {"turn": [(index - first) % count for index in range(count)]}


#: Column ``turn``: 0 for the instance whose turn it is, counting up; the turn moves on by one each decision.
ROTATION = Memory(
    columns={"turn": Domain(0, REQUESTS_MAX, integer=True, typical_high=16)},
    start=lambda _count, _knobs: 0,
    recall=_turns,
    remember=lambda first, _request, view, _chosen, _knobs: (first + 1) % len(view.running),
)


def turn(_ops: Ops, x: Indicators, _: Aggregates, __: Knobs) -> Number:
    """Whose turn it is."""
    return x.recalled["turn"]


def nothing(_ops: Ops, _x: Indicators, _: Aggregates, __: Knobs) -> Number:
    """All instances are equal."""
    return 0


ROUND_ROBIN = Rule("round_robin", "one after the other", "PEERS.md 1.5", turn, memory=ROTATION)
RANDOM = Rule("random", "uniformly at random", "PEERS.md 1.5", nothing, pick=Pick.RANDOM)

RULES = (ROUND_ROBIN, RANDOM)
