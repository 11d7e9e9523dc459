"""``argprod replay --calibration``: the simulator stands in for the engine that was measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from argprod import cli
from replay.calibration.file import Calibration, as_json, calibrate
from replay.calibration.rounds import Round
from replay.calibration.step_log import StepLog
from replay.metrics import summarise
from replay.sim.run import simulate
from replay.sources import open_source
from scheduler.policies.catalogue import policy
from tests.replay.mock_openai import MockOpenAI
from tests.replay.test_calibration import drawn
from tests.replay.test_calibration_file import HEADER

SOURCE = (
    "workload:chat:requests=60,block_tokens=16,context_tokens_max=400,opening_tokens_mean=60,turn_tokens_mean=20,"
    "output_tokens_mean=10,system_tokens=32"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "engine.json"
    path.write_bytes(as_json(calibrated()))
    return path


def calibrated() -> Calibration:
    return calibrate(StepLog(header=HEADER, rounds=[Round(steps=tuple(drawn(1, 400)))]))


def replay(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["argprod", "replay", *words])
    monkeypatch.setenv("COLUMNS", "80")
    return cli.run()


def test_the_simulator_takes_the_engine_of_the_file(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    words = (SOURCE, "--calibration", str(file), "--instances", "2", "-p", "lmetric", "--json", str(out))
    assert replay(monkeypatch, *words) == 0
    told = capsys.readouterr().out
    assert "simulated: 2 x the engine of" in told
    assert "Qwen2-7B" not in told
    found: dict[str, Any] = json.loads(out.read_bytes())
    calibration = calibrated()
    assert found["settings"]["simulated"] is True
    assert found["settings"]["cluster"]["calibration"] == str(file)
    assert "gpu" not in found["settings"]["cluster"]
    assert found["settings"]["step_time"]["prefill_s_per_token"] == calibration.step_time.prefill_s_per_token
    requests = list(open_source(SOURCE)[0])
    record = simulate(requests, policy("lmetric"), calibration.cluster(2), closed_loop=True)
    expected = summarise(record, "lmetric", {}, 2, 0.0)
    assert found["policies"][0]["ttft_s"]["mean"] == expected.ttft_s.mean
    assert found["policies"][0]["e2e_s"]["p99"] == expected.e2e_s.p99


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--gpu", "H100"], "--gpu: expected to be left out with --calibration, got 'H100' (the file says"),
        (["--speeds", "1,0.5"], "--speeds: expected to be left out with --calibration, got '1,0.5' (the file"),
        (["--calibration", "nowhere.json"], "--calibration: expected a file that can be read"),
        (["--calibration", __file__], "a calibration file of argprod calibrate"),
    ],
)
def test_what_does_not_go_with_it_is_said_in_one_line(
    options: list[str], told: str, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(monkeypatch, SOURCE, "--calibration", str(file), *options) == 2
    fault = capsys.readouterr().err
    assert told in fault
    assert len(fault.strip().splitlines()) == 1


def test_with_real_engines_it_gives_the_step_times_that_a_rule_reads(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = SOURCE.replace("requests=60", "requests=6,rate_per_s=100,first_token_s=0,reply_s_per_token=0,turns_mean=1")
    with MockOpenAI() as mock:
        words = (source, "--engine", "http", "--endpoint", mock.url, "-p", "mooncake_min_ttft")
        assert replay(monkeypatch, *words) == 2
        assert "step" in capsys.readouterr().err
        assert replay(monkeypatch, *words, "--calibration", str(file)) == 0
