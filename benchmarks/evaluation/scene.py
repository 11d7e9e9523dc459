"""Workloads, loads and seeds of the evaluation.

Loads are parts of a maximum that a benchmark of its own finds (``benchmarks/least_harm.py``): the highest rate at which
the product keeps 0.9 of the goodput that it has with next to no load. A load chosen by another rule's limit would
shift all rows alike. Arrivals are replayed as they stand, so that all rules face the same ones.

A seed draws the workload and the ties. The real trace is cut into five windows of twelve minutes, one a seed: five
pieces of one hour of one service, not five days. There is no other hour to tune on: the two tuning windows lie across
the borders of the first four test windows, so what is tuned there has seen half of these. That favours what is tuned.
"""

from __future__ import annotations

import functools
import json
import statistics
from collections.abc import Mapping
from types import MappingProxyType

from benchmarks.measure import RESULTS
from benchmarks.simulator import conversation_trace
from replay.sources import open_source
from scheduler.state import Request

TRACE = "conversation"
#: The four families, in the order of the tables.
FAMILIES = ("chat", "api", "coder", "tool_agent")
WORKLOADS = (*FAMILIES, TRACE)
#: Part of the maximum rate.
LOADS: Mapping[str, float] = MappingProxyType({"half": 0.5, "near": 0.9, "over": 1.2})
#: Test runs; ten for what is compared with the tuned line, the first five for all else.
SEEDS = range(5)
MORE_SEEDS = range(10)
#: Rules are tuned on other draws than they are tested on.
TUNING_SEEDS = (100, 101)
REQUESTS = 6_000
TUNING_REQUESTS = 4_000
#: A window of the real trace [s].
WINDOW_S = 720.0


@functools.cache
def limits() -> dict[str, dict[str, list[float]]]:
    """The limit of each rule on each workload, one a seed: requests per second, and for the trace times its rate."""
    found = json.loads((RESULTS / "least_harm.json").read_text(encoding="utf-8"))["capacity"]
    return {name: {rule: list(values) for rule, values in found[name].items()} for name in WORKLOADS}


@functools.cache
def maximum_rates() -> dict[str, float]:
    """The maximum of each workload: the median limit of the product."""
    return {name: statistics.median(limits()[name]["lmetric"]) for name in WORKLOADS}


def rate_of(workload: str, load: str) -> float:
    """The rate of a workload at a load, in the unit of :func:`maximum_rates`."""
    return float(f"{LOADS[load] * maximum_rates()[workload]:.4g}")


def window_start_s(seed: int) -> float:
    """Where the window of a seed begins in the trace [s]: of tuning from middle to middle of two test windows."""
    tuning = seed >= TUNING_SEEDS[0]
    return WINDOW_S * ((seed - TUNING_SEEDS[0]) * 2 + 0.5 if tuning else seed % 5)


def requests_of(workload: str, rate: float, requests: int, seed: int) -> list[Request]:
    """The requests of a run.

    Args:
        workload: one of :data:`WORKLOADS`, or the text of any generated workload, with its rate in it.
        rate: in the unit of :func:`maximum_rates`; not looked at where the text has a rate.
        requests: how many, at most.
        seed: of the draws; of the trace the window.
    """
    if workload == TRACE:
        start = window_start_s(seed)
        text = str(conversation_trace())
        return list(open_source(text, rate_scale=rate, from_s=start, to_s=start + WINDOW_S)[0])
    if workload in FAMILIES:
        text = f"workload:{workload}:requests={requests},rate_per_s={rate}"
    else:
        text = workload
    return list(open_source(text, seed=seed)[0])
