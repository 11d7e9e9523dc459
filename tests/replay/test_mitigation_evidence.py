"""The saved evidence on mitigation: what it promises follows from the numbers that were saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import mitigation, probe_errors
from scheduler.mitigation import PROBE_ERRORS

SAVED: dict[str, Any] = json.loads(
    (Path(mitigation.__file__).parent / "results" / "mitigation.json").read_text(encoding="utf-8")
)
HOT, CALM = SAVED["hot"], SAVED["calm"]


def test_every_workload_that_is_promised_is_there() -> None:
    assert set(HOT) == set(mitigation.hot_sources())
    assert set(mitigation.CALM) <= set(CALM)


@pytest.mark.parametrize("name", sorted(HOT))
def test_the_verdict_follows_from_the_saved_measures(name: str) -> None:
    assert mitigation.hot_verdict(HOT[name]["measures"]) == HOT[name]["verdict"]


def test_bare_product_fails_on_nearly_all_of_them() -> None:
    counting = [name for name in HOT if HOT[name]["verdict"]["bare imbalance / jsq"] >= mitigation.COUNTS_FROM]
    assert len(counting) >= len(HOT) - 1


def missed(verdict: dict[str, float], name: str) -> set[str]:
    """The measures in which the aim is missed."""
    limits = {
        "mean TTFT / bare": 1.03,
        "mean TPOT / best": 1.03,
        "p99 TPOT / jsq": 1.1,
        "imbalance p50 / bare": 0.6,
    }
    if "0.7" in name:
        limits |= {"imbalance p50 / jsq": 1.25, "imbalance p99 / jsq": 2.5}
    return {measure for measure, limit in limits.items() if verdict[measure] > limit}


@pytest.mark.parametrize("name", sorted(HOT))
def test_a_hot_spot_is_healed_at_the_promised_price(name: str) -> None:
    verdict = HOT[name]["verdict"]
    if verdict["bare imbalance / jsq"] < mitigation.COUNTS_FROM:
        return  # bare product hardly fails there, so it says nothing
    assert missed(verdict, name) == set()


@pytest.mark.parametrize("name", sorted(CALM))
def test_calm_traffic_does_not_feel_it(name: str) -> None:
    verdict = CALM[name]["verdict"]
    for measure in ("ttft_s_mean", "tpot_s_mean"):
        assert abs(verdict[f"{measure} change"]) < max(0.01, verdict[f"{measure} spread"])
    assert CALM[name]["watch"]["unsafe_fraction"] < 0.01


TRIED: dict[str, Any] = json.loads(
    (Path(mitigation.__file__).parent / "results" / "probe_errors.json").read_text(encoding="utf-8")
)["rows"]


def test_what_was_tried_for_probes_is_what_is_shipped_and_reported() -> None:
    shipped = f"{PROBE_ERRORS:g}"
    reported, tried = HOT[probe_errors.WORKLOAD]["verdict"], TRIED["seeds 20 to 24"][shipped]
    assert {name: tried[name] for name in probe_errors.SHOWN} == {
        name: round(reported[name], 3) for name in probe_errors.SHOWN
    }


@pytest.mark.parametrize("seeds", sorted(TRIED))
def test_probes_cost_time_to_first_token_and_buy_time_per_token(seeds: str) -> None:
    """Between the ends it is nearly so, but not at each step: a probe changes what comes after it."""
    always, shipped, never = (TRIED[seeds][name] for name in ("0", f"{PROBE_ERRORS:g}", "inf"))
    assert always["probes a seed"] > shipped["probes a seed"] > never["probes a seed"] == 0
    assert always["mean TTFT / bare"] > shipped["mean TTFT / bare"] > never["mean TTFT / bare"]
    assert always["mean TPOT / best"] < shipped["mean TPOT / best"] < never["mean TPOT / best"]
