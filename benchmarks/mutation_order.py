"""A pytest plugin for mutants: the tests most likely to notice a fault come first, and nothing is remembered.

The first failure ends a run, so tests of the file that bears the name of the mutated module come first, then the
others; in both the quickest first. And before each test what the project has cached is forgotten: else only the first
test that computes something would seem to reach the code that computes it, and a mutant that starts from a process in
which tests have run would find its answers there.
"""

from __future__ import annotations

import json
import os
import sys
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


def pytest_runtest_setup() -> None:
    """Forget what is cached."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "scheduler":
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
