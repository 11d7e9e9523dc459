"""A whole census: one run of the product, its decisions counted, and forks where a line differs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from replay.census import watch
from replay.census_counts import WEIGHTS, Counts, count, published_weights
from replay.census_effects import ForkSummary, summed_up
from replay.census_findings import count_findings, found_at
from replay.census_fork import FORK_WEIGHTS, HORIZON_S, SAMPLES, Fork, Task, Trunk, forked, sampled
from replay.sim.cluster import Cluster
from replay.sim.parts import Prepared, prepare
from scheduler.domains import TIME_DOMAIN, Domain
from scheduler.errors import BadInput
from scheduler.state import Request

WEIGHT_DOMAIN = Domain(0, 1e12, low_open=True, unit="token/request")
SAMPLES_DOMAIN = Domain(0, 100_000, integer=True, unit="fork")

#: ``progress(what, done, of)``: ``what`` is ``run``, ``detector`` (requests) or ``forks``.
Progress = Callable[[str, int, int], None]


class Census(msgspec.Struct, frozen=True, kw_only=True):
    """What a census found.

    Args:
        seed: of the run, of the samples and of the bootstrap.
        horizon_s: what counts as near a fork [s].
        counts: over all decisions.
        lines: what the forks of each line say; lines without a fork are left out.
        forks: every fork, by weight and in order of the run.
        forks_wanted: how many there would have been without an interrupt.
        interrupted: whether the user stopped the forks.
    """

    seed: int
    horizon_s: float
    counts: Counts
    lines: tuple[ForkSummary, ...]
    forks: tuple[Fork, ...]
    forks_wanted: int
    interrupted: bool


def take_census(
    requests: Sequence[Request] | Prepared,
    cluster: Cluster,
    *,
    seed: int = 0,
    closed_loop: bool = False,
    until_s: float | None = None,
    weights: Sequence[float] | None = None,
    fork_weights: Sequence[float] = FORK_WEIGHTS,
    samples: int = SAMPLES,
    horizon_s: float = HORIZON_S,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Census:
    """Simulate the product, count, fork, sum up.

    Args:
        requests, cluster, closed_loop, until_s: see :func:`replay.sim.run.simulate`.
        seed: see :class:`Census`.
        weights: lines to count [token/request]; None for the default range and the published ones.
        fork_weights: lines to fork at [token/request].
        samples: forks for each of them, at most; 0 for none.
        horizon_s: see :class:`Census`.
        jobs: processes for the forks; the result does not depend on it.
        progress: told how far it is.

    Returns:
        The census. An interrupt by the user while it forks ends it early, with what is done.

    Raises:
        BadInput: a value outside its domain, a weight twice, or no request that could be routed.

    Example:
        >>> from replay.sim.cluster import roofline_cluster
        >>> two = [Request(id=i, arrival_s=0.0, prompt_tokens=100, output_tokens=9) for i in range(2)]
        >>> found = take_census(two, roofline_cluster(2), weights=(1.0,))
        >>> found.counts.decisions, found.counts.weights[0].differing, found.lines
        (2, 0, ())

    Source: claims ``agreement_interval``, ``marginal_delay``, ``decode_offset``.
    """
    weights = (*WEIGHTS, *published_weights()) if weights is None else checked_weights("weights", weights)
    fork_weights = checked_weights("fork_weights", fork_weights)
    SAMPLES_DOMAIN.check("samples", samples)
    TIME_DOMAIN.check("horizon_s", horizon_s)
    prepared = requests if isinstance(requests, Prepared) else prepare(requests)
    total = len(prepared.requests)
    record, decisions = watch(
        prepared,
        cluster,
        fork_weights=fork_weights,
        seed=seed,
        closed_loop=closed_loop,
        until_s=until_s,
        progress=None if progress is None else lambda done: progress("run", done, total),
    )
    if not len(decisions):
        raise BadInput("requests", f"{total}, none of them routed", "at least one that fits and arrives in time")
    found = found_at(
        prepared,
        cluster,
        seed=seed,
        closed_loop=closed_loop,
        until_s=until_s,
        progress=None if progress is None else lambda done: progress("detector", done, total),
    )
    options = {"closed_loop": closed_loop, "until_s": until_s, "horizon_s": horizon_s}
    trunk = Trunk.of(prepared, cluster, record, decisions, **options)  # type: ignore[arg-type]
    tasks = [(weight, number) for weight in fork_weights for number in sampled(decisions, weight, samples, seed)]
    forks, interrupted = _forks(trunk, tasks, jobs, progress)
    counts = count(decisions, weights, findings=count_findings(decisions, found, fork_weights))
    lines = (
        summed_up(
            weight,
            int(decisions.differs(weight).sum()),
            [fork for fork in forks if fork.weight == weight],
            seed,
        )
        for weight in fork_weights
    )
    return Census(
        seed=seed,
        horizon_s=horizon_s,
        counts=counts,
        lines=tuple(line for line in lines if line is not None),
        forks=tuple(forks),
        forks_wanted=len(tasks),
        interrupted=interrupted,
    )


def checked_weights(name: str, weights: Sequence[float]) -> tuple[float, ...]:
    """Weights in their domain, each once, rising.

    Args:
        name: of the option, for messages.
        weights: in any order [token/request].

    Raises:
        BadInput: a weight outside its domain, or twice.

    Example:
        >>> checked_weights("weights", [256, 16])
        (16.0, 256.0)
    """
    for weight in weights:
        WEIGHT_DOMAIN.check(name, weight)
        if list(weights).count(weight) > 1:
            raise BadInput(name, weight, "each weight once")
    return tuple(sorted(float(weight) for weight in weights))


def _forks(trunk: Trunk, tasks: Sequence[Task], jobs: int, progress: Progress | None) -> tuple[list[Fork], bool]:
    """The forks, and whether the user stopped them."""
    done: list[Fork] = []
    try:
        for fork in forked(trunk, tasks, jobs=jobs):
            done.append(fork)
            if progress is not None:
                progress("forks", len(done), len(tasks))
    except KeyboardInterrupt:
        return done, True
    return done, False
