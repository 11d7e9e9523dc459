"""One turn of argprod's simulator in a process of its own: read, prepare, simulate; prints one JSON line."""

from __future__ import annotations

import json
import resource
import sys
import time

from replay.metrics import latencies
from replay.sim.cluster import roofline_cluster
from replay.sim.parts import PLAIN, QUICK, prepare
from replay.sim.router_decider import Routing
from replay.sim.run import simulate
from replay.sources import open_source
from scheduler.policies.catalogue import policy

#: The engine that takes one step at a time, as a fourth argument in place of a mitigation.
STEP_BY_STEP = "step_by_step"


def main(source: str, rule: str, instances: int, how: str | None = None) -> None:
    """Time the three stages; with a mitigation the shipped router decides, with all that it has."""
    started = time.perf_counter()
    requests = list(open_source(source)[0])
    read = time.perf_counter()
    prepared = prepare(requests, PLAIN if how == STEP_BY_STEP else QUICK)
    ready = time.perf_counter()
    routing = None if how in {None, STEP_BY_STEP} else Routing(how)
    record = simulate(prepared, policy(rule), roofline_cluster(instances), closed_loop=True, routing=routing)
    done = time.perf_counter()
    found = latencies(record.sims)
    result = {
        "requests": len(requests),
        "read_s": read - started,
        "prepare_s": ready - read,
        "simulate_s": done - ready,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "mean_ttft_s": float(found.ttft.mean()),
        "mean_e2e_s": float(found.e2e.mean()),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:5])
