"""How much imbalance the monitor may leave: its setting ``imbalance_left`` tried out on two ramps, simulated.

The seeds are those on which the default was chosen, not those that ``benchmarks.mitigation`` reports on. "none" is the
monitor that asks for no more than its test does at the moment (``hold`` off).
"""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from benchmarks.measure import machine, save
from benchmarks.mitigation import hot_sources, measures, over_seeds, watch_of
from replay.metrics import Summary, summarise
from replay.sim.cluster import roofline_cluster
from replay.sim.parts import prepare
from replay.sim.router_decider import Routing
from replay.sim.run import simulate
from replay.sources import open_source
from scheduler.monitor_config import MonitorConfig
from scheduler.policies.catalogue import policy
from scheduler.router_config import RouterConfig

SEEDS = range(5)
SETTINGS = {
    "1": MonitorConfig(imbalance_left=1.0),
    "1.0625": MonitorConfig(imbalance_left=1.0625),
    "1.125": MonitorConfig(imbalance_left=1.125),
    "1.25": MonitorConfig(imbalance_left=1.25),
    "1.5": MonitorConfig(imbalance_left=1.5),
    "none": MonitorConfig(hold=False),
}
WORKLOADS = ("ramp 0.7 on 16", "ramp 0.5 on 16", "ramp 0.3 on 8")
ALONE = ("lmetric", "join_shortest_queue")


def one_seed(name: str, seed: int) -> dict[str, Summary]:
    """The product and join-shortest-queue alone, and the product with ``auto`` under each setting."""
    text, instances = hot_sources()[name]
    requests = prepare(list(open_source(text, seed=seed)[0]))
    cluster = roofline_cluster(instances)
    found = {}
    for rule in (*ALONE, *SETTINGS):
        chosen = policy(rule if rule in ALONE else "lmetric")
        routing = None if rule in ALONE else Routing("auto", config=RouterConfig(monitor=SETTINGS[rule]))
        record = simulate(requests, chosen, cluster, seed=seed, closed_loop=True, routing=routing)
        found[rule] = summarise(record, chosen.rule.name, {}, instances, 0.0, "auto" if routing else "none")
    return found


def row_of(found: list[dict[str, Summary]]) -> dict[str, Any]:
    """Ratios of the means over the seeds, by setting."""
    table = over_seeds(found)
    bare, even = table["lmetric"], table["join_shortest_queue"]
    return {
        setting: {
            "imbalance p50 / jsq": round(table[setting]["imbalance_p50"]["mean"] / even["imbalance_p50"]["mean"], 3),
            "imbalance p50 / jsq, seeds": sorted(
                round(measures(seed[setting])["imbalance_p50"] / measures(seed[ALONE[1]])["imbalance_p50"], 3)
                for seed in found
            ),
            "mean TTFT / bare": round(table[setting]["ttft_s_mean"]["mean"] / bare["ttft_s_mean"]["mean"], 3),
            "mean TPOT / bare": round(table[setting]["tpot_s_mean"]["mean"] / bare["tpot_s_mean"]["mean"], 3),
            "mitigated": watch_of([{"auto": seed[setting]} for seed in found])["mitigated"],
        }
        for setting in SETTINGS
    }


def run() -> None:
    """Measure, print, save."""
    jobs = [(name, seed) for name in WORKLOADS for seed in SEEDS]
    found: dict[str, list[dict[str, Summary]]] = {}
    with ProcessPoolExecutor(2) as pool:
        for (name, _), summaries in zip(jobs, pool.map(one_seed, *zip(*jobs, strict=True)), strict=True):
            found.setdefault(name, []).append(summaries)
    rows = {name: row_of(some) for name, some in found.items()}
    print("imbalance_left (simulated): imbalance over join-shortest-queue, mean TTFT and TPOT over bare product")
    for name, row in rows.items():
        print(f"{name}: {hot_sources()[name][0]}")
        for setting, told in row.items():
            low, *_, high = told["imbalance p50 / jsq, seeds"]
            print(
                f"  {setting:>7}: imbalance {told['imbalance p50 / jsq']:.2f} [{low:.2f}, {high:.2f}],"
                f" TTFT {told['mean TTFT / bare']:.2f}, TPOT {told['mean TPOT / bare']:.2f}, {told['mitigated']}"
            )
    result = {
        "simulated": True,
        "seeds": [SEEDS.start, SEEDS.stop - 1],
        "sources": {name: hot_sources()[name][0] for name in WORKLOADS},
        "rows": rows,
        "machine": machine(),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "command": "make bench BENCH_ARGS=imbalance_left",
    }
    print(f"saved {save('imbalance_left', result).name}")
