"""The summary of a GPU session says what its file says, whatever parts of it there are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_summary import summary_lines

RESULT = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "gpu_replay_cpu.json"


def result() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULT.read_bytes())
    return found


def test_numbers_are_those_of_the_file() -> None:
    found = result()
    lines = summary_lines(found)
    rows = [line.split() for line in lines if line.startswith(("chat", "hot_spot"))]
    assert len(rows) == len({(run["workload"], run["policy"], run["mitigation"]) for run in found["runs"]})
    for workload, rule, runs, ttft, *_ in (row for row in rows if row[2] != "+auto"):
        told = found["comparison"][workload]["rules"][rule]
        assert int(runs) == told["runs"]
        assert float(ttft) == pytest.approx(1000 * told["ttft_s.mean"]["measured"]["mean"], rel=5e-3)
    assert "numerics: with a cached prefix 24 of 24 prompts got the same output" in lines
    assert lines[-1] == "not done: runs cut short (14 s were left, and a run takes 18 s); 2 runs left out"
    assert max(map(len, lines)) <= 110


@pytest.mark.parametrize("missing", ["runs", "step_time", "together", "comparison", "numerics", "runs_not_done"])
def test_a_part_that_is_missing_is_no_trouble(missing: str) -> None:
    found = result()
    del found[missing]
    assert len(summary_lines(found)) >= 3
    assert summary_lines({"parts": {}}) == ["no run is complete", "all was done"]
