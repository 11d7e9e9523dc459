"""Step times fitted to steps: what can be told is found again, what cannot is named, and nothing is flattered."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.calibration.fit import NAMES, Fit, error_of, features, fit_step_time
from replay.calibration.nnls import by_active_sets, non_negative_least_squares
from replay.engines.steps import StepRecord
from scheduler import BadInput
from scheduler.cost import StepTime

TRUE = StepTime(0.006, 1e-4, 2e-5, 1e-8, 2e-9)
#: Where the coefficients of engines lie, and none at all.
STEP_TIMES = st.builds(
    StepTime,
    base_s=st.floats(1e-4, 0.1),
    prefill_s_per_token=st.just(0.0) | st.floats(1e-6, 1e-3),
    decode_s_per_request=st.just(0.0) | st.floats(1e-6, 1e-3),
    kv_s_per_token=st.just(0.0) | st.floats(1e-9, 1e-6),
    attention_s_per_pair=st.just(0.0) | st.floats(1e-11, 1e-8),
)


def step(time: StepTime = TRUE, factor: float = 1.0, **counts: int) -> StepRecord:
    """One step of an engine of such step times, a factor off."""
    shape = {"batch": counts.get("decode_requests", 0), **counts}
    shape.pop("decode_requests", None)
    return StepRecord(at_s=0.0, step_s=factor * time.step_s(**shape), **counts)


def drawn(seed: int, count: int, time: StepTime = TRUE, noise: float = 0.0) -> list[StepRecord]:
    """Steps of all kinds; noise of mean 1 with that standard deviation."""
    rng = random.Random(seed)
    steps = []
    for _ in range(count):
        batch, prefill = rng.randint(0, 32), rng.choice([0, 0, rng.randint(1, 512)])
        sigma = float(np.sqrt(np.log1p(noise**2)))
        steps.append(
            step(
                time,
                rng.lognormvariate(-(sigma**2) / 2, sigma) if noise else 1.0,
                prefill_tokens=prefill,
                decode_requests=batch,
                kv_tokens=batch * rng.randint(100, 4000),
                pairs=prefill * rng.randint(1, 2000),
            )
        )
    return steps


def notes(fit: Fit) -> dict[str, str]:
    return {one.name: one.note for one in fit.coefficients if one.note}


@given(STEP_TIMES, st.integers(0, 2**32))
def test_steps_without_noise_give_their_step_time_back(time: StepTime, seed: int) -> None:
    steps = drawn(seed, 60, time)
    fit = fit_step_time(steps)
    for name in NAMES:
        assert getattr(fit.step_time, name) == pytest.approx(getattr(time, name), rel=1e-6, abs=1e-13), name
    assert error_of(fit.step_time, steps).p90 < 1e-9
    assert fit.left_out == 0


@given(st.integers(0, 2**32), st.integers(5, 40), st.integers(1, 5))
def test_both_solvers_find_the_same_and_it_is_the_best(seed: int, rows: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    matrix, target = rng.normal(size=(rows, columns)), rng.normal(size=rows)
    one, two = non_negative_least_squares(matrix, target), by_active_sets(matrix, target)
    assert one == pytest.approx(two, abs=1e-9)
    gradient = matrix.T @ (matrix @ one - target)  # Karush, Kuhn, Tucker: no way leads down
    assert one.min() >= 0
    assert gradient.min() >= -1e-9
    assert abs(gradient @ one) < 1e-9


def test_without_scipy_the_fit_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = drawn(1, 200, noise=0.3)
    with_scipy = fit_step_time(steps)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    without = fit_step_time(steps)
    for name in NAMES:
        assert getattr(without.step_time, name) == pytest.approx(getattr(with_scipy.step_time, name), rel=1e-9)


@given(st.integers(0, 2**32), st.integers(10, 60))
def test_no_coefficient_is_negative_and_measured_over_predicted_averages_to_one(seed: int, count: int) -> None:
    """Whatever the steps took; so no kind of noise makes the fit too low or too high on the whole."""
    rng = random.Random(seed)
    steps = [msgspec.structs.replace(one, step_s=rng.uniform(0.01, 0.03)) for one in drawn(seed, count)]
    fit = fit_step_time(steps)
    values = np.array([getattr(fit.step_time, name) for name in NAMES])
    assert values.min() >= 0
    assert fit.left_out == 0
    ratio = np.array([one.step_s for one in steps]) / (features(steps) @ values)
    assert ratio.mean() == pytest.approx(1.0, abs=1e-6)
    assert sum(one.time_fraction for one in fit.coefficients) == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(5))
def test_the_error_on_held_out_steps_is_that_of_the_noise(seed: int) -> None:
    """The median of |N(0, s)| is 0.674 s, its 90th percentile 1.645 s; the sum of so many is right to well below s."""
    fit = fit_step_time(drawn(seed, 2000, noise=0.1))
    error = error_of(fit.step_time, drawn(seed + 100, 2000, noise=0.1))
    assert error.median == pytest.approx(0.0674, rel=0.15)
    assert error.p90 == pytest.approx(0.1645, rel=0.15)
    assert abs(error.bias) < 0.01
    for one in fit.coefficients:
        assert one.standard_error is not None
        assert abs(one.value - getattr(TRUE, one.name)) < 4 * one.standard_error, one.name


def test_a_fit_is_no_lower_for_skewed_noise() -> None:
    """Steps that are now and then half as long again: the mean is met, which neither a median nor 1/measured would."""
    rng = random.Random(3)
    steps = [
        msgspec.structs.replace(one, step_s=one.step_s * (1.9 if rng.random() < 0.2 else 1.0)) for one in drawn(3, 4000)
    ]
    error = error_of(fit_step_time(steps).step_time, steps)
    assert abs(error.bias) < 0.005


@pytest.mark.parametrize("count", [1, 3])
def test_steps_that_compiled_something_are_left_out_and_counted(count: int) -> None:
    steps = drawn(1, 300, noise=0.05)
    slow = [msgspec.structs.replace(one, step_s=100 * one.step_s) for one in steps[:count]]
    fit, clean = fit_step_time([*slow, *steps[count:]]), fit_step_time(steps[count:])
    for name in NAMES:
        assert getattr(fit.step_time, name) == pytest.approx(getattr(clean.step_time, name), rel=1e-6), name
    assert (fit.left_out, clean.left_out) == (count, 0)
    assert 0.1 < fit.left_out_time_fraction < 0.9
    held_out = error_of(fit.step_time, slow)  # but nobody hides them from the error
    assert held_out.bias == pytest.approx(-0.99, abs=0.01)


def test_what_no_step_tells_is_nought_and_named() -> None:
    alone = [step(prefill_tokens=n, pairs=n * (n + 1) // 2) for n in range(10, 500, 20)]
    fit = fit_step_time(alone)
    assert notes(fit) == dict.fromkeys(["decode_s_per_request", "kv_s_per_token"], "no step had any")
    assert fit.coefficients[2].standard_error is None
    same = [step(prefill_tokens=n, decode_requests=4, kv_tokens=4000) for n in range(10, 500, 20)]
    fit = fit_step_time(same)
    assert notes(fit)["decode_s_per_request"] == "cannot be told from base_s"
    assert notes(fit)["kv_s_per_token"] == "cannot be told from base_s"
    assert fit.step_time.base_s == pytest.approx(TRUE.step_s(batch=4, kv_tokens=4000))
    fixed = [step(prefill_tokens=n, decode_requests=n % 7, kv_tokens=500 * (n % 7)) for n in range(10, 500, 20)]
    fit = fit_step_time(fixed)
    assert notes(fit)["kv_s_per_token"] == "cannot be told from decode_s_per_request"
    assert error_of(fit.step_time, fixed).p90 < 1e-9


def test_a_coefficient_that_the_steps_would_have_negative_says_so() -> None:
    steps = [msgspec.structs.replace(one, step_s=0.02 - 1e-5 * one.prefill_tokens) for one in drawn(2, 100)]
    fit = fit_step_time(steps)
    assert notes(fit)["prefill_s_per_token"] == "the steps ask for none, or less"


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (drawn(1, 9), "at least 10 steps"),
        ([*drawn(1, 20), StepRecord(at_s=0.0, step_s=0.0)], r"steps\[20\].step_s"),
        ([*drawn(1, 20), StepRecord(at_s=0.0, step_s=float("nan"))], r"steps\[20\].step_s"),
    ],
)
def test_steps_that_cannot_be_are_refused(steps: list[StepRecord], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        fit_step_time(steps)


def test_nothing_is_compared_with_no_steps() -> None:
    with pytest.raises(BadInput, match="at least one step"):
        error_of(TRUE, [])


def test_kinds_of_steps_are_told_apart() -> None:
    steps = [
        step(factor=0.5, prefill_tokens=5),
        step(decode_requests=1, kv_tokens=9),
        step(factor=2.0, prefill_tokens=5, decode_requests=1, kv_tokens=9),
    ]
    kinds = error_of(TRUE, steps).kinds
    assert {name: one.steps for name, one in kinds.items()} == {"prefill": 1, "decode": 1, "mixed": 1}
    assert [one.median for one in kinds.values()] == pytest.approx([1.0, 0.0, 0.5])


def test_a_machine_that_only_measures_needs_no_more_than_the_core() -> None:
    """All of it, where nothing is installed but what the core needs (and torch, once an engine is started)."""
    program = (
        "import sys\n"
        "for name in ('scipy', 'rich', 'typer', 'torch', 'transformers', 'httpx', 'zmq'):\n"
        "    sys.modules[name] = None\n"
        "from replay.calibration import file, fit, sweep\n"
        "from replay.engines import transformers_cb\n"
        "from tests.replay.test_calibration import drawn\n"
        "print(fit.fit_step_time(drawn(1, 60)).left_out)\n"
    )
    root = Path(__file__).parent.parent.parent
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == "0\n", done.stderr
