"""An hour of conversations in which events get lost, doubled and overtaken, instances crash and a router restarts.

Every request must be accounted for and every counter be back at zero in the end; each run has one without faults beside
it. At 3.4 requests a second an hour has 12,240. A crash takes an instance away for a minute, with its requests and its
cache; a restart lets a router go on from its snapshot. An end that was lost is given up after ten minutes.
"""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.measure import machine, save
from replay.metrics import summarise
from replay.sim.channel import Faults
from replay.sim.cluster import Cluster, roofline_cluster
from replay.sim.incidents import Crash, Incident, Restart
from replay.sim.parts import Prepared, prepare
from replay.sim.record import RunRecord
from replay.sim.router_decider import Routing
from replay.sim.run import simulate
from replay.sim.ticks import to_ticks
from replay.sources import open_source
from scheduler.accounting import Level
from scheduler.policies.catalogue import policy
from scheduler.router_config import RouterConfig
from scheduler.state import End

HOUR_S = 3600.0
RATE_PER_S = 3.4
INSTANCES = 16
FAULTS = Faults(lost=0.01, duplicated=0.01, reordered=0.02, late_s=5.0)
CRASHES, RESTARTS = 6, 4
DOWN_S = 60.0
LOST_AFTER_S = 600.0
SYNC_S = 0.5
#: What a crash leaves behind: its own requests, and those that follow a reply that never came.
REASONS = ("its instance crashed", "request ")
COUNTERS = ("running", "waiting", "queued_prefill_tokens", "context_tokens")


def requests(seconds: float = HOUR_S, seed: int = 0) -> Prepared:
    """So much traffic of ``workload:chat`` at its default rate."""
    return prepare(list(open_source(f"workload:chat:requests={round(seconds * RATE_PER_S)}", seed=seed)[0]))


