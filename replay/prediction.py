"""Whether engines took from their caches what the router predicted, and why not where they did not.

Engines share whole blocks, so both figures are compared in these. Of a prompt that is cached to its end an engine
computes the last token again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from replay.live_record import Line
from scheduler.state import Request

#: Another request was on its way to a first token on the same instance at the same time, and both begin with the tokens
#: of which the prediction was wrong: which of the two the engine would take first, and what it would have cached by
#: then, nobody could know.
ON_ITS_WAY = "on its way"
UNKNOWN = "unknown"


class Off(msgspec.Struct, frozen=True, kw_only=True):
    """One request of which the prediction was off.

    Args:
        id, instance: of the request, and of the engine.
        predicted_tokens, cached_tokens: as in :class:`replay.live_record.Line` [token].
        cause: :data:`ON_ITS_WAY` or :data:`UNKNOWN`.
    """

    id: int
    instance: str
    predicted_tokens: int
    cached_tokens: int
    cause: str


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """How good the predictions of one run were.

    Args:
        told: finished requests of which the engine told what it took from its cache.
        equal: those of which the prediction was right.
        off: the others.
    """

    told: int
    equal: int
    off: list[Off]

    @property
    def share(self) -> float | None:
        """Share of right predictions; None where engines told nothing."""
        return self.equal / self.told if self.told else None


def prediction(lines: Sequence[Line], block_tokens: int, requests: Mapping[int, Request]) -> Prediction:
    """Compare what was predicted with what engines say.

    Args:
        lines: of one run.
        block_tokens: tokens in a block of the engines [token].
        requests: those of the trace, by id: their keys say what they share.

    Example:
        >>> line = Line(id=1, instance="a", end="finished", prompt_tokens=32, predicted_tokens=32, cached_tokens=31)
        >>> prediction([line], 16, {}).share
        1.0
    """
    told = [line for line in lines if line.end == "finished" and line.cached_tokens is not None]
    off = [
        Off(
            id=line.id,
            instance=line.instance or "",
            predicted_tokens=line.predicted_tokens,
            cached_tokens=line.cached_tokens or 0,
            cause=_cause(line, lines, requests),
        )
        for line in told
        if not _equal(line, block_tokens)
    ]
    return Prediction(told=len(told), equal=len(told) - len(off), off=off)


def _equal(line: Line, block_tokens: int) -> bool:
    """Whole blocks, where an engine may count the last one whole, or less the token that it computes again."""
    assert line.cached_tokens is not None
    most = (line.prompt_tokens - 1) // block_tokens
    return min(line.cached_tokens // block_tokens, most) == min(line.predicted_tokens // block_tokens, most)


def _cause(line: Line, lines: Sequence[Line], requests: Mapping[int, Request]) -> str:
    wrong_from = min(line.cached_tokens or 0, line.predicted_tokens)
    began_s, until_s = _prefill(line)
    rivals = (other for other in lines if other is not line and other.instance == line.instance)
    for other in rivals:
        other_began_s, other_until_s = _prefill(other)
        at_once = other_began_s <= until_s and began_s <= other_until_s
        if at_once and _shared_tokens(requests[line.id], requests[other.id]) > wrong_from:
            return ON_ITS_WAY
    return UNKNOWN


def _prefill(line: Line) -> tuple[float, float]:
    """From when to when a request was sent and had no first token; never, if it was not sent [s]."""
    if line.sent_s is None:
        return math.inf, -math.inf
    if line.token_s:
        return line.sent_s, line.token_s[0]
    return line.sent_s, math.inf if line.end_s is None else line.end_s


def _shared_tokens(one: Request, other: Request) -> int:
    """Tokens that two prompts begin with alike [token]."""
    blocks = 0
    for a, b in zip(one.block_keys, other.block_keys, strict=False):
        if a != b:
            break
        blocks += 1
    return min(blocks * one.block_tokens, one.prompt_tokens, other.prompt_tokens)
