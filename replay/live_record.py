"""What a run on engines leaves behind: a line a request, and the simulator's record, which all tables read."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from replay.metrics import Spread
from replay.sim.record import RunRecord


class Line(msgspec.Struct, kw_only=True):
    """All that is known of one request, for the log of a run; times from the start of the run [s].

    Args:
        id, instance: of the request, and of the engine that got it; None if it was never routed.
        due_s, sent_s: when it should have been routed, and when it was.
        token_s: when its output tokens came, as often as the engine told; ``token_counts`` of them each.
        prompt_tokens, wanted_tokens: lengths asked for [token].
        cached_tokens, predicted_tokens: taken from the cache as the engine says (None: it does not), and as the router
            believed [token].
        imbalance: max/mean over instances of the batch size when it was sent, itself counted.
        preemptions: how often it was pushed out.
        end, reason: how it ended, and why if not well.
    """

    id: int
    instance: str | None = None
    due_s: float = 0.0
    sent_s: float | None = None
    token_s: list[float] = msgspec.field(default_factory=list)
    token_counts: list[int] = msgspec.field(default_factory=list)
    end_s: float | None = None
    prompt_tokens: int = 0
    wanted_tokens: int = 0
    cached_tokens: int | None = None
    predicted_tokens: int = 0
    imbalance: float | None = None
    preemptions: int = 0
    end: str = ""
    reason: str = ""


@dataclass(slots=True)
class LiveRecord:
    """What a run left behind.

    Args:
        run: the record that tables are computed from.
        lines: one a request that was due, in the order of the trace.
        wall_s: how long the run took [s].
        gone: instances that the runner gave up, and why.
        stall_s: how late the client was in listening; None if nobody looked [s].
    """

    run: RunRecord
    lines: list[Line] = field(default_factory=list)
    wall_s: float = 0.0
    gone: dict[str, str] = field(default_factory=dict)
    stall_s: Spread | None = None
