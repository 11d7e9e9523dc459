"""The calibrate command: from a log of steps, from an engine that is measured, and when it is stopped or misused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest

from argprod import cli
from argprod.calibrate_command import engine_of
from replay.calibration.file import read_calibration
from replay.calibration.fit import NAMES
from replay.calibration.rounds import Round
from replay.calibration.step_log import read_step_log
from replay.calibration.sweep import StepList
from replay.engines.catalogue import read_engine
from replay.engines.process import ProcessEngine
from replay.engines.transformers_cb import TransformersEngine
from tests.replay.test_calibration import TRUE, drawn
from tests.replay.test_calibration_file import FACTS, logged

#: The command on a simulated engine that takes a hundredth of the time; optionally it gets Ctrl-C after some steps.
ON_SIMULATED = """
import os, signal, sys
import argprod.calibrate_command as command
from replay.sim.cluster import Cluster
from tests.replay.test_calibration_sweep import NotingEngine, TRUE

steps = int(sys.argv.pop(1))

def engine_of(choice, told):
    count = 0
    def heard(name, step):
        nonlocal count
        count += 1
        told(name, step)
        if count == steps:
            os.kill(os.getpid(), signal.SIGINT)
    shape = choice.options
    cluster = Cluster((TRUE.scaled(0.01),), shape.kv_blocks * shape.block_tokens, shape.batch_tokens, shape.max_batch)
    return NotingEngine("0", cluster.specs(shape.block_tokens)[0], heard)

command.engine_of = engine_of
from argprod.cli import main; main()
"""
Call: TypeAlias = "Callable[..., Done]"
ENGINE = "torch:batch_tokens=256,max_batch=8,kv_blocks=256"


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The command as a user calls it, in this process."""

    def called(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["argprod", "calibrate", *words])
        monkeypatch.setenv("COLUMNS", "80")
        code = cli.run()
        return Done(code, *capsys.readouterr())

    return called


