"""The less loaded of two distinct instances drawn uniformly; ties go to the first drawn.

Source: ``power_of_two`` of smg (docs/sources.md#power-of-two).

Load is running + waiting requests: token usage, which smg compares where known, is not among our indicators.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from scheduler.domains import Domain
from scheduler.indicators import Indicators
from scheduler.ops import Number, Ops
from scheduler.policies.rule import Aggregates, Knobs, Memory, Rule
from scheduler.state import Request


def _draw_two(_: None, __: Request, view: Any, ___: Knobs, rng: random.Random) -> Mapping[str, Sequence[Number]]:
    count = len(view.running)
    order = [2] * count
    first = int(rng.random() * count)
    if count > 1:
        second = int(rng.random() * (count - 1))
        order[second + (second >= first)] = 1
    order[first] = 0
    return {"order": order}


#: Column ``order``: 0 for the first drawn, 1 for the second, 2 for the others. Nothing is kept between decisions.
TWO_DRAWN = Memory(
    columns={"order": Domain(0, 2, integer=True, typical_high=2)},
    start=lambda _count, _knobs: None,
    recall=_draw_two,
    remember=lambda _memory, _request, _view, _chosen, _knobs: None,
)


def drawn(_ops: Ops, x: Indicators, _: Aggregates, __: Knobs) -> Number:
    """One of the two."""
    return x.recalled["order"] < 2


def load_then_order(_ops: Ops, x: Indicators, _: Aggregates, __: Knobs) -> tuple[Number, ...]:
    """Requests, then the order of drawing."""
    return x.running + x.waiting, x.recalled["order"]


POWER_OF_TWO = Rule(
    "power_of_two",
    "less loaded of two drawn",
    "smg power_of_two.rs; docs/sources.md#power-of-two",
    load_then_order,
    eligible=drawn,
    memory=TWO_DRAWN,
)

RULES = (POWER_OF_TWO,)
