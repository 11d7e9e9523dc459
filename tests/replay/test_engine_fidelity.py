"""The saved comparison of the simulator with a real engine says what the claim says."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from theory.registry import claims

FOLDER = Path(__file__).parents[2] / "benchmarks" / "results"
RESULT = json.loads((FOLDER / "engine_fidelity.json").read_bytes())
AGAIN = json.loads((FOLDER / "engine_fidelity_again.json").read_bytes())


METRICS = ("ttft_s", "tpot_s", "e2e_s")
RULES = RESULT["setting"]["rules"]


@pytest.mark.parametrize("metric", METRICS)
def test_means_are_within_15_percent_on_a_slice_that_was_not_fitted(metric: str) -> None:
    assert RESULT["setting"]["seeds"]["fitted"] != RESULT["setting"]["seeds"]["held out"]
    errors = []
    for rule in RESULT["setting"]["rules"]:
        row: dict[str, Any] = RESULT["rules"][rule][metric]
        errors.append(row["simulated"]["median"] / row["measured"]["median"] - 1)
        assert row["relative_error"] == pytest.approx(errors[-1])
    assert RESULT["largest_error"][metric] == pytest.approx(max(map(abs, errors)))
    assert RESULT["largest_error"][metric] <= 0.15


def test_a_day_later_one_rule_was_further_off_and_the_claim_says_which() -> None:
    assert AGAIN["setting"] == RESULT["setting"] | {"shape": RESULT["setting"]["shape"] | {"threads": None}}
    statement = claims()["simulator_error_on_an_engine"].statement
    far = [math.ceil(100 * abs(AGAIN["rules"]["random"][metric]["relative_error"])) for metric in METRICS]
    assert f"{far[0]}%, {far[1]}% and {far[2]}% off for random" in statement
    near = max(abs(AGAIN["rules"][rule][metric]["relative_error"]) for rule in RULES[:3] for metric in METRICS)
    assert f"within {math.ceil(100 * near)}% for three of the rules" in statement
    note = claims()["simulator_error_on_an_engine"].note
    assert f"and {-100 * AGAIN['held_out_steps']['kinds']['mixed']['bias']:.0f}% a day later" in note
    assert f"and {100 * AGAIN['client_lag_share_max']:.0f}% a day later" in note


@pytest.mark.parametrize("result", [RESULT, AGAIN], ids=["first", "again"])
@pytest.mark.parametrize("metric", METRICS)
def test_rules_are_in_the_measured_order_but_where_the_measured_difference_is_noise(
    metric: str, result: dict[str, Any]
) -> None:
    pairs = result["rankings"][metric]["pairs"]
    assert len(pairs) == 6
    for pair in pairs:
        low, high = pair["measured_gap_interval_s"]
        assert pair["measured_is_noise"] == (low <= 0 <= high)
        assert pair["same_order"] or pair["measured_is_noise"]


def test_some_differences_were_no_noise_so_that_agreement_says_something() -> None:
    sure = [pair for pair in RESULT["rankings"]["ttft_s"]["pairs"] if not pair["measured_is_noise"]]
    assert sure
    assert all(pair["same_order"] for pair in sure)


def test_the_claim_quotes_the_saved_numbers() -> None:
    """Also what speaks against it: the client's own lag, and how far mixed steps are off."""
    claim = claims()["simulator_error_on_an_engine"]
    quoted = [f"{math.ceil(100 * RESULT['largest_error'][metric])}%" for metric in METRICS]
    assert f"within {quoted[0]} of two real engines" in claim.statement
    assert f"{quoted[1]} in mean TPOT and {quoted[2]} in mean end-to-end time" in claim.statement
    lag = 100 * RESULT["client_lag_share_max"]
    assert f"lag was up to {lag:.0f}% of the median TTFT" in claim.note
    mixed = -100 * RESULT["held_out_steps"]["kinds"]["mixed"]["bias"]
    assert f"Mixed steps come out {mixed:.0f}% too short" in claim.note


def test_the_router_predicted_the_caches_of_every_run() -> None:
    assert RESULT["prediction_share_min"] >= 0.99
