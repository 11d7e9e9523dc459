"""How many requests an alarm needs before it may be believed: the promise, and the exact tails beside it.

The test: of the last W requests, alarm if the share that belongs to the class is at least the coverage c. For
independent arrivals of true share x, ``P(alarm | x <= c - eps) <= exp(-W KL(c || c - eps))`` and
``P(no alarm | x >= c + eps) <= exp(-W KL(c || c + eps))``: threshold first, truth second. Between ``c - eps`` and
``c + eps`` nothing is promised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from scheduler import formulas
from scheduler.domains import Domain
from scheduler.errors import BadInput
from scheduler.ops import SCALAR, as_written

#: Rounding of the logarithms in a divergence; it is taken off, so that a promise never rests on it.
_ROUNDING = 2.0**-48
#: Windows whose exact tails are looked at in one go.
_BLOCK = 4096

_COUNT = Domain(1, 2**62, integer=True)


@dataclass(frozen=True, slots=True)
class AlarmWindow:
    """What :func:`alarm_window` found.

    Args:
        units: length of the window in independent units: requests, or sessions of several requests.
        requests: the same in requests.
        units_simple: length by Hoeffding's ``ln(1/delta)/(2 eps^2)``, never shorter.
        error: delta that is left to one test.
        false_alarm_divergence: ``KL(c || c - eps)``; infinite if no share lies that far below the coverage, or 0 does.
        miss_divergence: ``KL(c || c + eps)``, likewise.
    """

    units: int
    requests: int
    units_simple: int
    error: float
    false_alarm_divergence: float
    miss_divergence: float


def alarm_window(
    eps: float,
    error: float,
    coverage: float | Fraction | None = None,
    *,
    classes: int = 1,
    decisions: int | None = 1,
    decision: int = 1,
    session_requests: int = 1,
) -> AlarmWindow:
    """Smallest window for which Chernoff's bound promises both errors.

    ``W = ceil(ln(1/delta) / min(KL(c || c - eps), KL(c || c + eps)))``, delta divided over classes and decisions.

    Args:
        eps: distance of the true share from the coverage beyond which the alarm has to be right, in (0, 1).
        error: delta, the chance that some test of some class errs, for false alarms and for misses each, in (0, 1).
        coverage: c = |M|/N in (0, 1), a float being the decimal it prints; None for any, by Hoeffding's form.
        classes: prefix classes that are tested.
        decisions: tests of each class in all (each request may be one); None if their number has no end.
        decision: number of the test, from 1, if ``decisions`` is None: its window grows by the logarithm of its square.
        session_requests: requests of each session; with more than one, the sessions are taken as the independent units,
            each with the share of its own requests. Requests of one session may depend on each other in any way.

    Raises:
        BadInput: for a value outside its domain, or if no share lies as far as eps from the coverage.

    Example:
        >>> found = alarm_window(0.1, 0.01, 0.25)
        >>> found.units, found.units_simple
        (199, 231)
        >>> alarm_window(0.1, 0.01, 0.25, decisions=None, decision=1000).units
        794

    Source: claims ``alarm_window``, ``miss_sets_the_window``, ``error_budget``, ``sessions_count_as_requests``.
    """
    _between("eps", eps)
    _between("error", error)
    counts = {"classes": classes, "decision": decision, "session_requests": session_requests}
    for name, count in (counts | ({} if decisions is None else {"decisions": decisions})).items():
        _COUNT.check(name, count)
    if decisions is None:
        left = formulas.error_of_decision(formulas.error_share(error, classes, 1), decision)
    elif decision != 1:
        raise BadInput("decision", decision, "1, because the number of decisions is given", "decisions=None for no end")
    else:
        left = formulas.error_share(error, classes, decisions)
    false_alarm, miss = _divergences(eps, coverage)
    simple = formulas.hoeffding_bound(eps)
    units = _whole(left, min(false_alarm, miss))
    return AlarmWindow(
        units=units,
        requests=units * session_requests,
        units_simple=_whole(left, simple),
        error=left,
        false_alarm_divergence=false_alarm,
        miss_divergence=miss,
    )


def exact_errors(window: int, eps: float, coverage: float | Fraction) -> tuple[float, float]:
    """False alarm at ``c - eps`` and miss at ``c + eps`` of a window, by the binomial distribution itself.

    Args:
        window: W, >= 1 [request].
        eps, coverage: as for :func:`alarm_window`.

    Returns:
        The two probabilities; 0 for the one whose share would lie outside [0, 1].

    Example:
        >>> [round(chance, 4) for chance in exact_errors(199, 0.1, 0.25)]
        [0.0001, 0.0011]

    Source: claim ``alarm_window``.
    """
    from scipy.stats import binom

    _COUNT.check("window", window)
    c, low, high = _shares(eps, coverage)
    needed = math.ceil(c * window)  # successes that alarm
    false_alarm = float(binom.sf(needed - 1, window, float(low))) if low > 0 else 0.0
    miss = float(binom.cdf(needed - 1, window, float(high))) if high < 1 else 0.0
    return false_alarm, miss


def exact_window(eps: float, error: float, coverage: float | Fraction) -> int:
    """Smallest window from which on every window keeps both errors, by the binomial distribution itself [request].

    A single window may keep them earlier: the exact errors go up and down as ``c W`` passes whole numbers.

    Args:
        eps, coverage: as for :func:`alarm_window`.
        error: delta of this one test, in (0, 1).

    Raises:
        BadInput: as :func:`alarm_window`.

    Example:
        >>> exact_window(0.1, 0.01, 0.25)
        122

    Source: claim ``alarm_window``.
    """
    import numpy as np
    from scipy.stats import binom

    end = alarm_window(eps, error, coverage).units  # from here on the promise holds
    c, low, high = _shares(eps, coverage)
    while end > 1:
        begin = max(1, end - _BLOCK)
        windows = np.arange(begin, end)
        needed = np.array([math.ceil(c * window) for window in windows.tolist()])
        worst = np.zeros(len(windows))
        if low > 0:
            worst = binom.sf(needed - 1, windows, float(low))
        if high < 1:
            worst = np.maximum(worst, binom.cdf(needed - 1, windows, float(high)))
        failing = np.flatnonzero(worst > error)
        if len(failing):
            return int(windows[failing[-1]]) + 1
        end = begin
    return end


def _between(name: str, value: float | Fraction) -> None:
    if not (Domain(0, 1, low_open=True).contains(value) and value < 1):
        raise BadInput(name, value, "a number > 0 and < 1")


def _shares(eps: float, coverage: float | Fraction) -> tuple[Fraction, Fraction, Fraction]:
    """Coverage, safe share and unsafe share, exact."""
    _between("eps", eps)
    _between("coverage", coverage)
    c, distance = as_written(coverage), as_written(eps)
    low, high = c - distance, c + distance
    if low < 0 and high > 1:
        raise BadInput("eps", eps, f"at most {float(max(c, 1 - c)):g}", "no share lies farther from the coverage")
    return c, low, high


def _divergences(eps: float, coverage: float | Fraction | None) -> tuple[float, float]:
    """Lower bounds of the divergences of false alarm and miss, rounding taken off."""
    simple = formulas.hoeffding_bound(float(eps))
    if coverage is None:
        return simple, simple
    c, low, high = _shares(eps, coverage)
    found = []
    for share in (low, high):
        if not 0 < share < 1:  # nothing lies there, or the alarm cannot err
            found.append(math.inf)
        else:
            found.append(max(simple, float(formulas.kl_divergence(SCALAR, c, share)) - _ROUNDING))
    return found[0], found[1]


def _whole(error: float, divergence: float) -> int:
    if math.isinf(divergence):
        return 1
    window: float = formulas.window_for(SCALAR, error, divergence)
    return max(1, math.ceil(window))
