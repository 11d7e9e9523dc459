"""The census command: what it prints and writes, and that mistakes are told in one line before any run."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from argprod.census_command import census_command, read_weights
from argprod.census_view import conclusion, fork_table, show_census, slice_table, weight_table
from replay.census_counts import best_line
from replay.census_effects import Estimate, Foresight
from replay.census_taking import Census, take_census
from replay.sim.cluster import roofline_cluster
from replay.sources import open_source
from scheduler.errors import BadInput
from scheduler.state import Request

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(census_command)
SOURCE = "workload:coder:requests=120"
SMALL = [SOURCE, "--instances", "4", "--samples", "2"]


def run(*words: str) -> tuple[str, BaseException | None]:
    answer = CliRunner().invoke(app, [*SMALL, *words])
    return answer.output, answer.exception


def small() -> Census:
    requests: list[Request] = list(open_source(SOURCE)[0])
    return take_census(requests, roofline_cluster(4), closed_loop=True, samples=2)


CENSUS = small()


def printed(show: Any, width: int = 80) -> str:
    text = io.StringIO()
    show(Console(width=width, file=text))
    return text.getvalue()


def test_it_shows_counts_slices_forks_and_how_to_read_them() -> None:
    said, fault = run()
    assert fault is None, said
    for word in ("differs", "as published", "all w from 16 to 4096", "best", "predicted", "net", "chance", "simulated"):
        assert word in said, word


def test_the_json_holds_what_was_found(tmp_path: Path) -> None:
    path = tmp_path / "census.json"
    said, fault = run("--weights", "16,300", "--fork-weights", "64", "--seed", "3", "--json", str(path))
    assert fault is None, said
    written = json.loads(path.read_text())
    assert set(written) == {"trace", "settings", "census"}
    assert written["settings"]["seeds"] == [3]
    assert written["settings"]["weights"] == [16, 300]
    census = msgspec.convert(written["census"], Census)
    assert [row.weight for row in census.counts.weights] == [16, 300]
    assert [line.weight for line in census.lines] == [64]
    assert len(census.forks) == 2
    assert not census.interrupted


def test_json_on_standard_output_is_json_alone() -> None:
    answer = CliRunner().invoke(app, [*SMALL, "--samples", "0", "--json", "-"])
    assert json.loads(answer.stdout)["census"]["forks"] == []


def test_the_same_source_and_seed_give_the_same_census() -> None:
    words = [*SMALL, "--json", "-"]
    first, second = (CliRunner().invoke(app, words).stdout for _ in range(2))
    assert first == second
    assert msgspec.convert(json.loads(first)["census"], Census) == CENSUS


def test_interrupted_it_shows_what_it_has_and_exits_130(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = msgspec.structs.replace(CENSUS, interrupted=True, forks_wanted=96)
    monkeypatch.setattr("argprod.census_command.take_census", lambda *_, **__: stopped)
    answer = CliRunner().invoke(app, SMALL)
    assert answer.exit_code == 130
    assert "interrupted: 6 of 96 forks kept" in answer.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--weights", "1,x"], "--weights: expected numbers"),
        (["--weights", "0"], "--weights"),
        (["--weights", ""], "--weights"),
        (["--fork-weights", "3,3"], "each weight once"),
        (["--samples", "-1"], "--samples"),
        (["--horizon-s", "nan"], "--horizon-s"),
        (["--seed", "-1"], "--seed"),
        (["--jobs", "0"], "--jobs"),
        (["--instances", "0"], "instances"),
        (["--json", "/no/where/x.json"], "output"),
    ],
)
def test_mistakes_are_named_before_any_run(words: list[str], said: str) -> None:
    output, fault = run(*words)
    assert isinstance(fault, BadInput), output
    assert said in str(fault)
    assert output == ""


def test_weights_are_read_in_any_order() -> None:
    assert read_weights("--weights", "256,1e3,16") == (16, 256, 1000)


def test_tables_fit_eighty_columns_and_cut_nothing() -> None:
    large = Estimate(forks=32, mean=-123456.0, low=-987654.0, high=876543.0, quartiles=(-99999.0, -88888.0, 77777.0))
    lines = tuple(
        msgspec.structs.replace(line, weight=65536.0, e2e=dict.fromkeys(line.e2e, large), predicted=line.predicted)
        for line in CENSUS.lines
    )
    for census in (CENSUS, msgspec.structs.replace(CENSUS, lines=lines)):
        text = printed(lambda console, census=census: show_census(console, census))
        assert max(map(len, text.splitlines())) <= 80
        assert "…" not in text
        for table in (weight_table(census.counts), slice_table(census.counts), fork_table(census)):
            shown = printed(lambda console, table=table: console.print(table))
            assert max(map(len, shown.splitlines())) <= 80


def with_net(forks: int, low: float, high: float) -> Census:
    """The census with so many forks, and such an interval of what is beyond chance."""
    found = Estimate(forks=forks, mean=(low + high) / 2, low=low, high=high, quartiles=(low, low, high))
    lines = tuple(
        msgspec.structs.replace(line, forks=forks, e2e=dict.fromkeys(("present", "near", "run", "net_near"), found),
                                foresight={"predicted_offset_s": dict.fromkeys(
                                    ("present", "near", "net_near"), Foresight(forks=forks, same_sign=0.75,
                                                                               rank_correlation=0.625))})
        for line in CENSUS.lines
    )  # fmt: skip
    bare = msgspec.structs.replace(CENSUS.counts, findings={})  # their percentages are not those that are looked for
    return msgspec.structs.replace(CENSUS, lines=lines, counts=bare)


def test_findings_are_told_with_how_often_lines_differ_there() -> None:
    text = " ".join(printed(lambda console: show_census(console, CENSUS)).split())
    assert CENSUS.counts.findings
    for kind, found in CENSUS.counts.findings.items():
        assert f"found {kind} at " in text
        assert f"({found.unsafe} unsafe); there lines differ: w " in text


def test_few_forks_show_no_interval_and_no_rank() -> None:
    for forks, shown in ((7, False), (8, True)):
        text = printed(lambda console, forks=forks: show_census(console, with_net(forks, 1.25, 3.5)))
        assert ("too few to conclude" in text) is not shown
        for word in ("1.25, 3.50", "[1.25, 3.50]", "0.62", "75.0"):
            assert (word in text) is (shown or word == "1.25, 3.50"), word  # quartiles are shown in any case
        assert (f"{forks} forks: too few to conclude" in text) is not shown


def test_the_last_sentence_answers_the_question() -> None:
    assert "shown for w 16.0 (line worse)" in conclusion(with_net(8, 1.0, 3.0))
    assert "shown for w 16.0 (product worse)" in conclusion(with_net(8, -3.0, -1.0))
    for census in (with_net(8, -1.0, 3.0), with_net(7, 1.0, 3.0)):
        assert "cost of single decisions is not shown" in conclusion(census)
    assert "none was forked" in conclusion(msgspec.structs.replace(CENSUS, lines=()))
    shares = [100 * row.share for row in CENSUS.counts.weights]
    assert f"differ at {min(shares):.1f} to {max(shares):.1f}% of the decisions" in conclusion(CENSUS)


def test_ranges_have_no_minus_between_numbers_and_no_negative_zero() -> None:
    assert repr(best_line(np.array([-0.0, -0.0]), np.array([3.0, 4.0])).low) == "0.0"
    text = printed(lambda console: console.print(slice_table(CENSUS.counts)))
    assert " to " in text
    assert "-0" not in text


def test_without_twins_it_says_that_there_is_nothing_to_compare_with() -> None:
    bare = tuple(
        msgspec.structs.replace(
            line, e2e={name: found for name, found in line.e2e.items() if not name.startswith("net")}
        )
        for line in CENSUS.lines
    )
    census = msgspec.structs.replace(CENSUS, lines=bare)
    text = printed(lambda console: show_census(console, census))
    assert "No decision nearby has a twin" in text
