"""The comparison of least harm with the product: its verdicts follow from its saved numbers, which repeat."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import least_harm as benchmark
from benchmarks.measure import RESULTS, ROOT

NOTE = ROOT / "docs" / "notes" / "2026-11-25-least-harm-or-product.md"
SWAPPED = {"win": "loss", "loss": "win", "tie": "tie"}

amounts = st.floats(1e-3, 1e3)
pairs = st.lists(st.tuples(amounts, amounts), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def saved() -> dict[str, Any]:
    """The result file."""
    found: dict[str, Any] = json.loads(Path(RESULTS / "least_harm.json").read_text(encoding="utf-8"))
    return found


def verdict(drawn: list[tuple[float, float]], more: bool) -> str:
    """Of pairs (rule, product)."""
    found: str = benchmark.compared([a for a, _ in drawn], [b for _, b in drawn], more)["verdict"]
    return found


@given(pairs, st.booleans())
def test_a_verdict_turns_round_with_the_direction(drawn: list[tuple[float, float]], more: bool) -> None:
    assert verdict(drawn, more) == SWAPPED[verdict(drawn, not more)]


@given(pairs, st.booleans(), st.integers(-8, 8))
def test_a_verdict_does_not_depend_on_the_unit(drawn: list[tuple[float, float]], more: bool, power: int) -> None:
    # Powers of two are exact, so that the ratios are the same to the digit.
    assert verdict([(a * 2.0**power, b * 2.0**power) for a, b in drawn], more) == verdict(drawn, more)


@given(pairs, st.booleans())
def test_a_win_is_a_win_with_every_seed_and_a_tie_is_within_the_spread_or_small(
    drawn: list[tuple[float, float]], more: bool
) -> None:
    ratios = [a / b for a, b in drawn]
    found = verdict(drawn, more)
    if found == "tie":
        assert min(ratios) <= 1 <= max(ratios) or abs(statistics.median(ratios) - 1) < benchmark.MATERIAL
    else:
        assert (min(ratios) >= 1) if (found == "win") == more else (max(ratios) <= 1)
        assert abs(statistics.median(ratios) - 1) >= benchmark.MATERIAL


@given(st.lists(amounts, min_size=1, max_size=8), st.booleans())
def test_a_rule_ties_with_itself(values: list[float], more: bool) -> None:
    assert benchmark.compared(values, values, more)["verdict"] == "tie"


def test_where_the_product_has_nothing_there_is_no_ratio_but_a_verdict() -> None:
    assert benchmark.compared([0.1, 0.2], [0.0, 0.0], more=True) == {"ratio": None, "verdict": "win"}
    assert benchmark.compared([0.0, 0.0], [0.0, 0.0], more=True) == {"ratio": None, "verdict": "tie"}


def test_every_source_load_and_level_is_there_with_every_seed(saved: dict[str, Any]) -> None:
    assert list(saved["cells"]) == [cell.name for cell in benchmark.cells()]
    for row in saved["cells"].values():
        for values in row["values"].values():
            assert {name: len(of_seeds) for name, of_seeds in values.items()} == dict.fromkeys(benchmark.METRICS, 5)


def test_the_verdict_column_follows_from_the_saved_numbers(saved: dict[str, Any]) -> None:
    for row in saved["cells"].values():
        assert row["verdicts"] == benchmark.verdicts_of(row["values"])


def test_the_counts_follow_from_the_verdicts(saved: dict[str, Any]) -> None:
    assert saved["counts"] == benchmark.counts_of({name: row["verdicts"] for name, row in saved["cells"].items()})
    assert saved["offset_against_plain"] == benchmark.offset_of(saved["cells"])


def test_the_rates_follow_from_the_limits_of_the_product(saved: dict[str, Any]) -> None:
    for cell in benchmark.cells():
        limit = statistics.median(saved["capacity"][cell.source][benchmark.PRODUCT])
        assert saved["cells"][cell.name]["rate"] == benchmark.rounded(benchmark.LOADS[cell.load] * limit, 4)


def test_least_harm_takes_the_least_harm_and_the_product_more_where_there_is_a_queue(saved: dict[str, Any]) -> None:
    for name, row in saved["cells"].items():
        assert row["explained"]["marginal_delay"]["harm_over_least"] == 1
        assert row["explained"]["lmetric"]["harm_over_least"] >= (1.01 if " over " in name else 1)


@pytest.mark.parametrize(
    "cell", [benchmark.Cell("api", "half", "proxy"), benchmark.Cell("thinking_burst", "near", "per_step")]
)
def test_the_saved_numbers_are_those_of_the_simulator(saved: dict[str, Any], cell: benchmark.Cell) -> None:
    row = saved["cells"][cell.name]
    again = benchmark.measured(cell, row["rate"], seeds=(0,))
    assert again == {rule: {name: [v[0]] for name, v in values.items()} for rule, values in row["values"].items()}


def test_the_saved_explanation_is_that_of_the_simulator(saved: dict[str, Any]) -> None:
    cell = benchmark.Cell("api", "half", "proxy")
    row = saved["cells"][cell.name]
    assert benchmark.explained(cell, row["rate"], "lmetric") == row["explained"]["lmetric"]


def test_the_note_shows_the_saved_counts(saved: dict[str, Any]) -> None:
    text = NOTE.read_text(encoding="utf-8")
    for line in benchmark.count_lines(saved["counts"]):
        assert line in text
