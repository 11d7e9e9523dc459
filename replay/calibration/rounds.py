"""Rounds of steps, and which of them a fit does not see.

Steps of one round follow from each other: the context of a batch grows by a token a step, and a machine that is slow
now is slow a moment later. Were single steps held out, each would have its twin among those that were fitted, and the
error on them would say little. So whole rounds are held out, some of every kind.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from replay.engines.steps import StepRecord
from scheduler.domains import Domain
from scheduler.errors import BadInput

#: Share of the rounds that is held out.
HELD_OUT = 0.25
#: With fewer rounds they are cut into this many stretches of steps that follow each other.
STRETCHES = 16
_SHARE = Domain(0, 0.9, unit="1", low_open=True)


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """Steps that belong together.

    Args:
        kind: what the round was for, as the plan of measurement names it; empty where there was none.
        steps: in their order.
    """

    kind: str = ""
    steps: tuple[StepRecord, ...] = ()


def all_steps(rounds: Iterable[Round]) -> list[StepRecord]:
    """The steps of all rounds."""
    return [step for one in rounds for step in one.steps]


def noise_of(rounds: Iterable[Round]) -> float | None:
    """How far equal steps are from each other: where that is as much as the error of a fit, no other fit does better.

    Compared are decode steps that follow each other with the same batch, whose contexts differ by a token.

    Returns:
        The median of ``|log(step / next step)|``, or None if no two such steps follow each other.

    Example:
        >>> steps = [StepRecord(at_s=0.0, step_s=s, decode_requests=2, kv_tokens=9) for s in (0.010, 0.011, 0.010)]
        >>> round(noise_of([Round(steps=tuple(steps))]), 4)
        0.0953
    """
    apart = [
        abs(math.log(one.step_s / two.step_s))
        for each in rounds
        for one, two in pairwise(each.steps)
        if one.decode_requests == two.decode_requests > 0 and not one.prefill_tokens and not two.prefill_tokens
    ]
    return statistics.median(apart) if apart else None


def split(rounds: Sequence[Round], seed: int = 0, share: float = HELD_OUT) -> tuple[list[Round], list[Round]]:
    """Rounds to fit, and rounds to test the fit on: of every kind about this share, drawn by chance.

    Args:
        rounds: at least one step in each of two, or two steps in one.
        seed: of the draw.
        share: of the rounds that are held out.

    Raises:
        BadInput: if there is nothing to split.

    Example:
        >>> step = StepRecord(at_s=0.0, step_s=0.01, prefill_tokens=5)
        >>> fitted, held_out = split([Round(kind="prefill", steps=(step,))] * 40)
        >>> len(fitted), len(held_out)
        (30, 10)
    """
    _SHARE.check("share", share)
    whole = [one for one in rounds if one.steps]
    if len(whole) < STRETCHES:
        whole = _stretches(whole)
    if len(whole) < 2:
        raise BadInput("steps", len(whole), "two at least, to fit one and test on the other", "measure for longer")
    rng = random.Random(seed)
    held_out: set[int] = set()
    by_kind: dict[str, list[int]] = {}
    for place, one in enumerate(whole):
        by_kind.setdefault(one.kind, []).append(place)
    for places in by_kind.values():
        count = round(share * len(places))
        held_out.update(rng.sample(places, count))
    if not held_out:
        held_out.add(rng.randrange(len(whole)))
    return (
        [one for place, one in enumerate(whole) if place not in held_out],
        [one for place, one in enumerate(whole) if place in held_out],
    )


def _stretches(rounds: Sequence[Round]) -> list[Round]:
    """The rounds cut into pieces, about :data:`STRETCHES` in all."""
    total = sum(len(one.steps) for one in rounds)
    size = max(1, -(-total // STRETCHES))
    return [
        Round(kind=one.kind, steps=one.steps[at : at + size]) for one in rounds for at in range(0, len(one.steps), size)
    ]
