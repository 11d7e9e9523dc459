"""What one step of an engine processed and how long it took: what step times are fitted from.

The features are those of :class:`scheduler.cost.StepTime`, so a fit of its coefficients is linear.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class StepRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One step.

    Args:
        at_s: when it began; any clock, the same one for all steps of an engine [s].
        step_s: how long it took [s].
        prefill_tokens: prompt tokens computed [token].
        decode_requests: requests that decoded one token [request].
        kv_tokens: tokens whose keys and values those read, all together [token].
        pairs: a prefill token and a token it attends to, itself counted: for ``n`` tokens behind ``c`` that are there
            already ``n * c + n * (n + 1) / 2`` [pair].
    """

    at_s: float
    step_s: float
    prefill_tokens: int = 0
    decode_requests: int = 0
    kv_tokens: int = 0
    pairs: int = 0


#: Told of every step of an engine: its name, and the step. May be called from another thread.
StepSink = Callable[[str, StepRecord], None]
