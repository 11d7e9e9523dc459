"""How late the client itself was: from when a request was due to when it was sent, and in hearing what engines say.

Times to first token count from when a request was due, so what the client wastes is in them. Where that is much of
what is measured, the run says more of the client than of the engines.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from replay.live_record import Line
from replay.metrics import Spread, spread

#: A client has kept up if its 99th percentile of lag is at most this share of the median time to first token,
SHARE_ALLOWED = 0.05
#: or no more than this at all [s]. A process that is not alone on its cores is woken up to some milliseconds late now
#: and then, which no slower replay cures; and a :class:`replay.pulse.Pulse`, which beats every 20 ms, sees only by
#: chance what is much shorter. It is a tenth of the 50 ms that a token may take (``replay.metrics.TPOT_LIMIT_S``).
LAG_ALLOWED_S = 0.005


class ClientLag(msgspec.Struct, frozen=True, kw_only=True):
    """How late a client was in one run.

    Args:
        lag_s: from due to sent [s].
        stall_s: how late it was in listening, as a :class:`replay.pulse.Pulse` saw; None if nobody looked [s].
        share: the larger 99th percentile of the two by the median time to first token; None if no request had a first
            token.
        kept_up: whether that is at most :data:`SHARE_ALLOWED`, or the larger of the two at most :data:`LAG_ALLOWED_S`.
    """

    lag_s: Spread
    stall_s: Spread | None = None
    share: float | None
    kept_up: bool

    def warning(self) -> str:
        """A sentence for who reads the table, or an empty text."""
        if self.kept_up or self.share is None:
            return ""
        sent_s, heard_s = _p99(self.lag_s), _p99(self.stall_s)
        if sent_s >= heard_s:
            what = f"it sent requests up to {1000 * sent_s:.3g} ms late (p99)"
        else:
            what = f"it stood still for up to {1000 * heard_s:.3g} ms (p99) in which it heard no engine"
        return (
            f"the client could not keep up: {what}, {_times(self.share)} the median time to first token; "
            "replay more slowly, or on more cores"
        )


def client_lag(lines: Sequence[Line], stall_s: Spread | None = None) -> ClientLag:
    """How late the client was.

    Args:
        lines: of the run.
        stall_s: how late it was in listening [s].

    Example:
        >>> line = Line(id=1, due_s=1.0, sent_s=1.002, token_s=[1.5], token_counts=[1])
        >>> client_lag([line]).kept_up, round(client_lag([line]).share, 4)
        (True, 0.004)
        >>> client_lag([line], spread([0.1])).kept_up
        False
    """
    told = spread(np.asarray([max(0.0, line.sent_s - line.due_s) for line in lines if line.sent_s is not None]))
    firsts = [line.token_s[0] - line.due_s for line in lines if line.token_s]
    median = float(np.median(firsts)) if firsts else 0.0
    if median <= 0:
        return ClientLag(lag_s=told, stall_s=stall_s, share=0.0 if firsts else None, kept_up=True)
    worst_s = max(_p99(told), _p99(stall_s))
    share = worst_s / median
    kept_up = share <= SHARE_ALLOWED or worst_s <= LAG_ALLOWED_S
    return ClientLag(lag_s=told, stall_s=stall_s, share=share, kept_up=kept_up)


def _times(share: float) -> str:
    """A share in words.

    Example:
        >>> _times(0.066), _times(2.5), _times(14.1)
        ('6.6% of', '250% of', '14 times')
    """
    return f"{share:.0f} times" if share >= 10 else f"{100 * share:.3g}% of"


def _p99(told: Spread | None) -> float:
    return 0.0 if told is None or told.p99 is None else told.p99
