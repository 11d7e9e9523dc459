"""Step times fitted to measured steps: :class:`scheduler.cost.StepTime` from :class:`replay.engines.steps.StepRecord`.

A step time is linear in what the step processed, and no part of it is negative, so the coefficients come from
non-negative least squares. What is made least is the sum of squared *relative* residuals, ``(measured / predicted - 1)
** 2`` with the predictions of the round before (iteratively reweighted; the quasi-likelihood of a noise that grows with
the step). Why this and no other loss:

- Squares of seconds would let a few long prefill steps decide everything; the short decode steps, of which TPOT is
  made, would be fitted by what is left over. Relative residuals count alike.
- Dividing by the *measured* time would be simpler, but then slow steps weigh less than quick ones, and the fit comes
  out too low, by twice the variance of the noise. Means of TTFT and TPOT are sums of step times, so what is wanted is
  the mean of a step, and no least absolute deviation either, which gives the median. With the predictions as divisors
  the mean is met: over the steps that were fitted ``measured / predicted`` averages to exactly 1.
- A mean has no defence against a step that compiled a kernel. So steps that took many times what the fit says are left
  out, counted and named; the error on held-out steps (:func:`error_of`) counts them all.

A coefficient that the steps cannot tell is 0 and says why: no step had any of it, or it always came together with
others. Standard errors take the residuals for independent, so they are rather too small.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from replay.calibration.nnls import Array, non_negative_least_squares
from replay.engines.steps import StepRecord
from scheduler.cost import StepTime
from scheduler.errors import BadInput

#: Coefficients in the order of the columns of :func:`features`.
NAMES: tuple[str, ...] = tuple(StepTime.__slots__)
#: A step is left out only if it took this many times longer (or shorter) than predicted ...
FACTOR_MIN = 3.0
#: ... and lies this many robust standard deviations from the others, on a logarithmic scale.
DEVIATIONS_MIN = 8.0
#: A column of which less than this is new beside the columns before it cannot be told from them.
NEW_MIN = 1e-6
_ROUNDS = 50
_STEPS_MIN = 2 * len(NAMES)


class Coefficient(msgspec.Struct, frozen=True, kw_only=True):
    """One coefficient of a fit.

    Args:
        name: as in :class:`scheduler.cost.StepTime`.
        value: in the unit of its name.
        standard_error: of the value; None where the steps cannot tell it.
        time_fraction: share of the predicted time of all steps that it makes.
        note: why it is 0, or empty.
    """

    name: str
    value: float
    standard_error: float | None = None
    time_fraction: float = 0.0
    note: str = ""


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """A step time and how well it is known.

    Args:
        step_time: fitted.
        coefficients: one each, in the order of its fields.
        steps: how many were given [step].
        left_out: of those, how many took many times what the fit says [step].
        left_out_time_fraction: share of the measured time in these.
    """

    step_time: StepTime
    coefficients: tuple[Coefficient, ...]
    steps: int
    left_out: int = 0
    left_out_time_fraction: float = 0.0


def features(steps: Sequence[StepRecord]) -> Array:
    """What steps processed: one row a step, one column a coefficient, the first of them ones."""
    rows = [(1, step.prefill_tokens, step.decode_requests, step.kv_tokens, step.pairs) for step in steps]
    return np.array(rows, dtype=np.float64).reshape(len(steps), len(NAMES))


def measured(steps: Sequence[StepRecord]) -> Array:
    """How long they took [s].

    Raises:
        BadInput: if one took no time, or less.
    """
    times = np.array([step.step_s for step in steps], dtype=np.float64)
    wrong = np.flatnonzero(~(np.isfinite(times) & (times > 0)))
    if wrong.size:
        place = int(wrong[0])
        raise BadInput(f"steps[{place}].step_s", steps[place].step_s, "a finite number > 0 [s]")
    return times


def fit_step_time(steps: Sequence[StepRecord]) -> Fit:
    """Fit a step time.

    Args:
        steps: of one engine, at least ten of them.

    Raises:
        BadInput: for fewer steps, or one that took no time.

    Example:
        >>> true = StepTime(0.005, 1e-4, 2e-5, 1e-8)
        >>> steps = [StepRecord(at_s=0.0, prefill_tokens=p, decode_requests=b, kv_tokens=b * c,
        ...                     step_s=true.step_s(prefill_tokens=p, batch=b, kv_tokens=b * c))
        ...          for p in (0, 64, 512) for b in (1, 4, 8) for c in (100, 1000)]
        >>> fit = fit_step_time(steps)
        >>> f"{fit.step_time.prefill_s_per_token:.3g}", f"{fit.step_time.kv_s_per_token:.3g}"
        ('0.0001', '1e-08')
        >>> fit.coefficients[-1].note
        'no step had any'
    """
    if len(steps) < _STEPS_MIN:
        raise BadInput("steps", len(steps), f"at least {_STEPS_MIN} steps to fit", "measure for longer")
    rows, times = features(steps), measured(steps)
    told, notes = _told(rows)
    values, used = _robust(rows[:, told], times)
    predicted = rows[:, told] @ values
    errors = _standard_errors(rows[used][:, told], times[used], predicted[used])
    total = float(predicted.sum())
    found = []
    for place, name in enumerate(NAMES):
        if place not in told:
            found.append(Coefficient(name=name, value=0.0, note=notes[place]))
            continue
        column = told.index(place)
        value = float(values[column])
        found.append(
            Coefficient(
                name=name,
                value=value,
                standard_error=float(errors[column]),
                time_fraction=value * float(rows[:, place].sum()) / total if total else 0.0,
                note="" if value else _why_none(rows[used, place]),
            )
        )
    return Fit(
        step_time=StepTime(**{one.name: one.value for one in found}),
        coefficients=tuple(found),
        steps=len(steps),
        left_out=int((~used).sum()),
        left_out_time_fraction=float(times[~used].sum() / times.sum()),
    )


def _why_none(column: Array) -> str:
    """Why a coefficient that could be told came out as 0."""
    return "the steps ask for none, or less" if column.any() else "all steps that had any were left out"


def _told(rows: Array) -> tuple[list[int], dict[int, str]]:
    """Columns that can be told from those before them; of each other one why it cannot."""
    told: list[int] = []
    notes: dict[int, str] = {}
    norms = np.linalg.norm(rows, axis=0)
    for place in range(rows.shape[1]):
        if not norms[place]:
            notes[place] = "no step had any"
            continue
        before = rows[:, told] / norms[told]
        column = rows[:, place] / norms[place]
        weights = np.linalg.lstsq(before, column, rcond=None)[0] if told else np.zeros(0)
        if np.linalg.norm(column - before @ weights) > NEW_MIN:
            told.append(place)
        else:
            names = [NAMES[each] for each, weight in zip(told, weights, strict=True) if abs(weight) > NEW_MIN]
            notes[place] = f"cannot be told from {' and '.join(names)}"
    return told, notes


def _robust(rows: Array, times: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Coefficients, and which steps they come from.

    It begins with the measured times as divisors: a step that took a hundred times too long counts as one that is wrong
    by its whole, no more, so that outliers are found by a fit that they did not spoil.
    """
    used = np.ones(len(times), dtype=bool)
    values = _weighted(rows, times, times)
    for _ in range(_ROUNDS):
        before, used_before = values, used
        predicted = np.maximum(rows @ values, 0.01 * times)
        used = _near(times, predicted)
        values = _weighted(rows[used], times[used], predicted[used])
        settled = np.abs(values - before).max() <= 1e-12 * np.abs(values).max()
        if settled and np.array_equal(used, used_before):
            break
    return values, used


