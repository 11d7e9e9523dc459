"""Two rules on the same seeds: the ratio of a metric with a bootstrap interval, and who wins.

A seed gives both rules the same requests, so values are compared in pairs. The ratio is the geometric mean over the
seeds; its interval is a bootstrap over the seeds of the mean log ratio (scipy, BCa, 95%), which speaks of other draws
of the same workload, not of other workloads. Fewer than five seeds get none.

With five values such an interval is too short: of normal values without a difference it leaves out the truth in more
than one case in ten, not in one of twenty (a test says so). So a win needs a paired t-test at 5%, too.
"""

from __future__ import annotations

import functools
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
#: What differs by less than this is the same but for rounding.
ROUNDING = 1e-9
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


def _both(row: Row) -> float | None:
    """The geometric mean of mean TTFT and mean TPOT [s], which tuning makes least."""
    ttft, tpot = row.ttft_s["mean"], row.tpot_s["mean"]
    return None if ttft is None or tpot is None else math.sqrt(ttft * tpot)


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
            Metric("ttft_tpot", "TTFT and TPOT", _both),
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
        verdict: ``win``, ``loss`` or ``tie``, for this one: a tie if there is no interval or it holds 1, if a t-test
            of the seeds does not tell them apart, or if the ratio is within 1% of 1.
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
        low, high = (None if end is None else -end for end in reversed(_interval(tuple(-logs))))
    else:
        low, high = _interval(tuple(logs))
    apart = low is not None and high is not None and (low > 0 or high < 0) and _differ(logs)
    apart = apart and abs(math.exp(mean) - 1) >= MATERIAL
    verdict = "tie" if not apart else "win" if (mean > 0) == more else "loss"
    low, high = (None if end is None else math.exp(end) for end in (low, high))
    return Compared(math.exp(mean), low, high, len(logs), verdict)


def _differ(logs: np.ndarray) -> bool:
    """Whether a t-test tells the mean of logs from zero."""
    if np.ptp(logs) < ROUNDING:
        return abs(float(logs.mean())) > ROUNDING
    return bool(stats.ttest_1samp(logs, 0.0).pvalue < 1 - CONFIDENCE)


@functools.cache
def _interval(values: tuple[float, ...]) -> tuple[float | None, float | None]:
    logs = np.asarray(values)
    if len(logs) < SEEDS_LEAST:
        return None, None
    if np.ptp(logs) < ROUNDING:
        return float(logs.mean()), float(logs.mean())
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
