"""How sure ``auto`` should be that an instance starves before it pays a probe: the setting tried out, simulated.

On the workload that has the most probes. Seeds 10 to 14 are those on which it was chosen; 0 to 4 say how it does
elsewhere, 20 to 24 are those that ``benchmarks.mitigation`` reports on. At ``inf`` no instance is probed.
"""

from __future__ import annotations

import datetime as dt
import math
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from benchmarks.measure import machine, save
from benchmarks.mitigation import RULES, hot_sources, hot_verdict, one_seed, over_seeds, watch_of
from replay.metrics import Summary
from scheduler import mitigation

WORKLOAD = "ramp 0.3 on 8"
SEEDS = (range(10, 15), range(5), range(20, 25))
#: Standard errors of the difference of two counts.
SETTINGS = (0.0, 1.28, 1.645, 2.0, 2.33, math.inf)
SHOWN = ("mean TTFT / bare", "mean TPOT / best", "p99 TPOT / jsq", "imbalance p50 / bare")


def with_errors(errors: float, seed: int, rules: tuple[str, ...]) -> dict[str, Summary]:
    """One seed with the setting changed, in a process of its own."""
    mitigation.PROBE_ERRORS = errors
    return one_seed(*hot_sources()[WORKLOAD], seed, rules)


def table_of(pool: ProcessPoolExecutor, seeds: range) -> dict[str, dict[str, Any]]:
    """By setting: the ratios of the means over some seeds, and how many probes a seed were paid."""
    bare = [pool.submit(with_errors, SETTINGS[0], seed, RULES) for seed in seeds]
    tried = {errors: [pool.submit(with_errors, errors, seed, ()) for seed in seeds] for errors in SETTINGS}
    rows = {}
    for errors, futures in tried.items():
        found = [{**alone.result(), **future.result()} for alone, future in zip(bare, futures, strict=True)]
        verdict = hot_verdict(over_seeds(found))
        probes = watch_of(found)["mitigated"].get("probe_cold", 0)
        row = {"probes a seed": probes / len(seeds), **{name: round(verdict[name], 3) for name in SHOWN}}
        rows[f"{errors:g}"] = row
    return rows


def run() -> None:
    """Measure, print, save."""
    rows = {}
    with ProcessPoolExecutor(2) as pool:
        for seeds in SEEDS:
            name = f"seeds {seeds.start} to {seeds.stop - 1}"
            rows[name] = table_of(pool, seeds)
            print(f"{WORKLOAD}, {name} (simulated)")
            for errors, row in rows[name].items():
                print(
                    f"  {errors:>5} standard errors: " + ", ".join(f"{key} {value:.3f}" for key, value in row.items())
                )
    result = {
        "simulated": True,
        "source": hot_sources()[WORKLOAD][0],
        "rows": rows,
        "machine": machine(),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "command": "make bench BENCH_ARGS=probe_errors",
    }
    print(f"saved {save('probe_errors', result).name}")
