"""Where product and line choose alike in one state: :func:`divergence`.

The mathematics: claims ``product_choice_is_a_tuned_line`` and ``agreement_interval``. All numbers are exact. The price
w of a batch slot runs from 0 to infinity, which is written ``math.inf``, so that ``low <= w <= high`` compares as it
reads.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from scheduler import formulas
from scheduler.errors import BadInput
from scheduler.policies.linear import BATCH_SCALE, TOKEN_SCALE
from scheduler.state import ClusterState, Request
from theory import agreement_text
from theory.hull import Point, Rate, Stretch, least_on_line, stretches
from theory.pairs import RATES, REQUESTS, TOKENS, WEIGHTS, exact, is_symbolic, made_whole, pairs_of, range_of
from theory.verdict import Comparison, Verdict, compare

if TYPE_CHECKING:
    from theory.agreement_symbolic import SymbolicDivergence

#: A number as a caller may give it.
Number = int | float | Fraction | decimal.Decimal | np.integer[Any] | np.floating[Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """A product choice, and the lines that take it too.

    Args:
        instances: it and its twins, which have equal indicators.
        p_token: its P-token [token].
        batch_size: its batch size [request].
        low, high: a line takes it exactly for ``low <= w <= high``, and it alone strictly inside [token/request].
        weight_low, weight_high: the same interval in lambda; ``weight_low`` belongs to ``high``.
        implied_weight: its own ratio as lambda.
    """

    instances: tuple[int, ...]
    p_token: Fraction
    batch_size: Fraction
    low: Rate
    high: Rate
    weight_low: Fraction
    weight_high: Fraction
    implied_weight: Fraction

    @property
    def implied_rate(self) -> Fraction:
        """Its own ratio ``P_k/B_k``, always strictly inside the interval [token/request]."""
        return formulas.tuned_rate(self.p_token, self.batch_size)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Divergence:
    """What the product chooses in one state, and which lines choose the same.

    Args:
        choice: the product's choice with ties to the lowest index.
        ties: all instances with the least product.
        choices: those that differ in their indicators, by rising weight, each with its interval; usually one.
        connected: True if the intervals of all choices together are one interval, which fails for some ties.
        margin: least other product divided by the least one, less 1; 0 for a tie, None for a single instance.
        stretches: which instance a line takes at which weight, over all weights (0, inf).
        comparison: the line that was asked about, or None.
        points: ``(P, B)`` of every instance.
        ids: names of the instances, for people.
        token_scale, batch_scale: what lambda refers to [token, request].
    """

    choice: int
    ties: tuple[int, ...]
    choices: tuple[Choice, ...]
    connected: bool
    margin: Fraction | None
    stretches: tuple[Stretch, ...]
    comparison: Comparison | None
    points: tuple[Point, ...]
    ids: tuple[str, ...]
    token_scale: Fraction
    batch_scale: Fraction

    @property
    def own(self) -> Choice:
        """The choice with ties to the lowest index, and its interval."""
        return next(found for found in self.choices if self.choice in found.instances)

    @property
    def low(self) -> Rate:
        """The least weight at which a line takes the choice [token/request]."""
        return self.own.low

    @property
    def high(self) -> Rate:
        """The greatest weight at which a line takes the choice, or ``math.inf`` [token/request]."""
        return self.own.high

    @property
    def implied_rate(self) -> Fraction:
        """``P_k/B_k`` of the choice [token/request]."""
        return self.own.implied_rate

    @property
    def verdict(self) -> Verdict | None:
        """The verdict on the weight or range that was asked about, or None."""
        return None if self.comparison is None else self.comparison.verdict

    def compare(self, *, weight: Any = None, rate: Any = None) -> Comparison:
        """Compare the line at another weight, or over another range; arguments as for :func:`divergence`."""
        asked = _asked(weight, rate, self.token_scale, self.batch_scale)
        if asked is None:
            raise BadInput("weight", None, "a weight or a rate to compare")
        return compare(made_whole(self.points), self.stretches, self.ties, *asked)

    def line_takes(self, rate: Any) -> tuple[int, ...]:
        """The instances with the least line at one weight [token/request]."""
        return least_on_line(self.points, Fraction(exact("rate", rate, RATES)))

    def unicode(self) -> str:
        """For a terminal."""
        return agreement_text.unicode(self)

    def latex(self) -> str:
        """For the book: the choice, its interval and the breakdown by weight, as one ``aligned`` block."""
        return agreement_text.latex(self)

    def __str__(self) -> str:
        return self.unicode()


@overload
def divergence(
    state: ClusterState | Sequence[tuple[Number, Number]],
    request: Request | None = None,
    *,
    weight: Any = None,
    rate: Any = None,
    token_scale: Any = TOKEN_SCALE,
    batch_scale: Any = BATCH_SCALE,
) -> Divergence: ...


@overload
def divergence(
    state: Sequence[tuple[Any, Any]],
    request: None = None,
    *,
    weight: Any = None,
    rate: Any = None,
    token_scale: Any = TOKEN_SCALE,
    batch_scale: Any = BATCH_SCALE,
    assuming: Sequence[Any] = (),
) -> SymbolicDivergence: ...


def divergence(
    state: Any,
    request: Request | None = None,
    *,
    weight: Any = None,
    rate: Any = None,
    token_scale: Any = TOKEN_SCALE,
    batch_scale: Any = BATCH_SCALE,
    assuming: Sequence[Any] = (),
) -> Divergence | SymbolicDivergence:
    """When does a fixed weight choose another instance than the product, in this state?

    Args:
        state: a state with its request, or a sequence of pairs ``(P, B)``: P-token and batch size of each instance,
            both > 0. Numbers of any size and count, or up to three pairs that hold SymPy expressions.
        request: the request at hand, for a :class:`ClusterState`.
        weight: lambda in (0, 1] to ask about, or a range of it as a pair.
        rate: the same as a price w >= 0 of a batch slot [token/request]; a range may end at ``math.inf``.
        token_scale, batch_scale: what lambda refers to: ``w = ((1 - lambda)/lambda) (token_scale/batch_scale)``; by
            default the scales of the rule ``linear`` [token, request].
        assuming: for symbols, SymPy conditions that hold besides ``P > 0``, ``B > 0``.

    A float means the decimal that Python prints for it: 0.1 is one tenth.

    Returns:
        A :class:`Divergence`, or for symbols a :class:`~theory.agreement_symbolic.SymbolicDivergence`.

    Raises:
        BadInput: for an empty list, a value that is not positive, no request for a state, both a weight and a rate, or
            assumptions that contradict each other; it names the instance or the assumptions.

    Example:
        >>> found = divergence([(160, 1), (32, 4), (20, 10)], rate=256)
        >>> found.choice, found.low, found.high, found.implied_rate, found.margin
        (1, Fraction(2, 1), Fraction(128, 3), Fraction(8, 1), Fraction(1, 4))
        >>> print(found)
        product: instance 1 (P = 32, B = 4), next best 25% more
          agrees with a line for w in [2, 128/3], lambda in [6/7, 128/129]; its own ratio is w = 8, lambda = 32/33
        line: instance 2 for w in (0, 2), instance 1 for w in (2, 128/3), instance 0 for w in (128/3, inf)
        at w = 256: instance 0, diverges

    Source: claims ``product_choice_is_a_tuned_line``, ``agreement_interval``.
    """
    points = pairs_of(state, request)
    scales = Fraction(exact("token_scale", token_scale, TOKENS)), Fraction(exact("batch_scale", batch_scale, REQUESTS))
    if any(is_symbolic(value) for point in points for value in point):
        from theory.agreement_symbolic import symbolic_divergence  # loads the solver

        return symbolic_divergence(points, weight, rate, scales, assuming)
    if len(assuming):
        raise BadInput("assuming", list(assuming), "nothing, because all pairs are numbers")
    whole = made_whole(points)
    products = [tokens * batch for tokens, batch in whole]
    least = min(products)
    ties = tuple(index for index, product in enumerate(products) if product == least)
    hull = stretches(whole)
    choices = tuple(_choice(points, stretch, scales) for stretch in hull if not set(ties).isdisjoint(stretch.instances))
    others = [product for index, product in enumerate(products) if index != ties[0]]
    asked = _asked(weight, rate, *scales)
    return Divergence(
        choice=ties[0],
        ties=ties,
        choices=choices,
        connected=all(a.high == b.low for a, b in pairwise(choices)),
        margin=Fraction(min(others)) / least - 1 if others else None,
        stretches=hull,
        comparison=None if asked is None else compare(whole, hull, ties, *asked),
        points=tuple(points),
        ids=state.ids if isinstance(state, ClusterState) else tuple(map(str, range(len(points)))),
        token_scale=scales[0],
        batch_scale=scales[1],
    )


def _choice(points: Sequence[Point], stretch: Stretch, scales: tuple[Fraction, Fraction]) -> Choice:
    tokens, batch = map(Fraction, points[stretch.instances[0]])

    def in_lambda(rate: Rate) -> Fraction:
        return Fraction(0) if rate == math.inf else formulas.weight_of_rate(rate, *scales)

    return Choice(
        instances=stretch.instances,
        p_token=tokens,
        batch_size=batch,
        low=stretch.low,
        high=stretch.high,
        weight_low=in_lambda(stretch.high),
        weight_high=in_lambda(stretch.low),
        implied_weight=in_lambda(formulas.tuned_rate(tokens, batch)),
    )


def _asked(weight: Any, rate: Any, token_scale: Fraction, batch_scale: Fraction) -> tuple[Fraction, Rate] | None:
    """The range of prices that was asked about."""
    if weight is not None and rate is not None:
        raise BadInput("weight", weight, "either a weight or a rate, not both")
    if rate is not None:
        low, high = range_of("rate", rate, RATES)
        return Fraction(low), high if high == math.inf else Fraction(high)
    if weight is None:
        return None
    ends = range_of("weight", weight, WEIGHTS)
    greatest, least = (formulas.exchange_rate(Fraction(end), token_scale, batch_scale) for end in ends)
    return least, greatest
