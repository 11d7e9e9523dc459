"""Whether engines took from their caches what the router predicted, and why not where they did not.

Engines share whole blocks, so both figures are compared in these. Of a prompt that is cached to its end an engine
computes the last token again.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from replay.live_record import Line

#: A request before it on the same instance was open and had no first token yet when this one was sent: what it brings
#: was on its way into the cache, and came too late, or sooner than the router could know.
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


def prediction(lines: Sequence[Line], block_tokens: int) -> Prediction:
    """Compare what was predicted with what engines say.

    Args:
        lines: of one run.
        block_tokens: tokens in a block of the engines [token].

    Example:
        >>> line = Line(id=1, instance="a", end="finished", prompt_tokens=32, predicted_tokens=32, cached_tokens=31)
        >>> prediction([line], 16).share
        1.0
    """
    told = [line for line in lines if line.end == "finished" and line.cached_tokens is not None]
    off = [
        Off(
            id=line.id,
            instance=line.instance or "",
            predicted_tokens=line.predicted_tokens,
            cached_tokens=line.cached_tokens or 0,
            cause=_cause(line, lines),
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


def _cause(line: Line, lines: Sequence[Line]) -> str:
    sent_s = line.sent_s or 0.0
    before = (
        other
        for other in lines
        if other.instance == line.instance and other.sent_s is not None and other.sent_s <= sent_s and other is not line
    )
    late = any(
        (not other.token_s or other.token_s[0] >= sent_s) and (other.end_s is None or other.end_s > sent_s)
        for other in before
    )
    return ON_ITS_WAY if late else UNKNOWN
