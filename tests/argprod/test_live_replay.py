"""``argprod replay --engine http`` against servers that work, hang, crash, are slow or cut replies short."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from replay.run_log import read_log
from scheduler import BadInput
from tests.replay.mock_openai import MockOpenAI

SOURCE = (
    "workload:chat:requests={},rate_per_s=100,block_tokens=16,system_tokens=64,opening_tokens_mean=250,"
    "opening_tokens_sigma=0.5,turn_tokens_mean=60,turn_tokens_sigma=0.5,output_tokens_mean=5,output_tokens_sigma=0.3,"
    "turns_mean=5,think_s_mean=0.05,think_s_sigma=0.3,context_tokens_max=1500,first_token_s=0,reply_s_per_token=0.001"
)
COMMAND = [sys.executable, "-c", "from argprod.cli import main; main()", "replay"]


def replay(mocks: list[MockOpenAI], *more: str, requests: int = 30) -> subprocess.CompletedProcess[str]:
    """The command, as a user calls it, on those servers."""
    endpoints = [word for mock in mocks for word in ("--endpoint", mock.url)]
    command = [*COMMAND, SOURCE.format(requests), "--engine", "http:vocabulary=1000", *endpoints, *more]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@contextlib.contextmanager
def servers(*acts: tuple[str, ...], **options: Any) -> Iterator[list[MockOpenAI]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(MockOpenAI(*act, **options)) for act in acts]


def result(path: Path) -> Any:
    return json.loads(path.read_bytes())


def test_three_servers_under_three_rules(tmp_path: Path) -> None:
    out, log, report = tmp_path / "out.json", tmp_path / "logs", tmp_path / "report.html"
    rules = ["-p", "lmetric", "-p", "random", "-p", "round_robin", "--repeats", "2"]
    files = ["--json", str(out), "--log", str(log), "--report", str(report)]
    with servers((), (), ()) as mocks:
        done = replay(mocks, *rules, *files)
        assert done.returncode == 0, done.stderr
        assert sum(mock.finished for mock in mocks) == 6 * 30 + 3 * 2
        again = replay(mocks, *rules, *files)  # all is there already
        assert again.returncode == 0, again.stderr
        assert sum(mock.finished for mock in mocks) == 6 * 30 + 3 * 2
    assert "measured: 3 HTTP servers" in done.stdout
    assert "simulated" not in done.stdout.lower()
    found = result(out)
    assert set(found) == {"trace", "settings", "policies", "runs"}
    assert found["settings"]["simulated"] is False
    assert [(row["name"], row["seed"]) for row in found["policies"]] == [
        ("lmetric", 0), ("random", 0), ("round_robin", 0), ("random", 1), ("round_robin", 1), ("lmetric", 1),
    ]  # fmt: skip
    for row, run in zip(found["policies"], found["runs"], strict=True):
        assert (row["finished"], row["failed"]) == (30, 0)
        assert row["ttft_s"]["mean"] > 0
        assert row["watch"]["decisions"] == 30
        assert run["prediction"]["told"] == 30
        assert {off["cause"] for off in run["prediction"]["off"]} <= {"on its way"}
    hits = {row["name"]: row["hit_fraction"] for row in found["policies"]}
    assert hits["lmetric"] > hits["random"] > 0
    logs = [read_log(path) for path in sorted(log.glob("*.jsonl"))]
    assert len(logs) == 6
    assert all(sum(line.token_counts) == line.wanted_tokens for one in logs for line in one.lines)
    page = report.read_text()
    assert "Measured on 3 HTTP servers" in page
    told = page[page.index("<main>") : page.index("</main>")].lower().replace("<code>simulated</code>", "")
    assert "simulated" not in told


def test_without_a_log_nothing_is_left_and_what_is_shown_fits_a_terminal(tmp_path: Path) -> None:
    with servers((), ()) as mocks:
        done = replay(mocks, "-p", "lmetric", "--json", "-")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["settings"]["log"] is None
    table = done.stderr[done.stderr.index("measured:") : done.stderr.index("Measured.")]
    assert max(map(len, table.splitlines())) <= 80


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ("hangs", "said nothing of it for 5 s"),
        ("crashes", "broke off"),
        ("truncates", "stop"),
        ("refuses", "the GPU is on fire"),
        ("error", "the GPU fell off the bus"),
    ],
)
def test_a_server_that_misbehaves_costs_its_requests_and_the_exit_code_tells(
    act: str, reason: str, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    with servers((), ("works", "works", act, "works"), ()) as mocks:
        done = replay(
            mocks,
            "-p",
            "round_robin",
            "--patience-s",
            "5" if act == "hangs" else "60",
            "--warm-up",
            "0",
            "--json",
            str(out),
            "--open-loop",
        )
        bad = mocks[1].url.removeprefix("http://")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    found = result(out)
    row, run = found["policies"][0], found["runs"][0]
    assert (row["requests"], row["finished"], row["failed"]) == (30, 29, 1)
    [lost] = run["lost"]
    assert lost["instance"] == bad
    assert reason.split(" after", maxsplit=1)[0] in lost["reason"]
    assert f"failed: once {bad}" in done.stdout
    assert f"(request {lost['id']})" in done.stdout
    assert not run["gone"]


def test_a_server_that_dies_is_given_up_and_the_others_get_the_rest(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    with servers((), ("works", "works", "dies"), ()) as mocks:
        bad = mocks[1].url.removeprefix("http://")
        done = replay(mocks, "-p", "lmetric", "--warm-up", "0", "--json", str(out), "--open-loop", requests=40)
    assert done.returncode == 1, done.stderr
    run, row = result(out)["runs"][0], result(out)["policies"][0]
    assert list(run["gone"]) == [bad]
    assert {lost["instance"] for lost in run["lost"]} == {bad}
    assert row["finished"] + row["failed"] == 40
    assert row["failed"] == len(run["lost"]) >= 3
    assert f"{bad} failed too often in a row and got no more requests" in done.stdout


def test_a_plan_that_a_dead_server_ends_shows_what_was_learned(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    with servers((), ("works", "works", "dies"), ()) as mocks:
        bad = mocks[1].url.removeprefix("http://")
        words = ("-p", "lmetric", "-p", "random", "--warm-up", "0", "--json", str(out), "--open-loop")
        done = replay(mocks, *words, requests=40)
    assert done.returncode == 1
    assert bad in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "ended early: 1 of 2 runs are complete" in done.stdout
    assert [run["policy"] for run in result(out)["runs"]] == ["lmetric"]
    assert result(out)["policies"][0]["finished"] > 0


def test_a_server_that_hangs_in_the_warm_up_ends_the_plan() -> None:
    with servers(("hangs",)) as mocks:
        done = replay(mocks, "-p", "lmetric", "--patience-s", "0.5")
    assert done.returncode == 1
    assert "said nothing of a request of the warm-up for 0.5 s" in done.stderr


def test_requests_that_a_server_refuses_are_lost_and_the_exit_code_tells(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    with servers((), ("too_long",)) as mocks:  # in the warm-up it may refuse
        done = replay(mocks, "-p", "round_robin", "--warm-up", "1", "--json", str(out), "--open-loop", requests=12)
        assert done.returncode == 0, done.stderr
        mocks[1].acts = ["too_long", "works", "too_long", "too_long", "too_long"]
        done = replay(mocks, "-p", "round_robin", "--warm-up", "1", "--json", str(out), "--open-loop", requests=12)
    assert done.returncode == 1, done.stderr
    row, run = result(out)["policies"][0], result(out)["runs"][0]
    assert (row["finished"], row["rejected"], row["failed"]) == (9, 3, 0)
    assert {lost["reason"].partition(": ")[2] for lost in run["lost"]} == {"longer than the maximum model length"}
    assert not run["gone"]


def test_a_report_that_cannot_be_written_costs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from argprod import cli, report

    def full(path: Path, _: object) -> None:
        raise BadInput("--report", str(path), "a file that can be written", "No space left on device")

    monkeypatch.setattr(report, "write_report", full)
    out = tmp_path / "out.json"
    with servers(()) as mocks:
        words = ["--engine", "http:vocabulary=1000", "--endpoint", mocks[0].url, "-p", "lmetric", "--warm-up", "0"]
        files = ["--json", str(out), "--report", str(tmp_path / "r.html")]
        monkeypatch.setattr(sys, "argv", ["argprod", "replay", SOURCE.format(5), *words, *files])
        assert cli.run() == 2
    assert "No space left" in capsys.readouterr().err
    assert result(out)["policies"][0]["finished"] == 5


def test_a_log_of_other_settings_is_refused_and_one_of_the_same_is_taken_up(tmp_path: Path) -> None:
    log = tmp_path / "logs"
    with servers(()) as mocks:
        words = ("-p", "lmetric", "--warm-up", "0", "--log", str(log), "--open-loop")
        assert replay(mocks, *words, requests=20).returncode == 0
        before = (log / "00-lmetric.jsonl").read_bytes()
        for more, told in (
            (("--limit", "3"), "limit None there, 3 here"),
            (("-p", "random", "--rate-scale", "5"), "rate_scale 1.0 there, 5.0 here"),
            (("--engine", "http:vocabulary=2000"), "vocabulary 1000 there, 2000 here"),
            (("--until-s", "9"), "pace.until_s None there, 9.0 here"),
        ):
            done = replay(mocks, *words, *more, requests=20)
            assert done.returncode == 2
            [line] = done.stderr.strip().splitlines()
            assert line.startswith(
                f"argprod: --log: expected a folder whose logs are of runs like these, got '{log}' (00-"
            )
            assert told in line
            assert line.endswith("name another folder, or move the old logs away)")
            assert [path.name for path in log.iterdir()] == ["00-lmetric.jsonl"]
            assert (log / "00-lmetric.jsonl").read_bytes() == before
        again = replay(
            mocks, *words, "--engine", "http:vocabulary=1000,ready_s=30,model=mock,reset=endpoint", requests=20
        )
        assert again.returncode == 0, again.stderr
        assert "1 of 1 runs taken from the log\n" in again.stdout
        address = [*COMMAND, SOURCE.format(20), "--engine", "http:vocabulary=1000", "--endpoint", f"{mocks[0].url}/v1/"]
        done = subprocess.run([*address, *words], capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        assert mocks[0].finished == 20
        assert (log / "00-lmetric.jsonl").read_bytes() == before


def test_a_slow_server_is_waited_for() -> None:
    with servers((), (), rest="slow") as mocks:
        done = replay(mocks, "-p", "lmetric", "--patience-s", "10", requests=10)
    assert done.returncode == 0, done.stderr


def test_a_server_that_is_not_there_is_said_before_anything_is_run() -> None:
    with servers(()) as mocks:
        url = mocks[0].url
    done = replay(mocks, "--engine", "http:ready_s=0.2")
    assert done.returncode == 1
    assert url.removeprefix("http://") in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_who_stops_it_keeps_what_was_learned(tmp_path: Path) -> None:
    out, log = tmp_path / "out.json", tmp_path / "logs"
    with servers((), rest="works") as mocks:
        for mock in mocks:
            mock.acts = ["works"] * 40 + ["hangs"]
        command = [
            *COMMAND, SOURCE.format(30), "--engine", "http:vocabulary=1000", "--endpoint", mocks[0].url, "--open-loop",
            "-p", "lmetric", "-p", "random", "--json", str(out), "--log", str(log), "--warm-up", "0",
        ]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            mocks[0].until(lambda: mocks[0].finished == 59 and mocks[0].running == 1, 60.0)
            process.send_signal(signal.SIGINT)
            told, faults = process.communicate(timeout=60)
        assert process.returncode == 130, faults
        assert "interrupted: 1 of 2 runs are complete" in told
        assert "random (cut short), repetition 0: in no table above" in told
        found = result(out)
        assert found["settings"]["interrupted"] is True
        assert [run["complete"] for run in found["runs"]] == [True, False]
        whole, part = found["policies"]
        assert (whole["finished"], part["finished"] + part["failed"]) == (30, 30)
        assert part["finished"] >= 20  # of those that ended there at last not all were heard of here
        assert {lost["reason"] for lost in found["runs"][1]["lost"]} == {"still open at the cut-off"}
        mocks[0].acts = []
        before = mocks[0].finished
        again = replay(mocks, "-p", "lmetric", "-p", "random", "--warm-up", "0", "--log", str(log), "--open-loop")
        assert again.returncode == 0, again.stderr
        assert "1 of 2 runs taken from the log, 1 run that was cut short is done again\n" in again.stdout
        assert mocks[0].finished - before == 30  # the complete run is not done again
    assert not list(log.glob("*.part"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--engine", "http"], "at least one --endpoint"),
        (["--engine", "torch", "--endpoint", "http://127.0.0.1:1"], "engine torch has no servers"),
        (["--engine", "http", "--endpoint", "127.0.0.1:1"], "starts with http://"),
        (["--engine", "http", "--endpoint", "http://a", "--endpoint", "http://a/"], "once"),
        (["--engine", "http", "--endpoint", "http://a", "--instances", "2"], "expected 1, as there are --endpoint"),
        (["--engine", "http", "--endpoint", "http://a", "--kv-events", "x", "--kv-events", "y"], "one for each of 1"),
        (["--engine", "http", "--endpoint", "http://a", "--kv-events", "here"], "--kv-events"),
        (["--engine", "torch", "--kv-events", "tcp://127.0.0.1:1"], "engine torch has no servers"),
        (["--engine", "http", "--endpoint", "http://a:1", "--endpoint", "http://a:1/v1"], "once"),
        (["--engine", "http:blocks=3", "--endpoint", "http://a"], "nearest: "),
        (["--engine", "http:reset=maybe", "--endpoint", "http://a"], "one of auto, endpoint, salt"),
        (["--engine", "http:model"], "param=value"),
        (["--engine", "http:reset=salt,reset=auto"], "each parameter once"),
        (["--engine", "trch"], "sim, torch or http"),
        (["--engine", "torch:layers=two"], "layers"),
        (["--engine", "torch:processes=perhaps"], "true or false"),
        (["--engine", "torch", "--seeds", "3"], "--repeats"),
        (["--engine", "torch", "--gpu", "H100"], "it is for the simulator"),
        (["--engine", "torch", "--instances", "0"], "--instances"),
        (["--engine", "torch", "--mitigation", "aut"], "mitigation"),
        (["--repeats", "3"], "it is for real engines"),
        (
            ["--engine", "sim", "--log", "x"],
            "--log: expected to be left out with --engine sim, got 'x'",
        ),
        (
            ["--endpoint", "http://a"],
            "left out with --engine sim, got 'http://a' (it is for real engines",
        ),
        (
            ["--engine", "torch", "--seeds", "3"],
            "--seeds: expected to be left out with --engine torch, got 3",
        ),
        (
            ["--engine", "http", "--endpoint", "http://a:1", "--endpoint", "http://a:1"],
            "once, got 'http://a:1'",
        ),
    ],
)
def test_what_does_not_go_together_is_said_in_one_line(
    options: list[str], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from argprod.cli import run

    monkeypatch.setattr(sys, "argv", ["argprod", "replay", "workload:chat:requests=5", *options])
    assert run() == 2
    fault = capsys.readouterr().err
    assert told in fault
    assert len(fault.strip().splitlines()) == 1


def test_a_log_that_is_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    command = [*COMMAND, "workload:chat:requests=5", "--engine", "torch", "--log", str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=os.environ)
    assert done.returncode == 2
    assert "--log: expected a folder" in done.stderr
