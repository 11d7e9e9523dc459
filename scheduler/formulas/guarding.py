"""How uneven batches can become under a guard: alarm by a window, confirmation by a run, then a copy.

Letters: ``N`` instances, ``M`` of them hold the prefix of a class, ``W`` window, ``D`` delay of an alarm.
"""

from __future__ import annotations

from scheduler.ops import Number, Ops


def guarded_gap(
    ops: Ops,
    start_gap: Number,
    window_requests: Number,
    delay_requests: Number,
    run_per_holder: Number,
    holder_count: Number,
    instance_count: Number,
) -> Number:
    """Greatest less least batch that guarded routing reaches: ``max(1, g_0) + r + ceil(W/N + D/M)`` [request].

    Up to the coverage a window has room for its part on every instance, ``W/N``; then ``D`` requests of the class pass
    before the alarm and ``r M`` confirm it, all spread over the holders. One request of slack is what level batches
    have, too.

    Args:
        ops: the world to compute in.
        start_gap: g_0, greatest less least batch at the start, >= 0 [request].
        window_requests: W, requests over which the share is counted, >= 1 [request].
        delay_requests: D, requests of the class above its coverage before the alarm, each time, >= 0 [request].
        run_per_holder: r, requests in a row, by holder, that confirm an alarm, >= 0 [request].
        holder_count: M, holders at the start, >= 1.
        instance_count: N.

    Example:
        >>> from fractions import Fraction
        >>> from scheduler.ops import SCALAR
        >>> guarded_gap(SCALAR, 0, 4, 0, 2, 1, 2), guarded_gap(SCALAR, 5, Fraction(32), 3, 2, 1, 16)
        (5, 12)

    Source: claim ``mitigated_routing_is_bounded``.
    """
    part = window_requests / instance_count + delay_requests / holder_count
    return ops.max_(1, start_gap) + run_per_holder - ops.floor(-part)
