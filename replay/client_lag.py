"""How late the client itself was: from when a request was due to when it was sent.

Times to first token count from when a request was due, so what the client wastes is in them. Where that is much of
what is measured, the run says more of the client than of the engines.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from replay.live_record import Line
from replay.metrics import Spread, spread

#: A client has kept up if its 99th percentile of lag is at most this share of the median time to first token.
SHARE_ALLOWED = 0.05


class ClientLag(msgspec.Struct, frozen=True, kw_only=True):
    """How late a client was in one run.

    Args:
        lag_s: from due to sent [s].
        share: 99th percentile of the lag by the median time to first token; None if no request had a first token.
        kept_up: whether that is at most :data:`SHARE_ALLOWED`.
    """

    lag_s: Spread
    share: float | None
    kept_up: bool

    def warning(self) -> str:
        """A sentence for who reads the table, or an empty text."""
        if self.kept_up or self.share is None or self.lag_s.p99 is None:
            return ""
        return (
            f"the client could not keep up: it sent requests up to {1000 * self.lag_s.p99:.3g} ms late (p99), "
            f"{100 * self.share:.3g}% of the median time to first token; replay more slowly, or on more cores"
        )


def client_lag(lines: Sequence[Line]) -> ClientLag:
    """How late the client was.

    Example:
        >>> line = Line(id=1, due_s=1.0, sent_s=1.002, token_s=[1.5], token_counts=[1])
        >>> client_lag([line]).kept_up, round(client_lag([line]).share, 4)
        (True, 0.004)
    """
    lags = np.asarray([max(0.0, line.sent_s - line.due_s) for line in lines if line.sent_s is not None])
    firsts = [line.token_s[0] - line.due_s for line in lines if line.token_s]
    told = spread(lags)
    if told.p99 is None or not firsts:
        return ClientLag(lag_s=told, share=None, kept_up=True)
    median = float(np.median(firsts))
    share = told.p99 / median if median > 0 else 0.0
    return ClientLag(lag_s=told, share=share, kept_up=share <= SHARE_ALLOWED)
