"""One turn of the detector in a process of its own: microseconds of a look at random busy states, as one JSON line.

States have ids of their own each, a request and no traffic; every state is timed alone, so that the quantiles are over
states, those with findings to explain among them.
"""

from __future__ import annotations

import json
import random
import statistics
import timeit
from typing import Any

from scheduler.detection import detect
from scheduler.finding import Kind
from scheduler.state import ClusterState, Request

SIZES = (16, 256)
STATES = 100
REPEATS = 5
REQUEST = Request(id=0, arrival_s=0.0, prompt_tokens=6000)


def busy_state(instances: int, seed: int) -> ClusterState:
    """A busy cluster, the same for a seed."""
    rng = random.Random(seed)
    return ClusterState(
        ids=tuple(f"instance-{seed}-{index}" for index in range(instances)),
        running=tuple(rng.randrange(30) for _ in range(instances)),
        waiting=tuple(rng.randrange(4) for _ in range(instances)),
        queued_prefill_tokens=tuple(rng.randrange(20_000) for _ in range(instances)),
        hit_tokens=tuple(512 * rng.randrange(11) for _ in range(instances)),
    )


def measure(instances: int) -> dict[str, Any]:
    """Quantiles over states [us], and how many of them had which finding."""
    times, found = [], dict.fromkeys((kind.value for kind in Kind), 0)
    count = 200 if instances <= 32 else 50
    for seed in range(STATES):
        state = busy_state(instances, seed)
        for finding in detect(state, REQUEST).findings:
            found[finding.kind.value] += 1
        best = min(timeit.repeat(lambda state=state: detect(state, REQUEST), number=count, repeat=REPEATS))  # type: ignore[misc]
        times.append(best / count * 1e6)
    cuts = statistics.quantiles(times, n=100)
    return {"p50": cuts[49], "p99": cuts[98], "findings": {name: n for name, n in found.items() if n}}


def main() -> None:
    """Print ``{"detect_us": {"16": {"p50", "p99", "findings"}, "256": {...}}, "states"}``."""
    print(json.dumps({"detect_us": {str(size): measure(size) for size in SIZES}, "states": STATES}))


if __name__ == "__main__":
    main()
