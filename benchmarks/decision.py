"""One decision of the router against the decision of ai-dynamo-runtime, in turns, each in a process of its own.

``python -m benchmarks.decision --json`` prints the result as one JSON object; without it, a table. Dynamo is timed in
``SelectionService.select``: one decision with ready hashes over an index fed by KV events, nothing booked. Times of the
router are of ``Router.route`` with everything in it: lookup, decision, detection, mitigation, booking, log; ``miss_us``
is the same for a prompt that is cached nowhere, ``lookup_miss_us`` the lookup alone. ``with_step_times``: the router
knows engine times, and so asks the findings that need them.
"""

from __future__ import annotations

import datetime as dt
import json
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.measure import ROOT, in_process, machine, peer_environment, save, shown, spread

ROUNDS = 5
SIZES = (16, 64)
#: First of the ports on the loopback interface that the peer's feed binds; one a worker, another range each round.
FIRST_PORT = 23_000


def quantiles(times_us: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile [us]."""
    cuts = statistics.quantiles(times_us, n=100)
    return {"p50": cuts[49], "p99": cuts[98]}


def measure(progress: Any = None) -> dict[str, Any]:
    """All turns; times of all rounds pooled, the ratio by round."""
    peer = peer_environment("dynamo")
    hits: dict[int, list[float]] = {size: [] for size in SIZES}
    misses: dict[int, list[float]] = {size: [] for size in SIZES}
    selects: dict[int, list[float]] = {size: [] for size in SIZES}
    ratios: dict[int, list[float]] = {size: [] for size in SIZES}
    timed: dict[int, list[float]] = {size: [] for size in SIZES}
    lookups: list[float] = []
    unsafe: list[float] = []
    for turn in range(ROUNDS):
        for size in SIZES:
            if progress is not None:
                progress(f"round {turn + 1} of {ROUNDS}, {size} instances")
            ours = in_process(sys.executable, "benchmarks/turn_route.py", str(size))
            with_times = in_process(sys.executable, "benchmarks/turn_route.py", str(size), "timed")
            timed[size] += with_times["hit_us"]
            lookups.append(ours["lookup_miss_us"])
            unsafe.append(ours["unsafe"])
            port = FIRST_PORT + 2000 * turn + 100 * SIZES.index(size)
            theirs = in_process(peer, "benchmarks/turn_dynamo_select.py", str(size), str(port))
            assert theirs["hits"] == theirs["asked"], "the peer's index was not fed"
            hits[size] += ours["hit_us"]
            misses[size] += ours["miss_us"]
            selects[size] += theirs["select_us"]
            ratios[size].append(statistics.median(theirs["select_us"]) / statistics.median(ours["hit_us"]))
    detect = in_process(sys.executable, "benchmarks/turn_detect.py")["detect_us"]
    memory = json.loads((ROOT / "benchmarks" / "results" / "index_memory.json").read_text())
    return {
        "route_us": {str(size): quantiles(hits[size]) for size in SIZES},
        "miss_us": {str(size): quantiles(misses[size]) for size in SIZES},
        "lookup_miss_us": spread(lookups),
        "route_with_step_times_us": {str(size): quantiles(timed[size]) for size in SIZES},
        "unsafe": max(unsafe),
        "detect_us": {size: {"p50": row["p50"], "p99": row["p99"]} for size, row in detect.items()},
        "dynamo_select_us": {str(size): quantiles(selects[size]) for size in SIZES},
        "ratio": statistics.median(ratios[16]),
        "ratios": {str(size): spread(ratios[size]) for size in SIZES},
        "index_memory": memory,
        "rounds": ROUNDS,
        "machine": machine(),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "command": "python -m benchmarks.decision --json",
    }


def run() -> None:
    """Measure, print a table, save."""
    result = measure(print)
    for name in ("route_us", "route_with_step_times_us", "miss_us", "dynamo_select_us", "detect_us"):
        for size, row in result[name].items():
            print(f"{name:26} {size:>4} instances   p50 {row['p50']:7.1f}   p99 {row['p99']:7.1f}")
    for size, row in result["ratios"].items():
        print(f"Dynamo over ours, {size} instances: {shown(row, 1)}x")
    print(f"saved {save('decision', result).name}")


if __name__ == "__main__":
    if "--json" in sys.argv[1:]:
        found = measure()
        save("decision", found)
        print(json.dumps(found))
    else:
        run()
