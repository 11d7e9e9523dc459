"""A pytest plugin for mutants: the tests most likely to notice a fault come first, for the first failure ends the run.

Tests of the file that bears the name of the mutated module come first, then the others; in both the quickest first.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Sort the tests of a run that judges a mutant; others stay as they are."""
    mutant = os.environ.get("MUTANT_UNDER_TEST", "")
    module, _, _ = mutant.rpartition(".")
    statistics = Path("mutmut-stats.json")
    if not module or not statistics.exists():
        return
    seconds = json.loads(statistics.read_text(encoding="utf-8"))["duration_by_test"]
    stem = module.rpartition(".")[2]

    def rank(item: Any) -> tuple[bool, float]:
        return stem not in Path(item.nodeid.partition("::")[0]).stem, seconds.get(item.nodeid, 0.0)

    items.sort(key=rank)
