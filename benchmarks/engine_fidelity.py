"""How far the simulator is from a real engine once it is calibrated: times of each rule, and which rule is the better.

Two small models of transformers' continuous batching, each in a process of its own. Steps are measured while one slice
of a workload is replayed, and fitted; another slice, which the fit has not seen, is replayed under four rules, and
simulated with the fitted step times. Both are replayed in turn, again and again, so that a machine that grows slower
does so for both; the rules take turns in turned order. Measured and simulated numbers stand in columns of their own.

    .venv-engines/bin/python -m benchmarks.engine_fidelity
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import statistics
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
from scipy import stats

from benchmarks.measure import machine, save, shown, spread
from replay.calibration.fit import error_of, fit_step_time
from replay.engines.catalogue import torch_engine
from replay.engines.prompts import Prompts
from replay.engines.steps import StepRecord
from replay.engines.transformers_cb import Shape
from replay.live_plan import LivePlan, Turn, run_plan
from replay.live_result import told_of
from replay.metrics import Summary, summarise
from replay.run import Pace
from replay.run_log import Log
from replay.sim.cluster import Cluster
from replay.sim.router_decider import Routing
from replay.sim.run import simulate
from replay.sources import open_source
from scheduler.cost import StepTime
from scheduler.policies.catalogue import policy
from scheduler.router import Router
from scheduler.router_config import RouterConfig
from scheduler.state import Request

INSTANCES, REPEATS = 2, 4
#: Large enough that a step takes longer than the way to the engine and back.
SHAPE = Shape(
    layers=4, hidden=256, intermediate=768, heads=8, kv_heads=2, kv_blocks=1024, batch_tokens=256, max_batch=32
)
RULES = ("lmetric", "join_shortest_queue", "round_robin", "random")
WORKLOAD = (
    "workload:chat:requests=80,rate_per_s={rate},block_tokens=16,system_tokens=64,opening_tokens_mean=300,"
    "opening_tokens_sigma=0.5,turn_tokens_mean=80,turn_tokens_sigma=0.5,output_tokens_mean=20,output_tokens_sigma=0.5,"
    "turns_mean=4,think_s_mean=1,think_s_sigma=0.5,context_tokens_max=1500"
)
RATE_PER_S = 4.0
SEED_FITTED, SEED_HELD_OUT = 100, 101
METRICS = ("ttft_s", "tpot_s", "e2e_s")
#: A difference between two rules counts if it is at least so sure.
CONFIDENCE = 0.95


def requests_of(seed: int) -> list[Request]:
    return list(open_source(WORKLOAD.format(rate=RATE_PER_S), seed=seed)[0])


class Bench:
    """The engines, and what their steps were."""

    def __init__(self) -> None:
        self.steps: list[StepRecord] = []
        self.engines = [
            torch_engine(str(place), SHAPE, processes=True, step_sink=lambda _, step: self.steps.append(step))
            for place in range(INSTANCES)
        ]

    async def replay(self, rules: Sequence[str], seed: int, requests: Sequence[Request], folder: Path) -> list[Log]:
        """Logs of runs on the engines, one a rule, in this order."""
        config = RouterConfig(
            capacity_blocks=SHAPE.kv_blocks, kv_tokens=SHAPE.kv_blocks * SHAPE.block_tokens, log_size=0
        )
        names = [engine.name for engine in self.engines]

        def router_of(turn: Turn) -> Router:
            return Router(names, turn.policy, seed=seed, mitigation="none", config=config)

        def told(turn: Turn, _: Log) -> None:
            print(f"  repetition {seed}, {folder.name}: {turn.policy}", file=sys.stderr)

        plan = LivePlan(tuple(rules), pace=Pace(closed_loop=True))
        prompts = Prompts(SHAPE.vocabulary)
        folder.mkdir(parents=True)
        return await run_plan(plan, self.engines, requests, router_of, folder, prompts=prompts, done=told)


async def measured(folder: Path) -> tuple[list[StepRecord], list[StepRecord], list[Log]]:
    """Steps of the fitted slice, steps of the held-out slice, logs of the latter."""
    bench = Bench()
    fitted: list[StepRecord] = []
    held_out: list[StepRecord] = []
    logs: list[Log] = []
    try:
        for engine in bench.engines:
            await engine.start()
        for repeat in range(REPEATS):
            turned = RULES[repeat % len(RULES) :] + RULES[: repeat % len(RULES)]
            await bench.replay(turned[:2], repeat, requests_of(SEED_FITTED), folder / str(repeat) / "fitted")
            fitted += bench.steps
            bench.steps.clear()
            logs += await bench.replay(turned, repeat, requests_of(SEED_HELD_OUT), folder / str(repeat) / "held out")
            held_out += bench.steps
            bench.steps.clear()
        return fitted, held_out, logs
    finally:
        for engine in bench.engines:
            await engine.close()


def simulated(step_time: StepTime, requests: Sequence[Request]) -> dict[str, list[Summary]]:
    """The same runs by the simulator."""
    cluster = Cluster(
        (step_time,) * INSTANCES,
        SHAPE.kv_blocks * SHAPE.block_tokens,
        batch_tokens=SHAPE.batch_tokens,
        max_batch=SHAPE.max_batch,
    )
    found: dict[str, list[Summary]] = {}
    for text, seed in itertools.product(RULES, range(REPEATS)):
        rule = policy(text)
        record = simulate(requests, rule, cluster, seed=seed, closed_loop=True, routing=Routing("none"))
        found.setdefault(text, []).append(summarise(record, rule.rule.name, dict(rule.values), INSTANCES, 0.0))
    return found


def value_of(summary: Summary, metric: str) -> float:
    value = summary.hit_fraction if metric == "hit_fraction" else getattr(summary, metric).mean
    assert value is not None
    return float(value)


def compared(real: dict[str, list[Summary]], sim: dict[str, list[Summary]]) -> dict[str, Any]:
    """Each metric of each rule: measured, simulated, and how far the medians of the runs are apart.

    Medians, because what else a machine does now and then spoils single runs; the spread of the runs stands beside.
    """
    rows: dict[str, Any] = {}
    for rule in RULES:
        rows[rule] = {}
        for metric in (*METRICS, "hit_fraction"):
            one, two = ([value_of(summary, metric) for summary in found[rule]] for found in (real, sim))
            error = statistics.median(two) / statistics.median(one) - 1
            rows[rule][metric] = {"measured": spread(one), "simulated": spread(two), "relative_error": error}
    return rows


def rankings(real: dict[str, list[Summary]], sim: dict[str, list[Summary]]) -> dict[str, Any]:
    """Of each pair of rules: which one is ahead as measured and as simulated, and how sure the measured answer is."""
    found: dict[str, Any] = {}
    for metric in METRICS:
        pairs = []
        for one, two in itertools.combinations(RULES, 2):
            gaps = [
                value_of(a, metric) - value_of(b, metric) for a, b in zip(real[one], real[two], strict=True)
            ]  # of the same repetition
            sim_gap = statistics.mean(value_of(a, metric) for a in sim[one]) - statistics.mean(
                value_of(b, metric) for b in sim[two]
            )
            low, high = stats.ttest_1samp(gaps, 0.0).confidence_interval(CONFIDENCE)
            pairs.append(
                {
                    "rules": [one, two],
                    "measured_gap_s": spread(gaps),
                    "measured_gap_interval_s": [float(low), float(high)],
                    "simulated_gap_s": sim_gap,
                    "same_order": statistics.mean(gaps) * sim_gap >= 0,
                    "measured_is_noise": bool(low <= 0 <= high),
                }
            )
        orders = [
            sorted(RULES, key=lambda rule: statistics.mean(value_of(each, metric) for each in runs[rule]))
            for runs in (real, sim)
        ]
        found[metric] = {"measured_order": orders[0], "simulated_order": orders[1], "pairs": pairs}
    return found


def show(rows: dict[str, Any], ranks: dict[str, Any]) -> None:
    for metric in METRICS:
        print(f"{metric}, mean over requests: median [least, greatest] of {REPEATS} runs, in ms")
        for rule in RULES:
            row = rows[rule][metric]
            ms = [{key: 1000 * value for key, value in row[kind].items()} for kind in ("measured", "simulated")]
            print(
                f"  {rule:22} measured {shown(ms[0], 1):24} simulated {shown(ms[1], 1):24} "
                f"error {100 * row['relative_error']:+.1f}%"
            )
        odd = [pair for pair in ranks[metric]["pairs"] if not pair["same_order"]]
        sure = [pair for pair in odd if not pair["measured_is_noise"]]
        print(f"  pairs in another order: {len(odd)} of {len(ranks[metric]['pairs'])}, beyond noise: {len(sure)}")


def run() -> None:
    """Measure, print, save."""
    requests = requests_of(SEED_HELD_OUT)
    by_id = {request.id: request for request in requests}
    with tempfile.TemporaryDirectory() as folder:
        fitted_steps, held_out_steps, logs = asyncio.run(measured(Path(folder)))
    fit = fit_step_time(fitted_steps)
    real: dict[str, list[Summary]] = {}
    lag, predicted = [], []
    for log in logs:
        told, live = told_of(log, by_id, SHAPE.block_tokens)
        real.setdefault(log.header.policy, []).append(told.summary)
        lag.append(live.client_lag.share)
        predicted.append(live.prediction.share)
    sim = simulated(fit.step_time, requests)
    rows, ranks = compared(real, sim), rankings(real, sim)
    show(rows, ranks)
    result = {
        "setting": {
            "instances": INSTANCES,
            "shape": {name: getattr(SHAPE, name) for name in SHAPE.__struct_fields__},
            "workload": WORKLOAD.format(rate=RATE_PER_S),
            "seeds": {"fitted": SEED_FITTED, "held out": SEED_HELD_OUT},
            "rules": list(RULES),
            "repeats": REPEATS,
            "confidence": CONFIDENCE,
        },
        "fit": msgspec.to_builtins(fit),
        "steps": {"fitted": len(fitted_steps), "held_out": len(held_out_steps)},
        "held_out_steps": msgspec.to_builtins(error_of(fit.step_time, held_out_steps)),
        "largest_error": {
            metric: max(abs(rows[rule][metric]["relative_error"]) for rule in RULES) for metric in METRICS
        },
        "rules": rows,
        "rankings": ranks,
        "client_lag_share_max": max(share for share in lag if share is not None),
        "prediction_share_min": min(share for share in predicted if share is not None),
        "machine": machine() | {name: metadata.version(name) for name in ("torch", "transformers")},
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "command": ".venv-engines/bin/python -m benchmarks.engine_fidelity",
    }
    print(f"saved {save('engine_fidelity', result).name}")


if __name__ == "__main__":
    run()
