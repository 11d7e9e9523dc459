"""Taking turns: the memory is the index that comes first, and the rules that rest on it or on chance alone.

Source: ``round-robin-q`` and ``random-q`` (docs/sources.md#blitz-router), rotating start of the scan (vLLM PR 47420,
docs/sources.md#vllm).
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


ROUND_ROBIN = Rule(
    "round_robin", "one after the other", "round-robin-q; docs/sources.md#blitz-router", turn, memory=ROTATION
)
RANDOM = Rule("random", "uniformly at random", "random-q; docs/sources.md#blitz-router", nothing, pick=Pick.RANDOM)

RULES = (ROUND_ROBIN, RANDOM)
