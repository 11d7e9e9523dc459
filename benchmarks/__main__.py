"""``python -m benchmarks [NAME ...]``: run all benchmarks, or the named ones."""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmarks import (
    census,
    cost_model_fidelity,
    decision,
    detector_quality,
    divergence,
    fault_hour,
    herding,
    imbalance_left,
    index_memory,
    index_peer,
    least_harm,
    marginal_delay,
    mitigation,
    probe_errors,
    readers,
    search,
    simulator,
    simulator_vidur,
)

BENCHMARKS: dict[str, Callable[[], None]] = {
    "simulator": simulator.run,
    "simulator_vidur": simulator_vidur.run,
    "decision": decision.run,
    "readers": readers.run,
    "divergence": divergence.run,
    "search": search.run,
    "marginal_delay": marginal_delay.run,
    "herding": herding.run,
    "least_harm": least_harm.run,
    "mitigation": mitigation.run,
    "imbalance_left": imbalance_left.run,
    "probe_errors": probe_errors.run,
    "detector_quality": detector_quality.run,
    "index_memory": index_memory.run,
    "index_peer": index_peer.run,
    "census": census.run,
    "fault_hour": fault_hour.run,
    "cost_model_fidelity": cost_model_fidelity.run,
}

for name in sys.argv[1:] or BENCHMARKS:
    if name not in BENCHMARKS:
        sys.exit(f"benchmarks: {name!r} is not one of {', '.join(BENCHMARKS)}")
    BENCHMARKS[name]()
