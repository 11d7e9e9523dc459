"""``argprod search``: results as JSON, exit codes, saved files, and one clear line for every kind of bad input."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from argprod import cli, search_command
from argprod.search_saving import path_of
from proofs.search import Answer, Question, Verdict, read_counterexample, rule_named
from proofs.search.replaying import choice
from scheduler import BadInput


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


@pytest.mark.parametrize("columns", [44, 80])
def test_no_line_is_wider_than_the_console_and_both_choices_are_named(columns: int) -> None:
    done = argprod("--rule", "dynamo", "--instances", "3", columns=columns)
    told = " ".join(done.stdout.split())
    assert "dynamo takes a; lmetric takes b" in told
    assert "ties, which are drawn, are left out" in told
    assert all(len(line) <= columns for line in done.stdout.splitlines())
    headings = [line.split() for line in done.stdout.splitlines() if set(line.split()) <= set("abc")]
    assert [name for line in headings for name in line] == list("abc")


def test_the_table_shows_what_decides() -> None:
    done = argprod("--rule", "linear", "--json")
    [found] = json.loads(done.stdout)["states"]
    table = argprod("--rule", "linear").stdout
    rows = {name: cells for name, *cells in (re.split(r"\s{2,}", line.strip()) for line in table.splitlines())}
    instances, length = found["state"]["instances"], found["state"]["request"]["prompt_tokens"]
    tokens = [i["queued_prefill_tokens"] + max(1, length - i["hit_tokens"]) for i in instances]
    batches = [i["running"] + i["waiting"] + 1 for i in instances]
    assert rows["P-token (P)"] == [str(value) for value in tokens]
    assert rows["batch size (B)"] == [str(value) for value in batches]
    assert rows["score: lmetric"] == [str(p * b) for p, b in zip(tokens, batches, strict=True)]
    scores = [float(value) for value in rows["score: linear:weight=0.7"]]
    assert scores.index(min(scores)) == 0
    assert [float(value) for value in rows["cost: marginal_delay"]] == found["costs"]


def test_a_filter_shows_whom_it_keeps_and_noise_shows_the_truth() -> None:
    assert "kept by dynamo_two_tier" in argprod("--rule", "dynamo_two_tier").stdout
    noise = argprod("--kind", "noise", "--any-hits", "--eps", "0.25", "--time-limit-s", "10").stdout
    assert "true score: lmetric" in noise
    assert "true P-token (P)" in noise


@pytest.mark.parametrize(
    ("regret", "words"), [("ratio", "at no extra cost under"), ("difference", "at no extra cost under")]
)
def test_a_difference_at_no_cost_is_called_that(regret: str, words: str) -> None:
    done = argprod("--rule", "join_shortest_queue", "--cost", "join_shortest_queue", "--regret", regret)
    assert f"{words} join_shortest_queue" in " ".join(done.stdout.split())


def test_that_there_is_no_state_names_what_was_asked_and_no_time_is_none() -> None:
    none = argprod("--rule", "lmetric:ties=random", "--kind", "dominated", "--max-size", "40")
    told = " ".join(none.stdout.split())
    assert none.returncode == 0
    assert "lmetric:ties=random, kind dominated, 2 instances, size at most 40: none exists" in told
    assert "ties left out (proved)" in told
    compared = argprod("--rule", "linear", "--kind", "idle_collapse", "--max-size", "3")
    assert "linear:weight=0.7 against lmetric, kind idle_collapse" in " ".join(compared.stdout.split())
    hurried = argprod("--rule", "linear", "--time-limit-s", "0.000001")
    assert (hurried.returncode, "undecided" in hurried.stdout) == (3, True)


@pytest.mark.parametrize("option", ["--rule", "--against", "--cost"])
@pytest.mark.parametrize("kind", ["disagree", "dominated", "starvation", "noise", "sequence"])
def test_a_rule_that_draws_every_choice_proves_nothing(option: str, kind: str) -> None:
    done = argprod(option, "random", "--kind", kind)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{option}: expected a rule whose choice follows from the state" in done.stderr


def test_help_says_what_form_an_own_rule_has() -> None:
    told = " ".join(argprod("--help").stdout.split())
    assert "f(ops, x, aggregates, knobs)" in told
    assert "..." not in told.replace("[:knob=value,...]", "")


def test_a_sequence_shows_its_arrivals() -> None:
    done = argprod("--kind", "sequence", "--gap", "3")
    assert done.returncode == 0, done.stderr
    assert "arrivals: hot to a, (caught up) hot to a" in done.stdout


def test_a_state_is_saved_with_its_twin_and_the_query(tmp_path: Path) -> None:
    done = argprod("--kind", "zero_collapse", "--save", "found.json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "saved found.json\n")
    saved = read_counterexample(tmp_path / "found.json")
    assert saved.expected_findings == ("zero_collapse",)
    assert "--kind zero_collapse" in saved.provenance["query"]


def test_a_saved_state_is_overwritten_only_by_force(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    path.write_text("precious")
    refused = argprod("--save", str(path))
    assert (refused.returncode, path.read_text()) == (2, "precious")
    assert "--force" in refused.stderr
    assert "--force" in refused.stderr
    done = argprod("--save", str(path), "--force")
    assert (done.returncode, done.stderr) == (0, f"saved {path}\n")
    assert read_counterexample(path).policy == "linear"


def test_an_own_rule_is_saved_under_the_name_that_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "saved_for_command.py").write_text("def rule(ops, x):\n    return x.batch_size\n")
    refused = argprod("--rule", "saved_for_command:rule", "--save", "mine", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--save: expected a path that ends in .json" in refused.stderr
    done = argprod("--rule", "saved_for_command:rule", "--save", "mine.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    saved = read_counterexample(tmp_path / "mine.json")
    assert choice(rule_named(saved.policy), saved.state) == saved.state.state.ids.index(saved.provenance["chosen"])


def test_a_name_is_for_a_checkout_and_for_rules_of_the_catalogue(tmp_path: Path) -> None:
    question = Question(rule_named("linear"))
    installed = tmp_path / "site-packages" / "proofs" / "counterexamples"
    installed.mkdir(parents=True)
    with pytest.raises(BadInput, match=r"a path that ends in \.json.*checkout"):
        path_of("mine", question, force=False, folder=installed)
    (tmp_path / "site-packages" / ".git").mkdir()
    (tmp_path / "site-packages" / "tests").mkdir()
    assert path_of("mine", question, force=False, folder=installed) == installed / "mine.json"
    (installed / "mine.json").touch()
    with pytest.raises(BadInput, match="--force"):
        path_of("mine", question, force=False, folder=installed)
    assert path_of("mine", question, force=True, folder=installed).name == "mine.json"


def test_where_nothing_was_found_nothing_is_saved(tmp_path: Path) -> None:
    done = argprod("--rule", "lmetric", "--kind", "dominated", "--save", "none.json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "nothing saved: no state was found\n")
    assert not (tmp_path / "none.json").exists()


def test_a_state_without_a_twin_is_shown_before_the_file_is_refused(tmp_path: Path) -> None:
    done = argprod("--rule", "preble", "--save", "preble.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "preble takes" in done.stdout
    assert "preble.json" in done.stderr


def test_an_own_rule_of_the_current_folder_is_searched(tmp_path: Path) -> None:
    (tmp_path / "mine_for_command.py").write_text("def rule(ops, x, aggregates, knobs):\n    return x.batch_size\n")
    done = argprod("--rule", "mine_for_command:rule", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["states"][0]["policy"] == "mine_for_command:rule"


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
    (["--rule", "lmetrik"], ["--rule:", "nearest: lmetric", "`argprod policies`"]),
    (["--rule", "no_such_module:f"], ["--rule:", "no_such_module", "`argprod policies`"]),
    (["--rule", "power_of_two"], ["--rule:", "draws"]),
    (["--rule", "linear:weigth=1"], ["--rule, knob of linear", "nearest: weight"]),
    (["--rule", "linear:weight=7"], ["--rule, linear:weight", "<= 1"]),
    (["--against", "lmetrik"], ["--against:", "nearest: lmetric", "`argprod policies`"]),
    (["--against", "linear"], ["--against:", "another rule"]),
    (["--cost", "foo"], ["--cost:", "'foo'", "`argprod policies`"]),
    (["--cost", "sglang_cache_aware"], ["--cost:", "one number"]),
    (["--cost", "linear", "--objective", "worst"], ["--cost:", "another rule"]),
    (["--kind", "disagre"], ["--kind:", "nearest: disagree"]),
    (["--objective", "best"], ["--objective:", "best"]),
    (["--regret", "percent"], ["--regret:", "percent"]),
    (["--instances", "1"], ["--instances:", ">= 2", "got 1"]),
    (["--prompt-max", "0"], ["--prompt-max:", "empty"]),
    (["--batch-max", "0"], ["--batch-max:", "empty"]),
    (["--queue-max", "-1"], ["--queue-max:", "-1"]),
    (["--block-tokens", "0"], ["--block-tokens:", "0"]),
    (["--eps", "0"], ["--eps:", "0"]),
    (["--count", "0"], ["--count:", "0"]),
    (["--max-size", "0"], ["--max-size:", "0"]),
    (["--min-regret", "-1"], ["--min-regret:", "-1"]),
    (["--free", "weight"], ["--free:", "KNOB=LOW..HIGH"]),
    (["--free", "weight=0.9..0.1"], ["--free, linear:weight", "empty"]),
    (["--free", "wait=0.1..0.9"], ["--free, knob of linear", "wait"]),
    (["--every", "weight=x..1"], ["--every:", "KNOB=LOW..HIGH"]),
    (["--every", "weight=0..1"], ["--every, linear:weight", "> 0"]),
    (["--rule", "dynamo_two_tier", "--every", "abs_threshold=1..2"], ["--every:", "affine"]),
    (["--time-limit-s", "0"], ["--time-limit-s:", "> 0"]),
    (["--save", "no/such/folder/x.json"], ["--save:", "folder that exists"]),
    (["--save", "a-b"], ["--save:", "a-b"]),
    (["--rule", "linear", "--free", "weight=0.1..0.2", "--free", "weight=0.3..0.4"], ["--free, linear:weight", "once"]),
    (
        ["--rule", "dynamo", "--free", "overlap_credit_decay=0..1"],
        ["--free, dynamo:overlap_credit_decay", "arithmetic"],
    ),
    (["--eps", "0.2"], ["--eps:", "--kind noise", "no effect"]),
    (["--count", "7"], ["--count:", "--objective diverse", "no effect"]),
    (["--arrivals", "7"], ["--arrivals:", "--kind sequence", "no effect"]),
    (["--gap", "7"], ["--gap:", "--kind sequence", "no effect"]),
    (["--imbalance", "2"], ["--imbalance:", "--kind sequence", "no effect"]),
    *(
        (["--kind", "sequence", *option.split()], [f"{option.split()[0]}:", "another kind", "no effect"])
        for option in (
            "--against linear",
            "--objective worst",
            "--cost lmetric",
            "--regret difference",
            "--prompt-max 64",
            "--batch-max 8",
            "--queue-max 8",
            "--any-hits",
            "--free weight=0.1..0.2",
            "--every weight=0.1..0.2",
            "--max-size 9",
            "--min-regret 2",
        )
    ),
    (["--kind", "sequence", "--eps", "0.2"], ["--eps:", "no effect"]),
    (["--kind", "sequence", "--count", "7"], ["--count:", "no effect"]),
    (["--kind", "sequence", "--rule", "dynamo"], ["--rule:", "dynamo"]),
    (["--kind", "sequence", "--arrivals", "0"], ["--arrivals:", "0"]),
    (["--kind", "sequence", "--gap", "0"], ["--gap:", "0"]),
    (["--kind", "sequence", "--imbalance", "0.5"], ["--imbalance:", "0.5"]),
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