def call_on_simulated(*words: str, stop_after: int = 0) -> Done:
    """The same, in a process of its own, which may get Ctrl-C."""
    done = subprocess.run(
        [sys.executable, "-c", ON_SIMULATED, str(stop_after), "calibrate", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def steps_log(folder: Path, noise: float = 0.05, rounds: int = 40) -> Path:
    path = folder / "steps.jsonl"
    path.write_bytes(logged([Round(kind="any", steps=tuple(drawn(n, 10, noise=noise))) for n in range(rounds)]))
    return path


def test_a_log_of_steps_becomes_a_calibration(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "calibration.json"
    done = call("--steps", str(steps_log(tmp_path, noise=0.01)), "--out", str(out))
    assert done.returncode == 0, done.stderr
    found = read_calibration(out)
    assert found.engine == FACTS
    assert found.fitted_steps == 300
    for one in found.coefficients:
        assert one.standard_error is not None
        assert abs(one.value - getattr(TRUE, one.name)) < 4 * one.standard_error < getattr(TRUE, one.name), one.name
    for word in ("a prefill token", "µs", "held out", "median", "bias", f"calibration: {out}"):
        assert word in done.stdout.replace("\n", ""), word
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 80


def test_json_on_standard_output_is_json_alone(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "calibration.json"
    done = call("--steps", str(steps_log(tmp_path)), "--out", str(out), "--json", "-")
    assert json.loads(done.stdout) == json.loads(out.read_bytes())


def test_what_the_steps_cannot_tell_is_said(call: Call, tmp_path: Path) -> None:
    steps = [one for one in drawn(1, 2000, noise=0.01) if not one.decode_requests]
    path = tmp_path / "steps.jsonl"
    path.write_bytes(logged([Round(steps=tuple(steps))]))
    done = call("--steps", str(path), "--out", str(tmp_path / "c.json"))
    assert done.returncode == 0, done.stderr
    assert "a KV token read: 0, because no step had any" in done.stdout


@pytest.mark.slow
def test_an_engine_is_measured_and_its_steps_are_kept(call: Call, tmp_path: Path) -> None:
    out, steps = tmp_path / "calibration.json", tmp_path / "steps.jsonl"
    words = ("--engine", ENGINE, "--minutes", "0.02", "--out", str(out), "--save-steps", str(steps))
    done = call_on_simulated(*words)
    assert done.returncode == 0, done.stderr
    found = read_calibration(out)
    for name in NAMES:
        assert getattr(found.step_time, name) == pytest.approx(0.01 * getattr(TRUE, name), rel=1e-3), name
    assert found.engine.settings["kv_blocks"] == 256
    assert found.provenance.command.startswith("argprod calibrate --engine torch")
    assert {"argprod", "python", "numpy"} <= set(found.provenance.versions)
    again = call("--steps", str(steps), "--out", str(tmp_path / "again.json"))
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again.json").read_bytes() == out.read_bytes()


@pytest.mark.slow
def test_stopped_by_the_user_it_keeps_what_was_measured(tmp_path: Path) -> None:
    out, steps = tmp_path / "calibration.json", tmp_path / "steps.jsonl"
    words = ("--engine", ENGINE, "--minutes", "5", "--out", str(out), "--save-steps", str(steps))
    done = call_on_simulated(*words, stop_after=400)
    assert done.returncode == 130, done.stderr
    assert "interrupted: " in done.stdout
    kept = sum(len(one.steps) for one in read_step_log(steps).rounds)
    found = read_calibration(out)
    assert found.fitted_steps + found.held_out_error.steps == kept
    assert 50 < kept <= 400
    early = call_on_simulated(*words, stop_after=1)
    assert early.returncode == 130, early.stderr
    assert "interrupted: too few steps to fit" in early.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--engine, --steps: expected one of them, got 'neither'"),
        (("--steps", "{log}", "--engine", "torch"), "--engine, --steps: expected one of them, got 'both'"),
        (("--steps", "nowhere"), "--steps: expected a file that can be read, got 'nowhere'"),
        (("--steps", "{log}", "--save-steps", "x"), "--save-steps: expected to be left out"),
        (("--engine", "torhc"), "nearest: torch"),
        (("--engine", "torch:layer=2"), "nearest: layers"),
        (("--engine", "http"), "--engine: expected an engine that tells its steps: torch, got 'http'"),
        (("--engine", "torch:kv_blocks=4"), "kv_tokens: expected room for prompts"),
        (("--engine", "torch", "--minutes", "0"), "--minutes: expected a finite number > 0"),
        (("--steps", "{short}"), "expected at least 10 steps to fit"),
        (("--steps", "{broken}"), "broken.jsonl:2: expected a log of steps"),
        (("--steps", "{log}", "--json", "nowhere/x.json"), "a file in a folder that exists"),
    ],
)
def test_mistakes_are_told_in_one_line(call: Call, words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    log, short, broken = steps_log(tmp_path), tmp_path / "short.jsonl", tmp_path / "broken.jsonl"
    short.write_bytes(logged([Round(steps=tuple(drawn(1, 5)))]))
    broken.write_bytes(log.read_bytes().split(b"\n")[0] + b"\nhello\nhello\n")
    given = [word.format(log=log, short=short, broken=broken) for word in words]
    done = call("--out", str(tmp_path / "c.json"), *given)
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "c.json").exists()


def test_engines_are_made_with_the_list_as_their_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("argprod.calibrate_command.check_libraries", lambda: None)
    told = StepList()
    assert isinstance(engine_of(read_engine("torch"), told), TransformersEngine)
    assert isinstance(engine_of(read_engine("torch:processes=true"), told), ProcessEngine)


@pytest.mark.parametrize(("noise", "doubted"), [(0.02, False), (1.5, True)])
def test_step_times_that_do_not_hold_are_called_so(call: Call, tmp_path: Path, noise: float, doubted: bool) -> None:
    done = call("--steps", str(steps_log(tmp_path, noise=noise)), "--out", str(tmp_path / "c.json"))
    assert done.returncode == 0, done.stderr
    assert ("Do not rely on these step times: the median error is large (all steps " in done.stdout) == doubted
