"""What detector and mitigation did, on the terminal and in the report; and that runs without one are watched, too."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import cache

import msgspec
import pytest
from rich.console import Console

from argprod.options import ClusterOptions, RouterOptions, read_plan
from argprod.replay_command import tell_source
from argprod.report import ReportInput, report_input
from argprod.report.matrix import matrix_figure
from argprod.report.page import render
from argprod.report.tables import run_facts
from argprod.report.watch import watch_figures
from argprod.watch_table import watch_rows, watch_table
from replay.experiment import disagreement_of, run_all
from replay.metrics import Watch
from replay.sim.noticed import Noticed
from replay.sim.ticks import TICKS_PER_S
from replay.sources import open_source

SOURCE = "workload:hot_spot_ramp:requests=150,share=0.8"


@cache
def experiment(mitigations: tuple[str, ...], watched: bool = False) -> ReportInput:
    router = RouterOptions(mitigations)
    plan = read_plan(("lmetric",), 1, ClusterOptions(instances=4), watched=watched, router=router)
    requests, info = open_source(SOURCE, seed=0)
    listed = list(requests)
    runs = list(run_all(lambda _: listed, plan))
    found = disagreement_of(runs, plan) if any(run.disagreement for run in runs) else None
    return report_input(runs, plan, info, listed, {}, disagreement=found)


def test_beside_a_mitigation_the_runs_without_are_watched_too() -> None:
    given = experiment(("none", "auto"))
    assert given.policies == ["lmetric", "lmetric +auto"]
    for run in given.runs:
        assert run.summary.watch is not None
        assert run.summary.watch.decisions == given.request_count
    alone = experiment(("none",)).runs[0].summary
    assert alone.watch is None
    assert alone.ttft_s == given.runs[0].summary.ttft_s  # to watch changes nothing


def test_shares_of_all_decisions_stand_in_a_column_of_their_own() -> None:
    watch = Watch(
        decisions=10,
        unsafe=5,
        findings={"hot_spot": {"warning": 4, "critical": 1}},
        mitigated={"replicate": 2},
        price_tokens={"replicate": 1234},
    )
    assert watch_rows([watch]) == [
        ["any unsafe", "50.0%", "", "", "", ""],
        ["hot_spot", "", "-", "40.0%", "10.0%", ""],
        ["mitigated: replicate", "20.0%", "", "", "", "1,234"],
    ]


def test_the_table_fits_80_columns_and_cuts_nothing() -> None:
    text = io.StringIO()
    Console(width=80, file=text).print(watch_table(experiment(("none", "auto")).runs))
    shown = text.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    for word in ("decisions", "critical", "any unsafe", "lmetric"):
        assert word in shown


def test_the_report_names_mitigations() -> None:
    given = experiment(("none", "auto"))
    first, second = run_facts(given)["policies"]
    assert first.startswith("lmetric (")
    assert second.startswith("lmetric +auto (")
    assert "<th>finding or mitigation</th><th" in render(given)


def test_equal_lines_of_a_figure_differ_in_their_dashes() -> None:
    given = experiment(("none", "auto"))
    noticed = Noticed(
        decisions=9, unsafe=9, events=[(TICKS_PER_S, ("hot_spot", "silent_band", "saturated"), "", 0)] * 9
    )
    runs = tuple(replace(run, record=replace(run.record, noticed=noticed)) for run in given.runs)
    for figure in watch_figures(replace(given, runs=runs)):
        lines = [line for line in figure.renderers if hasattr(line.glyph, "line_dash")]
        assert len({str(line.glyph.line_dash) for line in lines}) == len(lines) == 3
        assert lines[0].glyph.line_dash == []  # the lowest is solid, those above let it show through


def test_one_rule_alone_has_no_matrix_of_disagreement() -> None:
    given = experiment(("none",), watched=True)
    assert given.disagreement is not None
    assert matrix_figure(given.disagreement) is None
    assert "Only one rule ran" in render(given)


@pytest.mark.parametrize(
    ("mitigations", "said"),
    [
        (("none",), "runs: 1 (policies: 1, seeds: 1)"),
        (("none", "auto"), "runs: 2 (policies: 1, mitigations: 2, seeds: 1)"),
    ],
)
def test_runs_are_counted_with_their_mitigations(mitigations: tuple[str, ...], said: str) -> None:
    given, text = experiment(mitigations), io.StringIO()
    tell_source(
        Console(width=200, file=text), given.source, [run.record.sims[0].request for run in given.runs], given.plan
    )
    assert said in text.getvalue()


def test_no_number_is_cut_in_a_terminal_of_eighty_columns() -> None:
    found = experiment(("none", "auto"))
    watch = Watch(
        decisions=1000, unsafe=5, findings={"cold_instance_starvation": {"info": 400}}, mitigated={"replicate": 2},
        price_tokens={"replicate": 65_472},
    )  # fmt: skip
    runs = [
        replace(run, policy=f"llm_d_default +{name}", summary=msgspec.structs.replace(run.summary, watch=watch))
        for run, name in zip(found.runs, ("none", "auto"), strict=True)
    ]
    table = watch_table(runs)
    assert table is not None
    console = Console(file=io.StringIO(), width=80)
    console.print(table)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("65,472") == 2
