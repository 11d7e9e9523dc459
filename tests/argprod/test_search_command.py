"""``argprod search``: results as JSON, exit codes, saved files, and one clear line for every kind of bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from argprod import cli, search_command
from proofs.search import Answer, Verdict, read_counterexample


def argprod(*arguments: str, cwd: Path | None = None, columns: int = 80) -> subprocess.CompletedProcess[str]:
    """Run ``argprod search`` in a process of its own, as a user does."""
    command = [sys.executable, "-c", "from argprod.cli import main; main()", "search", *arguments]
    environment = {**os.environ, "COLUMNS": str(columns)}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=120, env=environment)


def test_json_has_the_documented_form() -> None:
    small = ["--prompt-max", "64", "--batch-max", "4", "--queue-max", "16"]
    done = argprod("--rule", "join_shortest_queue", "--objective", "worst", *small, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert set(result) == {"question", "verdict", "how", "bound", "interrupted", "seconds", "solver", "states"}
    assert result["question"]["rule"] == "join_shortest_queue"
    assert result["question"]["against"] == "lmetric"
    [state] = result["states"]
    assert state["chosen"] != state["other"]
    assert state["regret"] == max(state["costs"]) / min(state["costs"]) > 1
    assert len(state["state"]["instances"]) == 2


def test_the_table_fits_and_names_both_choices() -> None:
    done = argprod("--rule", "dynamo", "--instances", "3")
    assert done.returncode == 0, done.stderr
    assert "solver: optimal" in done.stdout
    assert "dynamo takes a; lmetric takes b" in done.stdout
    table = [line for line in done.stdout.splitlines() if ";" not in line]
    assert all(len(line) <= 80 for line in table)


def test_that_there_is_no_state_is_an_answer_and_no_time_is_none() -> None:
    none = argprod("--rule", "lmetric", "--kind", "dominated")
    assert (none.returncode, "none exists within the ranges (proved)" in none.stdout) == (0, True)
    hurried = argprod("--rule", "linear", "--time-limit-s", "0.000001")
    assert (hurried.returncode, "undecided" in hurried.stdout) == (3, True)


def test_a_sequence_shows_its_arrivals() -> None:
    done = argprod("--kind", "sequence", "--gap", "3")
    assert done.returncode == 0, done.stderr
    assert "arrivals: hot to a, (caught up) hot to a" in done.stdout


def test_a_state_is_saved_with_its_twin_and_the_query(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    done = argprod("--kind", "zero_collapse", "--save", str(path))
    assert done.returncode == 0, done.stderr
    saved = read_counterexample(path)
    assert saved.expected_findings == ("zero_collapse",)
    assert "--kind zero_collapse" in saved.provenance["query"]


def test_an_own_rule_of_the_current_folder_is_searched(tmp_path: Path) -> None:
    (tmp_path / "mine_for_command.py").write_text("def rule(ops, x, aggregates, knobs):\n    return x.batch_size\n")
    done = argprod("--rule", "mine_for_command:rule", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["states"][0]["policy"] == "mine_for_command.rule"


def test_interrupted_it_shows_what_it_has_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = Answer(Verdict.UNDECIDED, "interrupted", interrupted=True)
    monkeypatch.setattr(search_command, "search", lambda *_, **__: stopped)
    with pytest.raises(typer.Exit) as caught:
        search_command.search_command()
    assert caught.value.exit_code == 130
    assert "interrupted" in capsys.readouterr().out


BAD = [
    (["--rule", "lmetrik"], ["policy", "nearest: lmetric"]),
    (["--rule", "no_such_module:f"], ["rule", "no_such_module"]),
    (["--rule", "power_of_two"], ["rule", "draws"]),
    (["--against", "lmetrik"], ["policy", "nearest: lmetric"]),
    (["--cost", "lmetrik"], ["policy", "nearest: lmetric"]),
    (["--kind", "disagre"], ["--kind", "nearest: disagree"]),
    (["--objective", "best"], ["objective", "best"]),
    (["--regret", "percent"], ["regret", "percent"]),
    (["--instances", "1"], ["instances", ">= 2", "got 1"]),
    (["--prompt-max", "0"], ["prompt_tokens_max", "empty"]),
    (["--queue-max", "-1"], ["queued_prefill_tokens_max", "-1"]),
    (["--free", "weight"], ["--free", "KNOB=LOW..HIGH"]),
    (["--free", "weight=0.9..0.1"], ["linear:weight", "empty"]),
    (["--free", "wait=0.1..0.9"], ["knob of linear", "wait"]),
    (["--every", "weight=x..1"], ["--every", "KNOB=LOW..HIGH"]),
    (["--time-limit-s", "0"], ["time_limit_s", "> 0"]),
    (["--save", "no/such/folder/x.json"], ["--save", "folder that exists"]),
    (["--save", "a-b"], ["--save", "a-b"]),
    (["--kind", "sequence", "--rule", "dynamo"], ["rule", "dynamo"]),
    (["--kind", "sequence", "--arrivals", "0"], ["arrivals", "0"]),
]


@pytest.mark.parametrize(("arguments", "parts"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_bad_options_end_in_one_clear_line(
    arguments: list[str],
    parts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["argprod", "search", *arguments])
    assert cli.run() == 2
    told = capsys.readouterr().err
    assert len(told.strip().splitlines()) == 1
    for part in parts:
        assert part in told
