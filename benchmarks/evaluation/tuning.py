"""The best setting of each rule on each workload at each load, found on seeds that no test uses.

What is made best is the geometric mean of mean TTFT and mean TPOT: it has no weight of its own between the two, and a
rule cannot win it by giving up one of them. For the line the best setting by TTFT alone and by TPOT alone is found,
too: no one setting has to be good at both there, which is the strongest opponent that can be made of it.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

from benchmarks.evaluation.rows import DIGITS, FOLDER, with_ties
from benchmarks.evaluation.scene import LOADS, TUNING_REQUESTS, TUNING_SEEDS, WORKLOADS, rate_of, requests_of
from replay.experiment import Plan
from replay.metrics import Summary
from replay.objectives import OBJECTIVES
from replay.sim.cluster import roofline_cluster
from replay.sweep_axes import tunable
from replay.tune import TuneResult, tune
from replay.tune_search import BEYOND_MAX, Point
from scheduler.state import Request

PATH = FOLDER / "tuned.json"
OBJECTIVE = "ttft_tpot"
#: The rule that is tuned for single metrics, too.
LINE = "linear"
SINGLE = ("ttft_mean", "ttft_p99", "tpot_mean", "tpot_p99")


def key_of(workload: str, load: str, rule: str) -> str:
    """How a cell is called in the file.

    Example:
        >>> key_of("chat", "half", "linear")
        'chat half linear'
    """
    return f"{workload} {load} {rule}"


@functools.lru_cache(maxsize=4)
def _requests(workload: str, rate: float, seed: int) -> list[Request]:
    return requests_of(workload, rate, TUNING_REQUESTS, seed)


def tuned_cell(workload: str, load: str, rule: str) -> dict[str, Any]:
    """Tune one rule in one cell: the best settings, all points tried, the knobs that may be better past an end."""
    plan = Plan((), TUNING_SEEDS, roofline_cluster(16), records=False)
    source = functools.partial(_requests, workload, rate_of(workload, load))
    found = tune(with_ties(rule), source, plan, objective=OBJECTIVE)
    cell: dict[str, Any] = {"best": {OBJECTIVE: _plain(found.best)}, "default": _plain(found.default)}
    cell["settled"], cell["rate"] = found.settled, rate_of(workload, load)
    cell["beyond"], cell["open_ends"] = BEYOND_MAX, list(found.open_ends)
    if rule == LINE:
        for name in SINGLE:
            cell["best"][name] = _plain(_best_by(found, name))
    cell["points"] = {_plain(point): _values(point) for point in found.points}
    return cell


def _plain(point: Point) -> str:
    return point.policy.replace(",ties=random", "").replace(":ties=random", "")


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _mean(point: Point, of: Callable[[Summary], float | None]) -> float | None:
    values = [of(summary) for summary in point.summaries]
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _values(point: Point) -> dict[str, float | None]:
    found = {name: _mean(point, OBJECTIVES[name].value) for name in (*SINGLE, "e2e_mean", "goodput")}
    found["hit_fraction"] = _mean(point, lambda summary: summary.hit_fraction)
    return {name: None if value is None else _rounded(value) for name, value in found.items()}


def _best_by(found: TuneResult, objective: str) -> Point:
    def value(point: Point) -> float:
        mean = _mean(point, OBJECTIVES[objective].value)
        return math.inf if mean is None else mean

    return min(found.points, key=value)


def cells() -> Iterator[tuple[str, str, str]]:
    """Workload, load and rule of everything that is tuned."""
    for workload in WORKLOADS:
        for load in LOADS:
            for rule in tunable():
                yield workload, load, rule


def read_tuned() -> dict[str, dict[str, Any]]:
    """What was found so far, by :func:`key_of`."""
    if not PATH.exists():
        return {}
    found: dict[str, dict[str, Any]] = json.loads(PATH.read_text(encoding="utf-8"))
    return found


def fill(jobs: int, progress: Callable[[int, int], None] | None = None) -> Mapping[str, dict[str, Any]]:
    """Tune what is not tuned yet; the file is written after each cell."""
    found = read_tuned()
    missing = [cell for cell in cells() if not _is_done(found.get(key_of(*cell), {}), *cell[:2])]
    PATH.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(jobs) as pool:
        running = {pool.submit(tuned_cell, *cell): cell for cell in missing}
        for done, future in enumerate(as_completed(running), 1):
            found[key_of(*running[future])] = future.result()
            _write(found)
            if progress is not None:
                progress(done, len(missing))
    return found


def _is_done(cell: Mapping[str, Any], workload: str, load: str) -> bool:
    """Whether a cell was tuned at the rate of now, by sweeps that go as far past their ends as those of now."""
    return cell.get("rate") == rate_of(workload, load) and cell.get("beyond") == BEYOND_MAX


def _write(found: Mapping[str, dict[str, Any]]) -> None:
    """Write the file whole or not at all."""
    text = json.dumps(found, sort_keys=True, separators=(",", ":")).replace("},", "},\n") + "\n"
    fresh = PATH.with_suffix(".part")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(PATH)


def best_of(workload: str, load: str, rule: str, objective: str = OBJECTIVE) -> str:
    """The setting that was best.

    Raises:
        LookupError: if the cell was not tuned.
    """
    found = read_tuned_once()
    key = key_of(workload, load, rule)
    if not _is_done(found.get(key, {}), workload, load):
        raise LookupError(f"{key} was not tuned at {rate_of(workload, load)}; run make evaluation")
    return str(found[key]["best"][objective])


@functools.cache
def read_tuned_once() -> dict[str, dict[str, Any]]:
    """What was found, read once."""
    return read_tuned()
