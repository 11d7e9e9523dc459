"""The saved mutation score: enough faults are noticed, and of each that is not it is said why."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

FOLDER = Path(__file__).parent.parent.parent / "benchmarks"
SAVED: dict[str, Any] = json.loads((FOLDER / "results" / "mutation.json").read_text(encoding="utf-8"))
EXPLAINED: dict[str, Any] = tomllib.loads((FOLDER / "mutation_survivors.toml").read_text(encoding="utf-8"))
#: What a survivor can be: nobody can notice it; it can be noticed, and a test that does has come since; or it should be
#: noticed and still is not.
VERDICTS = {"equivalent", "killed since", "open"}


def test_nine_in_ten_faults_are_noticed() -> None:
    assert SAVED["score"] >= 0.9


def test_score_and_interval_follow_from_the_counts() -> None:
    counts, sample = SAVED["counts"], SAVED["sample"]
    killed = counts.get("killed", 0) + counts.get("timeout", 0)
    assert sum(counts.values()) == sample
    assert SAVED["score"] == killed / sample
    assert sample - killed == len(SAVED["survivors"])
    interval = binomtest(killed, sample).proportion_ci(confidence_level=0.95, method="exact")
    assert SAVED["interval_95"] == [interval.low, interval.high]


def test_every_survivor_is_explained() -> None:
    names = [survivor["name"] for survivor in SAVED["survivors"]]
    assert sorted(EXPLAINED) == sorted(names)
    for name in names:
        assert EXPLAINED[name]["verdict"] in VERDICTS
        assert len(EXPLAINED[name]["why"]) > 20
