"""Cost of one exact divergence: against a search of a weight grid and against its plain version, in turns.

The grid finds the least line at each of 999 weights and tells the interval to a thousandth of lambda only; the plain
version asks the formulas for every instance. Both are given the instances as read; reading a state has its own row.
"""

from __future__ import annotations

import datetime as dt
import timeit
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from benchmarks.measure import machine, save, shown, spread
from benchmarks.readers import REQUEST, state_of
from theory.agreement import divergence
from theory.hull import stretches_by_pairs
from theory.pairs import pairs_of

ROUNDS = 9
#: Weights lambda = 1/1000 .. 999/1000.
GRID = np.arange(1, 1000)


def grid_in_numpy(pairs: list[tuple[int, int]], choice: int) -> tuple[int, int]:
    """First and last thousandth of lambda at which the line takes the choice; all weights at once."""
    tokens, batch = np.array(pairs, dtype=np.int64).T
    scores = np.outer(GRID, tokens) + np.outer(1000 - GRID, 256 * batch)
    taken = np.flatnonzero(scores[:, choice] == scores.min(axis=1)) + 1
    return int(taken[0]), int(taken[-1])


def grid_in_python(pairs: list[tuple[int, int]], choice: int) -> tuple[int, int]:
    """The same, one weight after the other."""
    taken = []
    for weight in range(1, 1000):
        scores = [weight * tokens + (1000 - weight) * 256 * batch for tokens, batch in pairs]
        if scores[choice] == min(scores):
            taken.append(weight)
    return taken[0], taken[-1]


def ways(instances: int) -> dict[str, Callable[[], Any]]:
    """The ways from instances to the interval; all must tell the same."""
    state = state_of(instances)
    pairs = pairs_of(state, REQUEST)
    fractions = [(Fraction(tokens, 7), Fraction(batch, 3)) for tokens, batch in pairs]
    arc = [(i * i + 1, instances - i) for i in range(instances)]
    found = divergence(pairs)
    assert len(divergence(arc).stretches) == instances
    low, high = grid_in_numpy(pairs, found.choice)
    assert grid_in_python(pairs, found.choice) == (low, high)
    assert low - 1 <= found.own.weight_low * 1000 <= low <= high <= found.own.weight_high * 1000 <= high + 1
    assert stretches_by_pairs(pairs) == found.stretches
    return {
        "pairs": lambda: divergence(pairs),
        "state": lambda: divergence(state, REQUEST),
        "state and a range": lambda: divergence(state, REQUEST, weight=(Fraction(1, 10), 1)),
        "all on the hull and a range": lambda: divergence(arc, weight=(Fraction(3, 10), 1)),
        "pairs of fractions": lambda: divergence(fractions),
        "plain hull": lambda: stretches_by_pairs(pairs),
        "grid in numpy": lambda: grid_in_numpy(pairs, found.choice),
        "grid in python": lambda: grid_in_python(pairs, found.choice),
    }


def run() -> None:
    """Measure, print, save."""
    rows: dict[str, Any] = {}
    for instances in (16, 64):
        timed = ways(instances)
        times: dict[str, list[float]] = {name: [] for name in timed}
        for _ in range(ROUNDS):
            for name, way in timed.items():
                count = 5 if name in ("plain hull", "grid in python") else 200
                times[name].append(timeit.timeit(way, number=count) / count * 1e6)
        rows[str(instances)] = {name: spread(values) for name, values in times.items()}
        for name in ("plain hull", "grid in numpy", "grid in python"):
            ratios = [a / b for a, b in zip(times[name], times["pairs"], strict=True)]
            rows[str(instances)][f"{name} over pairs"] = spread(ratios)
        print(f"divergence, {instances} instances")
        for name, row in rows[str(instances)].items():
            print(f"  {name:28} {shown(row, 1)}{'x' if 'over' in name else ' us'}")
    result = {
        "rounds": ROUNDS,
        "grid_weights": len(GRID),
        "us_per_call": rows,
        "machine": machine(),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "command": "make bench BENCH_ARGS=divergence",
    }
    print(f"saved {save('divergence', result).name}")
