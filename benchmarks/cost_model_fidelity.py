"""How far the roofline cost model is from measured serving runs, beside aiconfigurator-core on the same runs.

The measured runs are those that aiconfigurator-core ships: of each the means of TTFT and TPOT at a fixed number of
clients, for models and GPUs that both know. Predictions are of three kinds, and each has columns of its own: simulated
with the cost model's step times; the peer's own model of a serving run; and, to tell the simulator's share of the error
from the cost model's, simulated with step times fitted to the peer's single steps.

Read with it: the peer's corrections for vLLM were tuned by its authors on this very sample (``vllm_backend.py`` says
so), its kernels are those of newer engines than were measured, and it is asked for steps that take in one prompt. The
cost model knows BF16 alone; of FP8 runs weights are halved and FLOP/s doubled here. And the sample does not tell how
clients begin, how lengths vary, or whether a first wave is counted: equal lengths keep clients in step, so that TTFT
comes out twice as long as with lengths that vary by a tenth. No conclusion about the cost model stands on TTFT alone.
"""

from __future__ import annotations

import datetime as dt
import functools
import math
import multiprocessing
import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

import argprod
from benchmarks.measure import in_process, machine, peer_environment, save
from benchmarks.serving_points import Constants, Engine, Load, Served, served
from replay.calibration.fit import error_of, fit_step_time
from replay.engines.steps import StepRecord
from scheduler.cost import StepTime

PEER = "benchmarks/turn_aiconfigurator.py"
#: Between GPUs of one machine: half of NVLink's data sheet figure for one direction, and a wait that is usual in tests
#: of collective operations. Assumptions, to show how much a term for it is worth.
LINK_BYTES_PER_S, COLLECTIVE_S = 225e9, 15e-6
COMMUNICATING = Constants(link_bytes_per_s=LINK_BYTES_PER_S, collective_s=COLLECTIVE_S)
#: How far lengths lie around their mean in the second look at TTFT.
SPREAD = 0.11
#: Rounds of requests in the many simulations of the fit.
FIT_ROUNDS = 3
_FREE = ("compute_efficiency", "memory_efficiency", "overhead_s", "link_bytes_per_s", "collective_s")
_LOW, _HIGH = (0.05, 0.2, 1e-4, 2e10, 1e-7), (1.0, 1.0, 0.05, 1e12, 1e-4)

Point = Mapping[str, Any]


def engine_of(point: Point) -> Engine:
    """The instance of a measured run."""
    return Engine(point["model"], point["gpu"], point["tensor_parallel"], fp8=bool(point["quant"]))


def simulated(time: StepTime, point: Point, spread: float = 0.0, rounds: int = 10) -> Served | None:
    """A measured run simulated with a step time."""
    load = Load(point["concurrency"], point["prompt_tokens"], point["output_tokens"], spread)
    return served(time, engine_of(point).kv_tokens(), load, rounds)


def with_constants(constants: Constants, point: Point, rounds: int = 10, spread: float = 0.0) -> Served | None:
    """The same with the cost model's step time."""
    return simulated(engine_of(point).step_time(constants), point, spread, rounds)


def errors(predicted: Iterable[tuple[float, float]]) -> dict[str, float]:
    """Of pairs of a predicted and a measured value: median and 90th percentile of the relative error, median bias."""
    relative = np.array([one / two - 1 for one, two in predicted])
    return {
        "median": round(float(np.median(np.abs(relative))), 4),
        "p90": round(float(np.quantile(np.abs(relative), 0.9)), 4),
        "bias": round(float(np.median(relative)), 4),
    }


def compared(points: Sequence[Point], found: Sequence[Served | None]) -> dict[str, Any]:
    """Errors of TTFT and TPOT of simulated runs."""
    pairs = [(point, one) for point, one in zip(points, found, strict=True) if one is not None]
    return {
        "ttft": errors((1000 * one.ttft_s, point["ttft_ms"]) for point, one in pairs),
        "tpot": errors((1000 * one.tpot_s, point["tpot_ms"]) for point, one in pairs),
        "points": len(pairs),
    }


def peer_compared(points: Sequence[Point]) -> dict[str, Any]:
    """Errors of the peer's own model."""
    return {
        name: errors((point["predicted"][f"{name}_ms"], point[f"{name}_ms"]) for point in points)
        for name in ("ttft", "tpot")
    } | {"points": len(points)}


