"""Whether a line and the product choose alike: at one weight, and over a range of weights."""

from __future__ import annotations

import bisect
import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from theory.hull import Point, Rate, Stretch, least_on_line, on_edges


class Verdict(enum.Enum):
    """How a line's choice and the product's compare, whatever the tie rule that both share."""

    AGREES = "agrees"  # both have the same least instances
    DIVERGES = "diverges"  # they have none in common
    TIE = "the tie rule decides"  # some in common, not all; over a range: at single weights, the rest being alike
    DEPENDS = "depends on the weight"  # over a range: not alike, not even but for single weights
    UNDECIDED = "undecided"  # symbols only: the solver does not know


def verdict_on(product: Iterable[int], line: Iterable[int]) -> Verdict:
    """Compare the instances with the least product and those with the least line.

    Example:
        >>> verdict_on({0, 1}, {1}), verdict_on({0}, {1})
        (<Verdict.TIE: 'the tie rule decides'>, <Verdict.DIVERGES: 'diverges'>)
    """
    product, line = set(product), set(line)
    if product == line:
        return Verdict.AGREES
    return Verdict.TIE if product & line else Verdict.DIVERGES


@dataclass(frozen=True, slots=True)
class Piece:
    """Weights at which a line takes the same instances.

    Args:
        low, high: its ends [token/request]. A piece with equal ends is a single weight; any other piece reaches as far
            as the single weights beside it leave, so neighbours never overlap.
        instances: those with the least line.
        verdict: that choice against the product's.
    """

    low: Rate
    high: Rate
    instances: tuple[int, ...]
    verdict: Verdict


def overall(pieces: Sequence[Piece]) -> Verdict:
    """One verdict for a range of weights."""
    found = {piece.verdict for piece in pieces}
    if len(found) == 1:
        return found.pop()
    return Verdict.TIE if len({piece.verdict for piece in pieces if piece.low < piece.high}) == 1 else Verdict.DEPENDS


@dataclass(frozen=True, slots=True)
class Comparison:
    """A line at one weight, or over a range of weights, against the product.

    Args:
        low, high: the weights, equal for one weight [token/request].
        verdict: over all of them.
        pieces: the range cut where the line's choice changes, by rising weight.
    """

    low: Rate
    high: Rate
    verdict: Verdict
    pieces: tuple[Piece, ...]

    @property
    def instances(self) -> tuple[int, ...]:
        """All instances that the line takes somewhere in the range, alone or in a tie."""
        return tuple(sorted({index for piece in self.pieces for index in piece.instances}))


def compare(
    points: Sequence[Point], found: Sequence[Stretch], product: Sequence[int], low: Fraction, high: Rate
) -> Comparison:
    """Compare a line over a range of weights with the product.

    Args:
        points: ``(P, B)`` of every instance.
        found: their hull.
        product: the instances with the least product.
        low, high: the range; ``high`` may be ``math.inf``, and is then no weight itself.
    """
    first = bisect.bisect_right([stretch.low for stretch in found], low) - 1
    if low == high:
        inside = found[first].low < low
        pieces = [_piece(product, low, low, found[first].instances if inside else least_on_line(points, low))]
    else:
        pieces = list(_walked(points, found[first:], product, low, high))
    return Comparison(low, high, overall(pieces), tuple(pieces))


def _piece(product: Sequence[int], low: Rate, high: Rate, instances: tuple[int, ...]) -> Piece:
    return Piece(low, high, instances, verdict_on(product, instances))


def _walked(
    points: Sequence[Point], found: Sequence[Stretch], product: Sequence[int], low: Fraction, high: Rate
) -> Iterator[Piece]:
    """The pieces of a range, stretch by stretch; the first stretch begins at ``low`` or holds it."""
    between = on_edges(points, found)
    for place, stretch in enumerate(found):
        if stretch.low > high:
            return
        begin = max(low, stretch.low)
        if begin == stretch.low:
            before = found[place - 1].instances if place else ()
            edge = tuple(sorted((*before, *between[place], *stretch.instances)))
            at_begin = edge if place else least_on_line(points, Fraction(begin))
            if at_begin != stretch.instances:  # equal only at weight 0, and then one piece
                yield _piece(product, begin, begin, at_begin)
        if begin < high:
            yield _piece(product, begin, min(stretch.high, high), stretch.instances)
