"""When the flows first make a product send a class outside; also for two different residence times.

With one residence time there is a closed form (claim ``silent_band``). With two, the excess of a holder's batch over
the leverage times the other's is a constant and two exponentials: it has at most one turning point, so its first zero
is found by halving an interval in which it rises through zero once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import sympy as sp

from scheduler import formulas
from scheduler.errors import BadInput
from scheduler.ops import Ops


def first_spill_s(
    ops: Ops,
    start: Any,
    hot_rate: Any,
    cold_rate: Any,
    leverage: Any,
    residence_s: Any = None,
    class_residence_s: Any = None,
) -> tuple[Any, Any]:
    """Whether there is ever a spill, and after what time.

    Args:
        ops: the world to compute in.
        start: residents of each instance at the start, >= 0 [request].
        hot_rate, cold_rate: flows to a holder and to another instance, >= 0 [request/s].
        leverage: rho, > 0.
        residence_s: mean residence time of the other requests; None: nothing completes [s].
        class_residence_s: of the class; None: the same [s].

    Returns:
        The condition, and the time [s]: None if there is none, an expression that holds under the condition with
        symbols, 0 if a request of the class goes outside from the start.

    Raises:
        BadInput: for symbols with two residence times, which have no closed form.

    Example:
        >>> from scheduler.ops import SCALAR
        >>> first_spill_s(SCALAR, 1, 4, 0, 17), first_spill_s(SCALAR, 1, 4, 1, 17)
        ((True, 8.0), (False, None))

    Source: claim ``silent_band``.
    """
    given = (start, hot_rate, cold_rate, leverage, residence_s, class_residence_s)
    symbolic = any(isinstance(value, sp.Basic) for value in given)
    if not symbolic and leverage < 1:
        return True, 0
    if residence_s is None:
        ever = hot_rate > leverage * cold_rate
        return ever, formulas.spill_time_s(start, hot_rate, cold_rate, leverage) if symbolic or ever else None
    if class_residence_s is None or class_residence_s == residence_s:
        steady_hot, steady_cold = (formulas.steady_residents(rate, residence_s) for rate in (hot_rate, cold_rate))
        ever = formulas.spills(steady_hot + 1, steady_cold + 1, leverage)
        if not symbolic and not ever:
            return ever, None
        time = formulas.spill_time_with_completions_s(ops, start, hot_rate, cold_rate, leverage, residence_s)
        return ever, time
    if symbolic:
        expected = "numbers only, or the same as residence_s: two residence times have no closed form"
        raise BadInput("class_residence_s", class_residence_s, expected)
    found = _first_zero(start, hot_rate, cold_rate, leverage, float(residence_s), float(class_residence_s))
    return found is not None, found


def _first_zero(start: Any, hot_rate: Any, cold_rate: Any, leverage: Any, other_s: float, own_s: float) -> float | None:
    """First time at which the batch inside is above the leverage times the batch outside, or None."""
    ends = float(hot_rate) * own_s, float(cold_rate) * other_s

    def over(time_s: float) -> float:
        inside, outside = (
            formulas.residents_between(float(start), end, -math.expm1(-time_s / residence_s))
            for end, residence_s in zip(ends, (own_s, other_s), strict=True)
        )
        return float(inside + 1 - leverage * (outside + 1))

    turn = _turning_point(float(start), ends, float(leverage), other_s, own_s)
    if turn is not None and over(turn) > 0:
        return _halved(over, 0.0, turn)
    if ends[0] + 1 - leverage * (ends[1] + 1) <= 0:
        return None
    low = turn or 0.0
    # Here all exponentials are 0; an excess that rounds to nothing there is none.
    high = low + 1000 * max(own_s, other_s)
    return _halved(over, low, high) if over(high) > 0 else None


def _turning_point(
    start: float, ends: tuple[float, float], leverage: float, other_s: float, own_s: float
) -> float | None:
    """The time > 0 at which the excess stops rising or falling, or None."""
    rise, fall = (ends[0] - start) / own_s, leverage * (ends[1] - start) / other_s
    if rise == 0 or rise * fall <= 0:
        return None
    time_s = math.log(rise / fall) / (1 / own_s - 1 / other_s)
    return time_s if time_s > 0 else None


def _halved(over: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that is at most 0 at the low end and positive at the high end becomes positive."""
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if over(middle) <= 0 else (low, middle)
    return high