def incidents(seconds: float, instances: int, routers: int) -> tuple[Incident, ...]:
    """Crashes and restarts, spread over the time; one crash is followed by another of the same instance."""
    every_s = seconds / (CRASHES + 2)
    down_s = min(DOWN_S, every_s / 2)
    crashes = [Crash(every_s * (n + 1), 5 * (n // 2) % instances, down_s) for n in range(CRASHES)]
    restarts = [Restart(seconds * (n + 1.5) / (RESTARTS + 2), n % routers) for n in range(RESTARTS)]
    return (*crashes, *restarts)


class Watch:
    """Looks at every decision: no counter is below zero, and nobody is sent to an instance that is down.

    Args:
        incidents: of the run.

    Attributes:
        decisions: how many were looked at.
    """

    def __init__(self, incidents: Sequence[Incident]) -> None:
        crashes = [each for each in incidents if isinstance(each, Crash)]
        self._down = [(to_ticks(each.at_s), to_ticks(each.at_s + each.down_s), each.instance) for each in crashes]
        self.decisions = 0

    def __call__(self, _sim: Any, state: Any, chosen: int, at: int) -> None:
        self.decisions += 1
        for name in COUNTERS:
            assert min(getattr(state, name)) >= 0, f"{name} below zero: {getattr(state, name)}"
        for start, stop, instance in self._down:
            assert not (start <= at < stop and chosen == instance), f"sent to {instance}, which is down"


def check(record: RunRecord, arrived: int) -> Counter[str]:
    """Every request ended once, with a reason if not well, and the routers keep nothing; the ends by name."""
    noticed = record.noticed
    assert noticed is not None
    assert len({sim.request.id for sim in record.sims}) == len(record.sims) == arrived, "a request is missing"
    ends: Counter[str] = Counter()
    for sim in record.sims:
        assert sim.end is not None, f"request {sim.request.id} has no end"
        assert sim.end is not End.FAILED or sim.reason.startswith(REASONS), sim.reason
        assert (sim.end is End.FINISHED) is (sim.last_at is not None and sim.reason == ""), sim.reason
        ends[sim.end.value] += 1
    assert noticed.booked_at_end == 0, f"{noticed.booked_at_end} still booked"
    return ends


def one_run(
    prepared: Prepared,
    cluster: Cluster,
    routers: int,
    faults: Faults,
    incidents: tuple[Incident, ...],
    lost_after_s: float | None = LOST_AFTER_S,
) -> dict[str, Any]:
    """One run, checked, with what it did to the service."""
    routing = Routing(
        "auto",
        routers=routers,
        sync_s=SYNC_S if routers > 1 else 0.0,
        faults=faults,
        incidents=incidents,
        config=RouterConfig(lost_after_s=lost_after_s),
    )
    watch = Watch(incidents)
    began_s = time.perf_counter()
    record = simulate(prepared, policy("lmetric"), cluster, closed_loop=True, routing=routing, observer=watch)
    took_s = time.perf_counter() - began_s
    ends, noticed = check(record, len(prepared.requests)), record.noticed
    assert noticed is not None
    assert watch.decisions == noticed.decisions
    summary = summarise(record, "lmetric", {}, len(cluster), 0.0, "auto")
    crashed = sum(sim.reason == REASONS[0] for sim in record.sims)
    return {
        "arrived": len(prepared.requests),
        "finished": ends["finished"],
        "rejected": ends["rejected"],
        "failed": ends["failed"],
        "failed_in_a_crash": crashed,
        "events": noticed.faults,
        "ignored": noticed.ignored,
        "given_up": noticed.given_up,
        "open_at_end": noticed.open_at_end,
        "booked_at_end": noticed.booked_at_end,
        "unsafe_fraction": noticed.unsafe / max(1, noticed.decisions),
        "mitigated": noticed.acted,
        "ttft_s_mean": summary.ttft_s.mean,
        "ttft_s_p99": summary.ttft_s.p99,
        "tpot_s_mean": summary.tpot_s.mean,
        "throughput_tokens_per_s": summary.throughput_tokens_per_s,
        "wall_s": took_s,
    }


def run() -> None:
    """Measure, print, save."""
    prepared, rows = requests(), []
    for level in (Level.PROXY, Level.EVENTS):
        cluster = roofline_cluster(INSTANCES, level=level)
        for routers in (1, 3):
            calm = one_run(prepared, cluster, routers, Faults(), ())
            hard = one_run(prepared, cluster, routers, FAULTS, incidents(HOUR_S, INSTANCES, routers))
            ratios = {
                f"{name}_ratio": hard[name] / calm[name]
                for name in ("ttft_s_mean", "ttft_s_p99", "tpot_s_mean", "throughput_tokens_per_s")
            }
            rows.append({"level": level.value, "routers": routers, "with_faults": hard, "without": calm, **ratios})
            print(
                f"{level.value}, {routers} routers: {hard['arrived']} arrived = {hard['finished']} finished"
                f" + {hard['failed']} failed + {hard['rejected']} rejected; events {hard['events']},"
                f" {hard['ignored']} ignored; {hard['given_up']} given up, {hard['open_at_end']} open at the end,"
                f" {hard['booked_at_end']} booked\n  against the run without faults: "
                + ", ".join(f"{name} {value:.3f}" for name, value in ratios.items())
            )
    result = {
        "simulated": True,
        "source": f"workload:chat, {HOUR_S:g} s at its default rate",
        "instances": INSTANCES,
        "faults": {name: getattr(FAULTS, name) for name in ("lost", "duplicated", "reordered", "late_s")},
        "crashes": CRASHES,
        "down_s": DOWN_S,
        "restarts": RESTARTS,
        "lost_after_s": LOST_AFTER_S,
        "sync_s": SYNC_S,
        "rows": rows,
        "machine": machine(),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "command": "make bench BENCH_ARGS=fault_hour",
    }
    print(f"saved {save('fault_hour', result).name}")
