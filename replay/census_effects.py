"""What a sample of forks says: means with their uncertainty, quartiles, and whether the law foresaw them.

The mean and its interval speak for all decisions at which the line differs; quartiles show how far single forks lie
apart. The interval is a percentile bootstrap over the forks (95%). It covers the chance of the draw and of what follows
each fork, not the luck of the one run that all forks are compared with; read ``net_near`` and ``net_run`` for that.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from replay.census_fork import Fork
from replay.census_times import Change

#: What is observed: fields of :class:`replay.census_fork.Fork`.
MEASURES = ("own", "present", "near", "run", "net_near", "net_run")
#: What is predicted: the delay that a request adds to all, without and with decode.
PREDICTIONS = ("predicted_s", "predicted_offset_s")
#: What the predictions are compared with: the sum of end-to-end times, as a delay of one request is in it once.
FORESEEN = ("present", "near", "run", "net_near", "net_run")
#: Resamples of the bootstrap.
RESAMPLES = 2000


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Change by one fork [s].

    Args:
        forks: behind the numbers.
        mean: over them.
        low, high: bootstrap interval of the mean, 95%; None for fewer than two forks.
        quartiles: 0.25, 0.5, 0.75.
    """

    forks: int
    mean: float
    low: float | None
    high: float | None
    quartiles: tuple[float, float, float]


class Foresight(msgspec.Struct, frozen=True, kw_only=True):
    """A prediction beside what was observed.

    Args:
        forks: with both not zero.
        same_sign: share of these in which both have one sign; None without any. A coin gives 1/2.
        rank_correlation: Spearman's, over all forks; None for fewer than three or if either is constant.
    """

    forks: int
    same_sign: float | None
    rank_correlation: float | None


class ForkSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The forks of one line.

    Args:
        weight: w [token/request].
        differing: decisions of the run at which it would have taken another instance.
        forks: of these, how many were tried.
        near_requests, run_requests: mean number of requests behind ``near`` and ``run``.
        predicted: prediction -> estimate.
        ttft: measure -> estimate of the change of the sum of times to first token.
        e2e: measure -> estimate of the change of the sum of end-to-end times. A measure that no fork has is left out.
        foresight: prediction -> measure -> how well its ``e2e`` was foreseen.
    """

    weight: float
    differing: int
    forks: int
    near_requests: float
    run_requests: float
    predicted: dict[str, Estimate]
    ttft: dict[str, Estimate]
    e2e: dict[str, Estimate]
    foresight: dict[str, dict[str, Foresight]]


def estimate(values: Sequence[float], seed: int = 0) -> Estimate:
    """Mean with its bootstrap interval, and quartiles.

    Args:
        values: one a fork, at least one [s].
        seed: of the resampling.

    Example:
        >>> found = estimate([1.0, 1.0, 1.0])
        >>> found.mean, found.low, found.high, found.quartiles
        (1.0, 1.0, 1.0, (1.0, 1.0, 1.0))
    """
    from scipy.stats import bootstrap

    low = high = None
    if len(values) > 1:
        rng = np.random.default_rng(seed)
        found = bootstrap((values,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=rng)
        low, high = (float(end) for end in found.confidence_interval)
    q1, q2, q3 = (float(value) for value in np.quantile(values, (0.25, 0.5, 0.75)))
    return Estimate(forks=len(values), mean=float(np.mean(values)), low=low, high=high, quartiles=(q1, q2, q3))


def foresight(predicted: Sequence[float], observed: Sequence[float]) -> Foresight:
    """Compare predictions with what was observed, fork by fork.

    Args:
        predicted, observed: one entry a fork [s].

    Example:
        >>> found = foresight([1.0, 2.0, 3.0, 0.0], [1.0, -1.0, 5.0, 7.0])
        >>> found.forks, round(found.same_sign, 3), round(found.rank_correlation, 3)
        (3, 0.667, -0.4)
    """
    from scipy.stats import spearmanr

    both = [(p, o) for p, o in zip(predicted, observed, strict=True) if p and o]
    same = sum((p > 0) == (o > 0) for p, o in both)
    varied = len(predicted) > 2 and len(set(predicted)) > 1 and len(set(observed)) > 1
    return Foresight(
        forks=len(both),
        same_sign=same / len(both) if both else None,
        rank_correlation=float(spearmanr(predicted, observed).statistic) if varied else None,
    )


def summed_up(weight: float, differing: int, forks: Sequence[Fork], seed: int = 0) -> ForkSummary | None:
    """What the forks of one line say; None if there are none.

    Args:
        weight: w of the line [token/request].
        differing: decisions at which it would have taken another instance.
        forks: of this line.
        seed: of the resampling.
    """
    if not forks:
        return None
    predicted = {name: estimate([getattr(fork, name) for fork in forks], seed) for name in PREDICTIONS}
    known: dict[str, list[tuple[Fork, Change]]] = {
        name: [(fork, change) for fork in forks if (change := getattr(fork, name)) is not None] for name in MEASURES
    }
    known = {name: pairs for name, pairs in known.items() if pairs}
    return ForkSummary(
        weight=weight,
        differing=differing,
        forks=len(forks),
        near_requests=float(np.mean([fork.near.requests for fork in forks])),
        run_requests=float(np.mean([fork.run.requests for fork in forks])),
        predicted=predicted,
        ttft={name: estimate([change.ttft_s for _, change in pairs], seed) for name, pairs in known.items()},
        e2e={name: estimate([change.e2e_s for _, change in pairs], seed) for name, pairs in known.items()},
        foresight={name: {m: _foreseen(name, known[m]) for m in FORESEEN if m in known} for name in PREDICTIONS},
    )


def _foreseen(prediction: str, pairs: Sequence[tuple[Fork, Change]]) -> Foresight:
    return foresight([getattr(fork, prediction) for fork, _ in pairs], [change.e2e_s for _, change in pairs])
