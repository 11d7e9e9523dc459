"""``argprod claims``, ``prove`` and ``derive``."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from theory.registry import Status, claims

WIDTH = 80


def argprod(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, as a user does."""
    command = [sys.executable, "-c", "from argprod.cli import main; main()", *arguments]
    environment = os.environ | {"COLUMNS": str(WIDTH)}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)


def test_the_table_has_every_claim_and_fits_a_terminal() -> None:
    done = argprod("claims")
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in claims())
    assert max(map(len, done.stdout.splitlines())) <= WIDTH


def test_json_has_the_documented_form() -> None:
    rows = json.loads(argprod("claims", "--json").stdout)["claims"]
    assert [row["id"] for row in rows] == list(claims())
    assert all({"id", "status", "seconds", "statement"} <= set(row) for row in rows)
    assert {row["seconds"] for row in rows} == {None}


def test_one_claim_is_checked() -> None:
    done = argprod("claims", "pairwise_exchange_rate", "--check", "--no-tests", "--json")
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)["claims"]
    assert (row["status"], row["problems"]) == ("proved", [])
    assert row["seconds"] > 0


def test_open_claims_fail_on_request_only() -> None:
    some = any(claim.status is Status.OPEN for claim in claims().values())
    assert argprod("claims", "--no-open").returncode == (3 if some else 0)


def test_a_theorem_is_proved_in_one_line() -> None:
    done = argprod("prove", "pairwise_exchange_rate")
    assert done.returncode == 0, done.stderr
    assert "proved    exchange.py:product_is_the_line_at_the_ratio_of_means" in done.stdout


def test_a_timeout_is_undecided_and_never_proved() -> None:
    done = argprod("prove", "small_clusters_route_what_they_cover", "--timeout-s", "0.001", "--json")
    assert done.returncode == 3
    assert {row["status"] for row in json.loads(done.stdout)["theorems"]} == {"undecided"}, done.stdout


def test_an_interrupt_keeps_what_was_proved_and_exits_130() -> None:
    command = [sys.executable, "-u", "-c", "from argprod.cli import main; main()", "prove"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        first = running.stdout.readline()
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert first.startswith("proved")
    assert running.returncode == 130
    assert said.startswith("argprod: interrupted after ")
    assert len(said.splitlines()) == 1


def test_questions_are_written_as_smtlib(tmp_path: Path) -> None:
    done = argprod("prove", "pairwise_exchange_rate", "--smtlib", str(tmp_path / "new"))
    assert done.returncode == 0, done.stderr
    assert all("(check-sat)" in file.read_text() for file in (tmp_path / "new").iterdir())


@pytest.mark.parametrize("form", [(), ("--latex",), ("--json",)])
def test_a_derivation_is_shown(form: tuple[str, ...]) -> None:
    done = argprod("derive", "pairwise_exchange_rate", *form)
    assert done.returncode == 0, done.stderr
    assert {(): "P_j", ("--latex",): r"\frac{P_{i} + P_{j}}{B_{i} + B_{j}}", ("--json",): '"latex"'}[
        form
    ] in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("claims", "coverage_low"), "coverage_law"),
        (("derive", "coverage_low"), "coverage_law"),
        (("prove", "coverage_low"), "coverage_law"),
        (("derive", "choice_is_pairwise"), "argprod prove choice_is_pairwise"),
        (("claims", "--check", "--jobs", "-3"), "--jobs: expected an integer >= 1"),
        (("prove", "pairwise_exchange_rate", "--timeout-s", "0"), "--timeout-s: expected a finite number > 0"),
        (("prove", "pairwise_exchange_rate", "--smtlib", "/dev/null/x"), "a folder that can be written"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments: tuple[str, ...], message: str) -> None:
    done = argprod(*arguments)
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
