"""The report of live runs: no fact in it contradicts another, and one that was cut short does not look whole."""

from __future__ import annotations

import signal
import subprocess
from html import unescape
from pathlib import Path
from re import findall, match

from tests.argprod.test_live_replay import COMMAND, SOURCE, replay, result, servers
from tests.argprod.test_report import Tags


def facts_of(report: Path) -> dict[str, str]:
    """The rows of the tables of facts."""
    cells = findall(r"<tr><td><code>(.*?)</code></td><td>(.*?)</td></tr>", report.read_text(encoding="utf-8"))
    assert len(dict(cells)) == len(set(cells)), "two facts have one name and unlike values"
    return {unescape(name): unescape(value) for name, value in cells}


def test_no_fact_contradicts_another(tmp_path: Path) -> None:
    report, out = tmp_path / "report.html", tmp_path / "out.json"
    with servers((), (), block_tokens=32) as mocks:
        done = replay(mocks, "-p", "lmetric", "-p", "random", "--report", str(report), "--json", str(out), requests=20)
        assert done.returncode == 0, done.stderr
    facts = facts_of(report)
    assert facts["repetitions"] == "1"
    assert facts["source.closed_loop"] == "yes"  # the chat's later turns waited for replies
    assert "pace.closed_loop" not in facts
    assert facts["engine.block_tokens"] == "32"  # as the servers say, not the default for those that do not
    assert "block_tokens" not in facts
    assert facts["engine.model"] == facts["engine.about.model"] != ""
    assert facts["requests that warm each engine up"] == "2"
    assert facts["workload parameters.warm_up"] == "3"
    assert [name for name in facts if name.endswith("warm_up")] == ["workload parameters.warm_up"]
    page = Tags(report.read_text(encoding="utf-8")).text
    assert "Not asked of real engines" in page
    assert "20 requests, 2 policies, 1 repetition, 2 measured instances" in page
    engine = result(out)["settings"]["engine"]
    assert (engine["block_tokens"], engine["model"]) == (32, facts["engine.model"])


def test_a_report_of_what_was_cut_short_says_so(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    with servers((), rest="works") as mocks:
        mocks[0].acts = ["works"] * 14 + ["hangs"]
        command = [
            *COMMAND, SOURCE.format(30), "--engine", "http:vocabulary=1000", "--endpoint", mocks[0].url, "--open-loop",
            "-p", "lmetric", "-p", "random", "--report", str(report), "--warm-up", "0",
        ]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            mocks[0].until(lambda: mocks[0].finished == 29 and mocks[0].running == 1, 60.0)
            process.send_signal(signal.SIGINT)
            told, faults = process.communicate(timeout=60)
    assert process.returncode == 130, faults
    assert "interrupted: 0 of 2 runs are complete" in told
    page = Tags(report.read_text(encoding="utf-8")).text
    assert "of 30 requests, 1 policy" in page
    assert "Interrupted: 0 of 2 runs are complete; shown is what was done of 1 more." in page
    assert "against the best" not in page
    assert "\x1b[1m" not in told


def test_a_file_that_is_no_log_is_told_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "00-lmetric.jsonl").write_text("mine\n")
    with servers(()) as mocks:
        done = replay(mocks, "-p", "lmetric", "--log", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "00-lmetric.jsonl" in done.stderr
    assert (tmp_path / "00-lmetric.jsonl").read_text() == "mine\n"


def test_requests_that_no_cache_can_hold_blame_no_engine_and_are_one_line() -> None:
    with servers((), kv_blocks=30) as mocks:
        done = replay(mocks, "-p", "lmetric", "--warm-up", "0", "--open-loop")
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if "can never fit" in line]
    assert len(told) == 1
    assert match(
        r"rejected: \d+ times \d+ to \d+ tokens can never fit the KV cache of an instance \(requests ", told[0]
    )
