"""Two rules on the same seeds: the ratio of a metric with a bootstrap interval, and who wins.

A seed gives both rules the same requests, so values are compared in pairs. The ratio is the geometric mean over the
seeds; its interval is a bootstrap over the seeds of the mean log ratio (scipy, BCa, 95%), which speaks of other draws
of the same workload, not of other workloads. Fewer than five seeds get none.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import msgspec
import numpy as np
from scipy import stats

from benchmarks.evaluation.rows import Row

SEEDS_LEAST = 5
RESAMPLES = 9_999
CONFIDENCE = 0.95
#: Smaller differences than this are no win, however regular.
MATERIAL = 0.01


class Metric(msgspec.Struct, frozen=True):
    """A number of a row.

    Args:
        name: for files.
        title: for tables, with unit.
        value: of a row.
        factor: to the unit of the title.
        more: whether more is better.
    """

    name: str
    title: str
    value: Callable[[Row], float | None]
    factor: float = 1.0
    more: bool = False


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric("ttft_mean", "TTFT mean [s]", lambda row: row.ttft_s["mean"]),
            Metric("ttft_p50", "TTFT p50 [s]", lambda row: row.ttft_s["p50"]),
            Metric("ttft_p95", "TTFT p95 [s]", lambda row: row.ttft_s["p95"]),
            Metric("ttft_p99", "TTFT p99 [s]", lambda row: row.ttft_s["p99"]),
            Metric("tpot_mean", "TPOT mean [ms]", lambda row: row.tpot_s["mean"], 1000),
            Metric("tpot_p50", "TPOT p50 [ms]", lambda row: row.tpot_s["p50"], 1000),
            Metric("tpot_p95", "TPOT p95 [ms]", lambda row: row.tpot_s["p95"], 1000),
            Metric("tpot_p99", "TPOT p99 [ms]", lambda row: row.tpot_s["p99"], 1000),
            Metric("e2e_mean", "E2E mean [s]", lambda row: row.e2e_s["mean"]),
            Metric("hit_fraction", "hits [%]", lambda row: row.hit_fraction, 100, True),
            Metric("goodput", "goodput [%]", lambda row: row.goodput_fraction, 100, True),
            Metric("throughput", "output [token/s]", lambda row: row.throughput_tokens_per_s, 1, True),
            Metric("imbalance_p50", "max/mean batch p50", lambda row: row.imbalance["p50"]),
            Metric("imbalance_p99", "max/mean batch p99", lambda row: row.imbalance["p99"]),
            Metric("instance_requests_cv", "CV of requests per instance", lambda row: row.instance_requests_cv),
        )
    }
)


class Compared(msgspec.Struct, frozen=True):
    """A rule against another one.

    Args:
        ratio: geometric mean over the seeds of this one's value by the other's.
        low, high: ends of its interval; None without one.
        seeds: how many.
        verdict: ``win``, ``loss`` or ``tie``, for this one: a tie if the interval holds 1, or if the ratio is within
            1% of it.
    """

    ratio: float
    low: float | None
    high: float | None
    seeds: int
    verdict: str


def values_of(rows: Sequence[Row], metric: Metric) -> list[float]:
    """The values of a metric in its rows.

    Raises:
        ValueError: if a run has none.
    """
    values = [metric.value(row) for row in rows]
    if any(value is None for value in values):
        raise ValueError(f"a run of {rows[0].case.policy} has no {metric.name}")
    return [float(value) for value in values if value is not None]


def compared(ours: Sequence[float], theirs: Sequence[float], *, more: bool = False) -> Compared:
    """Compare two rules seed by seed.

    Args:
        ours, theirs: one positive value a seed, paired.
        more: whether more is better.

    Example:
        >>> found = compared([1.0, 1.1, 0.9, 1.0, 1.05], [2.0, 2.2, 1.9, 2.1, 2.0])
        >>> round(found.ratio, 2), found.verdict, found.low < found.ratio < found.high
        (0.49, 'win', True)
        >>> compared([1.0], [1.0]).verdict
        'tie'
    """
    logs = np.log(np.asarray(ours, dtype=float)) - np.log(np.asarray(theirs, dtype=float))
    mean = float(logs.mean())
    if mean < 0:  # the method treats ties among resamples by their side: who is compared with whom must not matter
        low, high = (None if end is None else -end for end in reversed(_interval(-logs)))
    else:
        low, high = _interval(logs)
    apart = abs(math.exp(mean) - 1) >= MATERIAL and (low is None or high is None or low > 0 or high < 0)
    verdict = "tie" if not apart else "win" if (mean > 0) == more else "loss"
    low, high = (None if end is None else math.exp(end) for end in (low, high))
    return Compared(math.exp(mean), low, high, len(logs), verdict)


def _interval(logs: np.ndarray) -> tuple[float | None, float | None]:
    if len(logs) < SEEDS_LEAST:
        return None, None
    if np.ptp(logs) == 0:
        return float(logs[0]), float(logs[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of samples that are all alike, for which BCa falls back
        found = stats.bootstrap(
            (logs,),
            np.mean,
            n_resamples=RESAMPLES,
            confidence_level=CONFIDENCE,
            method="BCa",
            rng=np.random.default_rng(0),
        ).confidence_interval
    return (float(found.low), float(found.high)) if math.isfinite(found.low) else (None, None)
