"""What the command line says about traces that leave things out, or do not say what prompts share."""

import json
import subprocess
from pathlib import Path

import pytest

from argprod.source_view import NOTHING_SHARED, source_lines, trace_facts_of
from replay.sources import open_source
from tests.argprod.test_cli import argprod, line

BURST = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,0,1087,Conversation log
118,GPT-4,417,276,693,API log
"""
AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,many,109
2023-11-16 18:15:51.2224670,374,0
"""
TOLD = {
    "burstgpt": (BURST, "2 requests over 113 s; requests that had failed left out: 1\n"),
    "azure": (AZURE, "2 requests over 5 s; bad lines skipped: 1; empty replies read as one token: 1\n"),
}


def replayed(path: Path, command: str = "replay", *more: str) -> subprocess.CompletedProcess[str]:
    done = argprod(command, str(path), "--instances", "2", "--on-bad-line", "skip", *more)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("name", TOLD)
def test_a_trace_without_prefixes_is_replayed_with_no_hit_and_says_so(tmp_path: Path, name: str) -> None:
    content, told = TOLD[name]
    (tmp_path / "t.csv").write_text(content, encoding="utf-8")
    out, report = tmp_path / "out.json", tmp_path / "report.html"
    done = replayed(tmp_path / "t.csv", "replay", "--json", str(out), "--report", str(report), "--mitigation", "auto")
    assert told in done.stdout
    assert done.stdout.splitlines().count(NOTHING_SHARED) == 1
    result = json.loads(out.read_text())
    assert {row["hit_fraction"] for row in result["policies"]} == {0.0}
    assert {row["finished"] for row in result["policies"]} == {2}
    trace = result["trace"]
    assert (trace["requests"], trace["keyed_requests"], trace["lines"]) == (2, 0, 4)
    assert (trace["skipped"], trace["failed_left_out"], trace["empty_outputs"]) == (
        (0, 1, 0) if name == "burstgpt" else (1, 0, 1)
    )
    page = report.read_text(encoding="utf-8")
    assert "shared prefixes" in page
    assert NOTHING_SHARED in page


def test_the_other_commands_say_it_too(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(BURST, encoding="utf-8")
    for command in (("census",), ("tune", "-p", "linear")):
        assert NOTHING_SHARED in replayed(tmp_path / "t.csv", *command).stdout


def test_where_prefixes_are_known_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / "t").write_text(line() + "\n" + line(timestamp=5) + "\n", encoding="utf-8")
    for source in (str(tmp_path / "t"), "workload:uncacheable:requests=5"):
        drawn, info = open_source(source)
        requests = list(drawn)
        assert len(source_lines(info, requests)) == 1
        assert trace_facts_of(info, requests)["keyed_requests"] == len(requests)


def test_own_lines_without_keys_share_nothing_either(tmp_path: Path) -> None:
    (tmp_path / "t").write_text('{"arrival_s": 0, "prompt_tokens": 9, "output_tokens": 1}\n', encoding="utf-8")
    drawn, info = open_source(str(tmp_path / "t"))
    assert source_lines(info, list(drawn))[1:] == [NOTHING_SHARED]
