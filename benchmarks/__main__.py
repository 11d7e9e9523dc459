"""``python -m benchmarks [NAME ...]``: run all benchmarks, or the named ones."""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmarks import decision, divergence, herding, marginal_delay, search, simulator

BENCHMARKS: dict[str, Callable[[], None]] = {
    "simulator": simulator.run,
    "decision": decision.run,
    "divergence": divergence.run,
    "search": search.run,
    "marginal_delay": marginal_delay.run,
    "herding": herding.run,
}

for name in sys.argv[1:] or BENCHMARKS:
    if name not in BENCHMARKS:
        sys.exit(f"benchmarks: {name!r} is not one of {', '.join(BENCHMARKS)}")
    BENCHMARKS[name]()