def _weighted(rows: Array, times: Array, divisors: Array) -> Array:
    """Non-negative least squares of residuals over divisors, with columns of length 1."""
    scaled = rows / divisors[:, None]
    norms = np.linalg.norm(scaled, axis=0)
    norms[norms == 0] = 1.0
    return np.asarray(non_negative_least_squares(scaled / norms, times / divisors) / norms)


def _near(times: Array, predicted: Array) -> NDArray[np.bool_]:
    """Steps that are no outliers."""
    logs = np.log(times / predicted)
    off = np.abs(logs - np.median(logs))
    deviation = 1.4826 * float(np.median(off))
    return np.asarray(off <= max(np.log(FACTOR_MIN), DEVIATIONS_MIN * deviation), dtype=bool)


def _standard_errors(rows: Array, times: Array, predicted: Array) -> Array:
    """Of each coefficient, were none of them bounded by 0."""
    divisors = np.maximum(predicted, 0.01 * times)
    scaled = rows / divisors[:, None]
    norms = np.linalg.norm(scaled, axis=0)
    norms[norms == 0] = 1.0
    residuals = times / divisors - predicted / divisors
    variance = float(residuals @ residuals) / max(1, len(times) - rows.shape[1])
    inverse = np.linalg.pinv(np.linalg.qr(scaled / norms)[1])
    return np.asarray(np.sqrt(variance * (inverse**2).sum(axis=1)) / norms)


class Error(msgspec.Struct, frozen=True, kw_only=True):
    """How far predicted step times are from measured ones.

    Args:
        steps: how many were compared [step].
        median, p90: of the relative error ``|predicted - measured| / measured``.
        bias: of the sum of all times, ``predicted / measured - 1``: what means of TTFT and TPOT are off by.
    """

    steps: int
    median: float
    p90: float
    bias: float


class FitError(Error, frozen=True, kw_only=True):
    """The same, and for each kind of step on its own.

    Args:
        kinds: by ``prefill``, ``decode`` and ``mixed``, as far as there were any.
    """

    kinds: dict[str, Error]


def kind_of(step: StepRecord) -> str:
    """``prefill``, ``decode`` or, where a step has both, ``mixed``."""
    if step.decode_requests:
        return "mixed" if step.prefill_tokens else "decode"
    return "prefill"


def error_of(step_time: StepTime, steps: Sequence[StepRecord]) -> FitError:
    """How well a step time predicts steps; on steps that it was not fitted to, or it flatters itself.

    Raises:
        BadInput: if there are no steps, or one took no time.

    Example:
        >>> steps = [StepRecord(at_s=0.0, step_s=0.011, prefill_tokens=100), StepRecord(at_s=0.1, step_s=0.02)]
        >>> error = error_of(StepTime(0.01, 1e-5, 0.0, 0.0), steps)
        >>> error.median, round(error.bias, 3)
        (0.25, -0.323)
    """
    if not steps:
        raise BadInput("steps", 0, "at least one step to compare with", "measure for longer")
    coefficients = np.array([getattr(step_time, name) for name in NAMES])
    predicted, times = features(steps) @ coefficients, measured(steps)
    kinds = np.array([kind_of(step) for step in steps])
    overall = _error(predicted, times)
    return FitError(
        steps=overall.steps,
        median=overall.median,
        p90=overall.p90,
        bias=overall.bias,
        kinds={
            kind: _error(predicted[kinds == kind], times[kinds == kind])
            for kind in ("prefill", "decode", "mixed")
            if (kinds == kind).any()
        },
    )


def _error(predicted: Array, times: Array) -> Error:
    relative = np.abs(predicted - times) / times
    return Error(
        steps=len(times),
        median=float(np.median(relative)),
        p90=float(np.quantile(relative, 0.9)),
        bias=float(predicted.sum() / times.sum() - 1),
    )
