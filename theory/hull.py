"""The lower-left convex hull of instances in the plane of ``(P, B)``: which one a line takes, weight by weight.

As the price w of a batch slot rises from 0, the line ``P + w B`` walks down the vertices of the hull, from the fewest
tokens to the least batch. :func:`stretches` walks in one sorted pass; :func:`stretches_by_pairs` asks the formulas
for every instance and is the plain version it is tested against.
"""

from __future__ import annotations

import bisect
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from operator import itemgetter
from typing import Any

from scheduler import formulas
from scheduler.ops import SCALAR

#: A price of a batch slot: a Fraction, or ``math.inf`` where there is no upper end.
Rate = Fraction | float
#: ``(P, B)``, exact numbers.
Point = tuple[Any, Any]


@dataclass(frozen=True, slots=True)
class Stretch:
    """One vertex of the hull.

    Args:
        instances: the instances a line takes, more than one only if their indicators are equal.
        low, high: it takes exactly these for ``low < w < high`` [token/request]; ``high`` may be ``math.inf``.
    """

    instances: tuple[int, ...]
    low: Rate
    high: Rate


def vertices(points: Sequence[Point]) -> list[Point]:
    """The vertices by rising tokens and falling batch; points on an edge are none.

    Example:
        >>> vertices([(1, 9), (9, 1), (3, 3), (5, 5), (2, 6)])
        [(1, 9), (3, 3), (9, 1)]
    """
    chain: list[Point] = []
    for point in sorted(set(points)):
        tokens, batch = point
        if chain and batch >= chain[-1][1]:
            continue
        while len(chain) > 1:
            (first_tokens, first_batch), (tokens_between, batch_between) = chain[-2:]
            # The weight of indifference must rise from edge to edge; written without a division.
            if (tokens_between - first_tokens) * (batch_between - batch) < (tokens - tokens_between) * (
                first_batch - batch_between
            ):
                break
            chain.pop()
        chain.append(point)
    return chain


def _twins(points: Sequence[Point]) -> dict[Point, list[int]]:
    found: dict[Point, list[int]] = defaultdict(list)
    for index, point in enumerate(points):
        found[point].append(index)
    return found


def stretches(points: Sequence[Point]) -> tuple[Stretch, ...]:
    """Every vertex with the weights at which a line takes it, by rising weight; together they cover (0, inf).

    Example:
        >>> for stretch in stretches([(160, 1), (32, 4), (20, 10)]):
        ...     print(*stretch.instances, stretch.low, stretch.high)
        2 0 2
        1 2 128/3
        0 128/3 inf
    """
    chain, twins = vertices(points), _twins(points)
    ends: list[Rate] = [Fraction(0)]
    for (tokens, batch), (next_tokens, next_batch) in pairwise(chain):
        ends.append(Fraction(next_tokens - tokens, batch - next_batch))
    ends.append(math.inf)
    return tuple(Stretch(tuple(twins[point]), ends[place], ends[place + 1]) for place, point in enumerate(chain))


def on_edges(points: Sequence[Point], found: Sequence[Stretch]) -> list[list[int]]:
    """For each stretch, the instances inside the edge from the vertex before it to its own.

    Example:
        >>> points = [(1, 9), (9, 1), (5, 5), (6, 6)]
        >>> on_edges(points, stretches(points))
        [[], [2]]
    """
    chain = [points[stretch.instances[0]] for stretch in found]
    between: list[list[int]] = [[] for _ in chain]
    for index, (tokens, batch) in enumerate(points):
        place = bisect.bisect_left(chain, tokens, key=itemgetter(0))
        if not 0 < place < len(chain) or chain[place][0] == tokens:
            continue
        (first_tokens, first_batch), (last_tokens, last_batch) = chain[place - 1 : place + 1]
        if (tokens - first_tokens) * (first_batch - last_batch) == (last_tokens - first_tokens) * (first_batch - batch):
            between[place].append(index)
    return between


def stretches_by_pairs(points: Sequence[Point]) -> tuple[Stretch, ...]:
    """The same by definition: of every instance, the weights at which no other is less."""
    found = []
    for point, indices in _twins(points).items():
        own = Fraction(point[0]), Fraction(point[1])
        if any(batch == own[1] and tokens < own[0] for tokens, batch in points):
            continue
        low, high = formulas.agreement_low(SCALAR, own, points), formulas.agreement_high(SCALAR, own, points, math.inf)
        if low < high:
            found.append(Stretch(tuple(indices), Fraction(low), high))
    return tuple(sorted(found, key=lambda stretch: stretch.low))


def least_on_line(points: Sequence[Point], rate: Fraction | int) -> tuple[int, ...]:
    """The instances with the least ``P + w B``: those on an edge too, where the weight is that of the edge.

    Example:
        >>> least_on_line([(1, 9), (9, 1), (5, 5)], 1)
        (0, 1, 2)
    """
    numerator, denominator = rate.numerator, rate.denominator
    scores = [formulas.line(tokens * denominator, batch, numerator) for tokens, batch in points]
    least = min(scores)
    return tuple(index for index, score in enumerate(scores) if score == least)