def peer_steps(rows: Sequence[Mapping[str, float]]) -> list[StepRecord]:
    """The peer's single steps as an engine would tell them."""
    return [
        StepRecord(
            at_s=0.0,
            step_s=row["step_ms"] / 1000,
            prefill_tokens=int(row["prompts"] * row["context"]),
            decode_requests=int(row["batch"]),
            kv_tokens=int(row["batch"] * (row["context"] + 1)),
            pairs=int(row["prompts"] * row["context"] * (row["context"] + 1) // 2),
        )
        for row in rows
    ]


def by(points: Sequence[Point], key: Callable[[Point], Any]) -> dict[Any, list[int]]:
    """Places of points that have the same key."""
    found: dict[Any, list[int]] = {}
    for place, point in enumerate(points):
        found.setdefault(key(point), []).append(place)
    return dict(sorted(found.items()))


def label(point: Point) -> str:
    """Model, GPU, engine and precision."""
    precision = "FP8" if point["quant"] else "BF16"
    return f"{point['model']}, {point['gpu']}, {point['backend']}, {precision}"


def table(points: Sequence[Point], steps: Mapping[str, StepTime], pool: ProcessPoolExecutor) -> dict[str, Any]:
    """Every group of runs under every prediction."""
    looks = {
        "cost_model": list(pool.map(functools.partial(with_constants, Constants()), points, chunksize=8)),
        "with_communication": list(pool.map(functools.partial(with_constants, COMMUNICATING), points, chunksize=8)),
        "peer_steps_simulated": list(
            pool.map(simulated, [steps[point["engine"]] for point in points], points, chunksize=8)
        ),
    }
    varied = list(pool.map(functools.partial(with_constants, Constants(), spread=SPREAD), points, chunksize=8))
    keys: dict[str, Callable[[Point], Any]] = {
        "by_model_and_gpu": label,
        "by_gpus_of_an_instance": lambda point: point["tensor_parallel"],
        "all": lambda _: "all",
    }
    result: dict[str, Any] = {}
    for name, key in keys.items():
        rows = {}
        for group, places in by(points, key).items():
            chosen = [points[place] for place in places]
            rows[group] = {
                **{look: compared(chosen, [found[place] for place in places]) for look, found in looks.items()},
                "aiconfigurator": peer_compared(chosen),
                "ttft_with_varied_lengths_over_equal": _ratio(varied, looks["cost_model"], places),
            }
        result[name] = rows
    return result


def _ratio(ones: Sequence[Served | None], others: Sequence[Served | None], places: Sequence[int]) -> float:
    pairs = [(ones[place], others[place]) for place in places]
    return round(float(np.median([one.ttft_s / two.ttft_s for one, two in pairs if one and two])), 3)


def fitted(points: Sequence[Point], free: int, pool: ProcessPoolExecutor) -> dict[str, Any]:
    """Constants that fit the TPOT of half of the runs, and the errors on the other half.

    Args:
        points: all runs.
        free: how many of the constants are free; those between GPUs are the last two.
        pool: simulates.
    """
    from scipy.optimize import least_squares

    rng = random.Random(0)
    half = {place for places in by(points, label).values() for place in rng.sample(places, len(places) // 2)}
    ours = [point for place, point in enumerate(points) if place in half]
    others = [point for place, point in enumerate(points) if place not in half]

    def constants(logs: Sequence[float]) -> Constants:
        return Constants(**dict(zip(_FREE, np.exp(logs).tolist(), strict=False)))

    def residuals(logs: Sequence[float]) -> Any:
        found = pool.map(functools.partial(with_constants, constants(logs), rounds=FIT_ROUNDS), ours, chunksize=8)
        pairs = zip(found, ours, strict=True)
        return np.array([0.0 if one is None else math.log(1000 * one.tpot_s / p["tpot_ms"]) for one, p in pairs])

    start = np.log([getattr(COMMUNICATING, name) for name in _FREE[:free]])
    answer = least_squares(
        residuals,
        start,
        bounds=(np.log(_LOW[:free]), np.log(_HIGH[:free])),
        loss="soft_l1",
        f_scale=0.2,
        diff_step=0.02,
        max_nfev=8,
    )
    best = constants(answer.x)
    before = list(pool.map(functools.partial(with_constants, Constants()), others, chunksize=8))
    after = list(pool.map(functools.partial(with_constants, best), others, chunksize=8))
    return {
        "constants": {name: float(f"{getattr(best, name):.4g}") for name in _FREE[:free]},
        "fitted_points": len(ours),
        "held_out_default": compared(others, before),
        "held_out_fitted": compared(others, after),
    }


def single_steps(points: Sequence[Point], engines: Mapping[str, list[dict[str, float]]]) -> dict[str, Any]:
    """The cost model's steps over the peer's, by GPUs of an instance; both are predictions."""
    rows: dict[str, dict[str, list[float]]] = {}
    for name, steps in engines.items():
        point = next(point for point in points if point["engine"] == name)
        error = error_of(engine_of(point).step_time(Constants()), peer_steps(steps))
        for kind, one in error.kinds.items():
            rows.setdefault(str(point["tensor_parallel"]), {}).setdefault(kind, []).append(1 + one.bias)
    return {
        gpus: {
            kind: {"median": round(float(np.median(v)), 3), "min": round(min(v), 3), "max": round(max(v), 3)}
            for kind, v in kinds.items()
        }
        for gpus, kinds in sorted(rows.items())
    }


def show(rows: Mapping[Any, Any], heading: str) -> None:
    """One line a group: relative errors of TPOT, then of TTFT."""
    print(f"  {heading:34} {'points':>6}   TPOT median/p90/bias [%]: simulated, +comm., peer     TTFT: simulated, peer")
    for group, row in rows.items():
        cells = [_cell(row[look]["tpot"]) for look in ("cost_model", "with_communication", "aiconfigurator")]
        cells += [_cell(row[look]["ttft"]) for look in ("cost_model", "aiconfigurator")]
        print(f"  {group!s:34} {row['aiconfigurator']['points']:>6}   {'  '.join(cells)}")


def _cell(error: Mapping[str, float]) -> str:
    return f"{100 * error['median']:3.0f}/{100 * error['p90']:3.0f}/{100 * error['bias']:+4.0f}"


def run() -> None:
    """Ask the peer, simulate, compare, print, save."""
    print("cost model against measured serving runs, beside aiconfigurator-core; errors of predictions")
    told = in_process(peer_environment("aiconfigurator"), PEER)
    points = [point for point in told["points"] if "engine" in point]
    steps = {name: fit_step_time(peer_steps(rows)).step_time for name, rows in told["engines"].items()}
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("fork")) as pool:
        result = table(points, steps, pool)
        show(result["by_model_and_gpu"], "model, GPU, engine, precision")
        show({f"{gpus} GPUs": row for gpus, row in result["by_gpus_of_an_instance"].items()}, "GPUs of an instance")
        show(result["all"], "")
        result["single_steps_over_the_peers"] = single_steps(points, told["engines"])
        for name, free in (("efficiencies and overhead", 3), ("and between GPUs", 5)):
            row = result.setdefault("constants_fitted_to_tpot", {})[name] = fitted(points, free, pool)
            print(f"  fitted, {name}: {row['constants']}")
            for look in ("held_out_default", "held_out_fitted"):
                print(f"    {look:18} TPOT {_cell(row[look]['tpot'])}  TTFT {_cell(row[look]['ttft'])}")
    result["unit"] = "relative error of a predicted mean: median and 90th percentile of |error|, median of the error"
    result["kind"] = "errors of simulated and predicted values against measured ones; no column holds both"
    result["measured_runs"] = f"{len(points)} of silicon_sample.csv; without a prediction: {told['failed'] or 'none'}"
    result["peer_databases"] = sorted({f"{p['backend']} {p['predicted']['database']}" for p in points})
    result["versions"] = {"argprod": argprod.__version__, "aiconfigurator-core": told["version"]}
    result["machine"] = machine()
    result["date"] = dt.datetime.now(tz=dt.UTC).date().isoformat()
    result["command"] = "make bench BENCH_ARGS=cost_model_fidelity"
    print(f"saved {save('cost_model_fidelity', result).name}")
