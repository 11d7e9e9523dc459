"""The saved comparison of the simulator with a real engine says what the claim says."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

RESULT = json.loads((Path(__file__).parents[2] / "benchmarks" / "results" / "engine_fidelity.json").read_bytes())


@pytest.mark.parametrize("metric", ["ttft_s", "tpot_s", "e2e_s"])
def test_means_are_within_15_percent_on_a_slice_that_was_not_fitted(metric: str) -> None:
    assert RESULT["setting"]["seeds"]["fitted"] != RESULT["setting"]["seeds"]["held out"]
    errors = []
    for rule in RESULT["setting"]["rules"]:
        row: dict[str, Any] = RESULT["rules"][rule][metric]
        errors.append(row["simulated"]["median"] / row["measured"]["median"] - 1)
        assert row["relative_error"] == pytest.approx(errors[-1])
    assert RESULT["largest_error"][metric] == pytest.approx(max(map(abs, errors)))
    assert RESULT["largest_error"][metric] <= 0.15


@pytest.mark.parametrize("metric", ["ttft_s", "tpot_s", "e2e_s"])
def test_rules_are_in_the_measured_order_but_where_the_measured_difference_is_noise(metric: str) -> None:
    pairs = RESULT["rankings"][metric]["pairs"]
    assert len(pairs) == 6
    for pair in pairs:
        low, high = pair["measured_gap_interval_s"]
        assert pair["measured_is_noise"] == (low <= 0 <= high)
        assert pair["same_order"] or pair["measured_is_noise"]


def test_some_differences_were_no_noise_so_that_agreement_says_something() -> None:
    sure = [pair for pair in RESULT["rankings"]["ttft_s"]["pairs"] if not pair["measured_is_noise"]]
    assert sure
    assert all(pair["same_order"] for pair in sure)


def test_the_client_kept_up_and_the_router_predicted_the_caches() -> None:
    assert RESULT["prediction_share_min"] >= 0.95
    assert 0 < RESULT["client_lag_share_max"] < 1
    assert statistics.fmean([RESULT["held_out_steps"]["median"]]) < 0.5
