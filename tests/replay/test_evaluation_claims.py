"""The claims of the evaluation say what its committed rows say; README and figures are made from the same."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import pictures, readme
from benchmarks.evaluation import (
    facts,
    figures,
    headline,
    measured,
    situations,
    standing,
    sweeps,
    tables,
    tuning,
)  # fmt: skip
from benchmarks.evaluation.comparing import METRICS, Compared
from benchmarks.evaluation.questions import (
    FILTERS,
    MITIGATIONS,
    PRODUCT,
    QUESTIONS,
    SEEING,
    SESSIONS,
    VIEWS,
    WRONG,
    rivals,
)  # fmt: skip
from benchmarks.evaluation.scene import SEEDS, TRACE, WORKLOADS
from benchmarks.evaluation.words import between
from benchmarks.mitigation import hot_sources
from benchmarks.tables import result
from theory.registry import claims

RATIOS = st.lists(st.floats(0.1, 10), min_size=1, max_size=8)


@pytest.mark.parametrize("name", facts.STATEMENTS)
def test_a_claim_of_the_evaluation_says_what_the_rows_say(name: str) -> None:
    assert claims()[name].statement == facts.STATEMENTS[name]()


def test_every_claim_of_the_evaluation_is_held_against_the_rows() -> None:
    rows = "benchmarks/results/evaluation/rows.jsonl.gz"
    assert {name for name, claim in claims().items() if rows in claim.measurement} == set(facts.STATEMENTS)


def test_all_runs_of_all_questions_are_committed() -> None:
    cases = {case for ask in QUESTIONS.values() for case in ask()}
    assert len(tables.rows().get(cases)) == len(cases) == len(tables.rows())
    assert f"({len(cases):,} runs)" in tables.origin()


def test_every_rule_was_given_the_same_requests_and_finished_all_of_them() -> None:
    finished: dict[tuple[str, float, int], set[int]] = {}
    for row in tables.rows().get({case for ask in QUESTIONS.values() for case in ask()}):
        assert row.lost == 0, row.case
        finished.setdefault((row.case.workload, row.case.rate, row.case.seed), set()).add(row.finished)
        if row.case.workload != TRACE:
            assert row.finished == row.case.requests
    assert all(len(counts) == 1 for counts in finished.values())


def test_the_hot_workloads_are_hot() -> None:
    assert {source: situations.imbalance_ratio(source) >= 2.5 for source in hot_sources()} == dict.fromkeys(
        hot_sources(), True
    )


def test_what_was_tuned_was_tuned_at_the_rates_that_are_tested() -> None:
    for workload, load, rule in tuning.cells():
        assert tuning.best_of(workload, load, rule).partition(":")[0] == rule


@given(RATIOS)
def test_the_span_of_changes_holds_all_of_them(ratios: list[float]) -> None:
    low, high = between(Compared(ratio, None, None, 1, "tie") for ratio in ratios).split(" to ")
    for ratio in ratios:
        assert int(low[:-1]) <= round(100 * (ratio - 1)) <= int(high[:-1])


@pytest.mark.parametrize("workload", WORKLOADS)
def test_the_best_of_a_sweep_is_no_worse_than_any_of_it(workload: str) -> None:
    for load in sweeps.SWEPT_LOADS:
        best = sweeps.best_setting(workload, load)
        for form in ("hit_ratio", "p_token"):
            ratios = [ratio for _, ratio in sweeps.curve(workload, load, form)]
            least = sweeps.score(tables.of(workload, load, best, SEEDS))
            product = sweeps.score(tables.of(workload, load, PRODUCT, SEEDS))
            assert min(ratios) * product >= least * (1 - 1e-12)
        assert sweeps.regret(workload, load, best, best).verdict == "tie"


def test_one_setting_for_everything_is_ranked_by_its_worst_cell() -> None:
    found = sweeps.one_weight()
    worst = [ratio for _, ratio, _ in found]
    assert worst == sorted(worst)
    text, ratio, cell = found[0]
    best = sweeps.score(tables.of(*cell, sweeps.best_setting(*cell), SEEDS))
    assert math.isclose(sweeps.score(tables.of(*cell, text, SEEDS)) / best, ratio)


def test_tables_have_a_row_for_everything_that_was_run() -> None:
    def count(table: str) -> int:
        return sum(line.startswith("|") for line in table.splitlines()) - 2

    assert count(tables.verdict("each")) == count(tables.verdict("once")) == 15
    assert count(tables.remedies()) == len(list(tables.losses()))
    assert count(tables.remedies_everywhere()) == 2 * (1 + len(tables.REMEDIES))
    assert count(headline.headline()) == len(headline.RIVALS) * len(WORKLOADS)
    assert count(headline.loads()) == 2 * len(WORKLOADS)
    assert count(headline.closed_loop()) == 3 * 2 * len(SESSIONS)
    assert count(standing.summary()) == len(rivals())
    assert count(standing.scene()) == len(WORKLOADS)
    assert count(sweeps.weights()) == 2 * len(WORKLOADS)
    assert count(sweeps.over_time()) == 2 * len(WORKLOADS)
    assert count(sweeps.thresholds()) == len(FILTERS) * len(WORKLOADS)
    assert count(sweeps.cost_models()) == len(WRONG) - 1 + 2
    assert count(situations.told_more()) == 1 + 2 * (len(SEEING) + 1)
    assert count(sweeps.indicators("near")) == 2 * 6
    hot = situations.hot_spots("ttft_mean")
    assert count(hot) == len(MITIGATIONS) + 4
    assert all(name in hot for name in hot_sources())
    assert all(view in situations.partial_state() for view in VIEWS)
    for load in ("half", "near", "over"):
        assert count(standing.everyone("chat", load)) >= 50


def test_measured_and_simulated_numbers_are_in_tables_of_their_own() -> None:
    engines = measured.on_engines()
    assert "imulated" not in engines
    assert "[ms]" in engines
    for rule, row in result("engine_fidelity")["rules"].items():
        assert f"`{rule}` | 4 | {1000 * row['ttft_s']['measured']['median']:.3g} (" in engines


def test_the_readme_shows_the_table_that_the_rows_give() -> None:
    text = readme.README.read_text(encoding="utf-8")
    assert readme.replaced(text) == text
    with pytest.raises(ValueError, match="lacks the marks"):
        readme.replaced("no marks")


def test_the_picture_is_the_one_that_is_committed_whatever_style_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    style: dict[Any, Any] = {"axes.grid": True, "axes.axisbelow": True, "font.size": 11, "figure.dpi": 160}
    for name, value in style.items():
        monkeypatch.setitem(mpl.rcParams, name, value)
    pictures.write(tmp_path / "drawn.svg")
    assert (tmp_path / "drawn.svg").read_bytes() == pictures.PATH.read_bytes()


def test_figures_show_every_workload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mpl.rcParams, "backend", "agg")
    titles = [axis.get_title() for axis in figures.everyone().axes[: len(WORKLOADS)]]
    assert titles == [tables.NAMES[workload] for workload in WORKLOADS]
    panels = figures.weight_curves().axes
    assert {panel.get_title().partition(",")[0] for panel in panels} == {"hit ratio", "p token"}
    assert all(len(panel.lines) == len(WORKLOADS) + 1 for panel in panels)
    assert len(figures.census().axes) == 2


def test_the_metric_of_tuning_is_the_mean_of_both() -> None:
    [row] = tables.of("chat", "half", PRODUCT, [0])
    value = METRICS["ttft_tpot"].value(row)
    assert value is not None
    ttft, tpot = (METRICS[name].value(row) for name in ("ttft_mean", "tpot_mean"))
    assert ttft is not None
    assert tpot is not None
    assert value**2 == pytest.approx(ttft * tpot)
