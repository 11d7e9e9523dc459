"""Rounds, the log of steps and the calibration file: nothing is lost on the way, and damage has a name."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.calibration.file import as_json, calibrate, read_calibration
from replay.calibration.fit import NAMES
from replay.calibration.rounds import Round, all_steps, noise_of, split
from replay.calibration.step_log import EngineFacts, Header, Provenance, StepLog, StepLogWriter, read_step_log
from scheduler import BadInput
from scheduler.errors import BadTrace
from tests.replay.test_calibration import TRUE, drawn, step

FACTS = EngineFacts(name="torch", settings={"layers": 2}, block_tokens=16, kv_blocks=64, batch_tokens=256, max_batch=8)
HEADER = Header(engine=FACTS, provenance=Provenance(date="2026-11-28", command="argprod calibrate"))


ROUNDS = st.lists(
    st.builds(
        lambda kind, count: Round(kind=kind, steps=tuple(drawn(count, count))),
        st.sampled_from(["prefill", "decode"]),
        st.integers(1, 5),
    ),
    min_size=1,
    max_size=40,
)


@given(ROUNDS, st.integers(0, 99))
def test_every_step_is_fitted_or_held_out_and_never_both(rounds: list[Round], seed: int) -> None:
    if len(all_steps(rounds)) < 2:
        return
    fitted, held_out = split(rounds, seed)
    assert fitted
    assert held_out
    told = sorted(map(repr, all_steps(fitted) + all_steps(held_out)))
    assert told == sorted(map(repr, all_steps(rounds)))
    assert (fitted, held_out) == split(rounds, seed)
    if len(rounds) >= 16:
        assert all(any(one is other for other in rounds) for one in held_out)  # whole rounds
        for kind in ("prefill", "decode"):
            count = sum(one.kind == kind for one in rounds)
            assert abs(sum(one.kind == kind for one in held_out) - count / 4) <= 1


def test_the_noise_is_how_far_equal_steps_are_from_each_other() -> None:
    """Two that are off by a normal deviate of 5 % each differ by a median of 0.674 * 0.05 * 1.41."""
    rng = random.Random(1)
    rounds = [
        Round(steps=tuple(step(TRUE, rng.gauss(1.0, 0.05), decode_requests=4, kv_tokens=4000 + n) for n in range(20)))
        for _ in range(200)
    ]
    assert noise_of(rounds) == pytest.approx(0.0477, rel=0.05)
    changing = [Round(steps=(step(decode_requests=n + 1), step(decode_requests=n + 2))) for n in range(9)]
    assert noise_of([*changing, Round(steps=(step(prefill_tokens=9),) * 5)]) is None


def test_one_step_is_not_split() -> None:
    with pytest.raises(BadInput, match="two at least"):
        split([Round(steps=(step(),))])


def logged(rounds: Sequence[Round], header: Header = HEADER) -> bytes:
    file = io.BytesIO()
    writer = StepLogWriter(file, header)
    for one in rounds:
        writer.round(one)
    return file.getvalue()


def saved(folder: Path, data: bytes, name: str = "steps.jsonl") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@settings(max_examples=20)
@given(rounds=ROUNDS)
def test_the_log_gives_the_rounds_back(rounds: list[Round], tmp_path_factory: pytest.TempPathFactory) -> None:
    log = read_step_log(saved(tmp_path_factory.mktemp("log"), logged(rounds)))
    assert (log.header, log.rounds) == (HEADER, rounds)


def test_a_log_that_was_cut_off_holds_what_was_written(tmp_path: Path) -> None:
    rounds = [Round(kind="decode", steps=tuple(drawn(1, 3)))]
    data = logged(rounds)
    for rest in (b"", b"\n\n", b'{"what":"rou', b'{"at_s":0.0,"step'):
        assert read_step_log(saved(tmp_path, data + rest)).rounds == rounds
    unnamed = b"".join(line for line in data.splitlines(keepends=True) if b"round" not in line)
    assert read_step_log(saved(tmp_path, unnamed)).rounds == [Round(steps=rounds[0].steps)]


@pytest.mark.parametrize(
    ("damage", "place"),
    [
        (lambda data: b"", "steps.jsonl: expected a log of steps, got 'nothing'"),
        (lambda data: b"hello\n", "steps.jsonl:1: expected a log of steps"),
        (lambda data: data[data.index(b"\n") + 1 :], "steps.jsonl:1: expected"),
        (lambda data: data + b'{"at_s":"x"}\n', "steps.jsonl:5: expected"),
        (lambda data: data + b'{"at_s":0.0,"step_s":0.0}\n', "steps.jsonl:5: step_s: expected a finite number > 0"),
        (lambda data: data + b'{"at_s":0.0,"step_s":1,"pairs":-1}\n', "steps.jsonl:5: pairs: expected an integer >= 0"),
        (lambda data: data + b'{"what":"lunch"}\n', "steps.jsonl:5: expected a log of steps"),
    ],
)
def test_a_damaged_log_is_named_with_its_line(damage: Callable[[bytes], bytes], place: str, tmp_path: Path) -> None:
    data = logged([Round(kind="decode", steps=tuple(drawn(1, 2)))])
    with pytest.raises(BadTrace) as caught:
        read_step_log(saved(tmp_path, damage(data)))
    assert place in str(caught.value)
    assert "\n" not in str(caught.value)


def log_of(noise: float = 0.05, rounds: int = 40, **facts: Any) -> StepLog:
    header = msgspec.structs.replace(HEADER, engine=msgspec.structs.replace(FACTS, **facts))
    return StepLog(
        header=header, rounds=[Round(kind="any", steps=tuple(drawn(n, 10, noise=noise))) for n in range(rounds)]
    )


def test_a_calibration_file_gives_the_calibration_back(tmp_path: Path) -> None:
    calibration = calibrate(log_of())
    assert read_calibration(saved(tmp_path, as_json(calibration))) == calibration
    assert calibration.engine == FACTS
    assert calibration.provenance == HEADER.provenance
    assert (calibration.fitted_steps, calibration.held_out_error.steps) == (300, 100)
    assert calibration.held_out_error.median < 0.1


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("step_time", None, "expected a calibration file"),
        ("calibration", 2, "expected a calibration file of argprod calibrate"),
        ("engine", {}, "expected a calibration file"),
        ("step_time", {**dict.fromkeys(NAMES, 0.1), "base_s": -1.0}, "step_time.base_s: expected a finite number >= 0"),
        ("engine", {**msgspec.to_builtins(FACTS), "block_tokens": 0}, "engine.block_tokens: expected an integer >= 1"),
    ],
)
def test_a_damaged_calibration_is_named(field: str, value: Any, message: str, tmp_path: Path) -> None:
    damaged = {**msgspec.to_builtins(calibrate(log_of())), field: value}
    with pytest.raises(BadTrace) as caught:
        read_calibration(saved(tmp_path, msgspec.json.encode(damaged), "calibration.json"))
    assert "calibration.json: " in str(caught.value)
    assert message in str(caught.value)
    with pytest.raises(BadTrace, match="expected a calibration file"):
        read_calibration(saved(tmp_path, b"{"))


def test_a_cluster_of_an_engine_that_told_no_capacity_needs_to_be_told() -> None:
    calibration = calibrate(log_of(kv_blocks=None))
    with pytest.raises(BadInput, match="kv_blocks"):
        calibration.cluster(2)
    assert calibration.cluster(2, kv_tokens=4096).kv_tokens == 4096
    cluster = calibrate(log_of(max_batch=256)).cluster(3)
    assert (len(cluster), cluster.kv_tokens, cluster.batch_tokens) == (3, 1024, 256)
    assert cluster.specs(16)[0].max_batch == 255  # the simulator keeps room for prefill
