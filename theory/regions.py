"""Where product and line choose differently, for figures and for many states: :func:`divergence_region`.

The mathematics: claims ``divergence_wedge`` (a pair, in ratios) and ``agreement_interval`` (a state, by its hull).
Shares are counted exactly; only the curves for plotting are floats.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from scheduler import formulas
from scheduler.domains import Domain
from scheduler.errors import BadInput
from scheduler.policies.linear import BATCH_SCALE, TOKEN_SCALE
from scheduler.state import ClusterState
from scheduler.state_json import StateFile
from theory.agreement import Divergence, divergence
from theory.hull import least_on_line
from theory.pairs import RATES, REQUESTS, TOKENS, WEIGHTS, exact
from theory.verdict import Verdict, verdict_on

#: Points of a curve.
Curve = npt.NDArray[np.float64]

RATIOS = Domain(0, None, low_open=True)
POINTS = Domain(2, 1_000_000, integer=True)


@dataclass(frozen=True, eq=False)
class Wedge:
    """The wedge of a pair in ratios: the rules differ strictly between the edges.

    Args:
        ratio: ``r = w B_j/P_i``; below 1 the line accepts batch where the product does not, above 1 it shuns it.
        token_ratio: ``u = P_j/P_i``, from 1 on.
        product_edge, line_edge: ``v = B_i/B_j`` up to which the product, the line prefers the instance i.
    """

    ratio: Fraction
    token_ratio: Curve
    product_edge: Curve
    line_edge: Curve


@dataclass(frozen=True, eq=False)
class Outline:
    """One state in the plane of P-token and batch size.

    Args:
        tokens, batch: every instance.
        hull_tokens, hull_batch: the vertices of the lower-left hull: what some line takes.
        hyperbola_tokens, hyperbola_batch: where the product is that of its choice; no instance lies below.
    """

    tokens: Curve
    batch: Curve
    hull_tokens: Curve
    hull_batch: Curve
    hyperbola_tokens: Curve
    hyperbola_batch: Curve


@dataclass(frozen=True, slots=True)
class Share:
    """On how many states a line at one weight chooses as the product does.

    Args:
        rate: its weight w [token/request].
        weight: the same as lambda.
        agrees, diverges: states on which the choices are the same, or differ, whatever the tie rule.
        ties: states on which the tie rule decides.
    """

    rate: Fraction
    weight: Fraction
    agrees: int
    diverges: int
    ties: int

    @property
    def count(self) -> int:
        """All states."""
        return self.agrees + self.diverges + self.ties

    @property
    def diverging(self) -> Fraction:
        """The share of states on which the choices differ."""
        return Fraction(self.diverges, self.count)


@dataclass(frozen=True, eq=False)
class Region:
    """What :func:`divergence_region` found.

    Args:
        wedges: one a ratio.
        outline: of the first state, or None without states.
        shares: one a weight, in the order given.
        count: number of states.
    """

    wedges: tuple[Wedge, ...]
    outline: Outline | None
    shares: tuple[Share, ...]
    count: int

    def unicode(self) -> str:
        """The shares as lines for a terminal."""
        lines = [f"{self.count} states"]
        for share in self.shares:
            head = f"w = {float(share.rate):g} (lambda = {float(share.weight):.3g})"
            lines.append(f"{head}: differs on {share.diverges}, tie on {share.ties}, agrees on {share.agrees}")
        return "\n".join(lines)

    def latex(self) -> str:
        """The shares as the rows of a table."""
        rows = [
            rf"{float(share.rate):g} & {float(share.weight):.3g} & {share.diverges} & {share.ties} & {share.agrees}"
            for share in self.shares
        ]
        head = r"$w$ & $\lambda$ & differs & tie & agrees"
        body = " \\\\\n".join([head, *rows])
        return f"\\begin{{tabular}}{{rrrrr}}\n{body}\n\\end{{tabular}}"

    def __str__(self) -> str:
        return self.unicode()


def divergence_region(
    states: Iterable[Any] = (),
    *,
    weights: Any = None,
    rates: Any = None,
    ratios: Any = (Fraction(1, 4), 4),
    token_ratio_max: float = 4.0,
    points: int = 101,
    token_scale: Any = TOKEN_SCALE,
    batch_scale: Any = BATCH_SCALE,
) -> Region:
    """The wedge, the hull and the hyperbola for figures, and on which share of states a weight differs.

    Args:
        states: a recorded trace or a generated distribution of states, read once; each a
            :class:`~scheduler.StateFile`, a pair ``(ClusterState, Request)``, or a list of pairs ``(P, B)``.
        weights: one lambda in (0, 1] or several.
        rates: instead, one w >= 0 or several [token/request].
        ratios: ``r = w B_j/P_i`` of the wedges, > 0, one or several.
        token_ratio_max: greatest ``u`` of the wedges, > 1.
        points: of each curve.
        token_scale, batch_scale: what lambda refers to [token, request].

    Raises:
        BadInput: for both weights and rates, for weights without states, or a value outside its domain; a fault in a
            state is reported with the state's place in the sequence.

    Example:
        >>> region = divergence_region([[(160, 1), (32, 4)], [(9, 1), (5, 2)], [(1, 2), (3, 1)]], rates=[1, 4])
        >>> print(region)
        3 states
        w = 1 (lambda = 0.996): differs on 1, tie on 0, agrees on 2
        w = 4 (lambda = 0.985): differs on 1, tie on 1, agrees on 1
        >>> region.wedges[0].line_edge[-1].item(), region.outline.hull_tokens.tolist()
        (13.0, [32.0, 160.0])

    Source: claims ``divergence_wedge``, ``agreement_interval``.
    """
    scales = Fraction(exact("token_scale", token_scale, TOKENS)), Fraction(exact("batch_scale", batch_scale, REQUESTS))
    grid = _grid(weights, rates, scales)
    POINTS.check("points", points)
    if exact("token_ratio_max", token_ratio_max, RATIOS) <= 1:
        raise BadInput("token_ratio_max", token_ratio_max, "a finite number > 1")
    wedges = tuple(_wedge(ratio, float(token_ratio_max), points) for ratio in _several("ratios", ratios, RATIOS))
    counted = [Counter[Verdict]() for _ in grid]
    outline, count = None, 0
    for found in _found(states):
        outline = _outline(found, points) if outline is None else outline
        count += 1
        for rate, counter in zip(grid, counted, strict=True):
            counter[_verdict(found, rate)] += 1
    if grid and not count:
        raise BadInput("states", 0, "at least one state to count weights on")
    return Region(wedges, outline, tuple(_share(rate, c, scales) for rate, c in zip(grid, counted, strict=True)), count)


def _share(rate: Fraction, counter: Counter[Verdict], scales: tuple[Fraction, Fraction]) -> Share:
    return Share(
        rate=rate,
        weight=formulas.weight_of_rate(rate, *scales),
        agrees=counter[Verdict.AGREES],
        diverges=counter[Verdict.DIVERGES],
        ties=counter[Verdict.TIE],
    )


def _several(field: str, value: Any, domain: Domain) -> list[Fraction]:
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return [Fraction(exact(field, value, domain))]
    return [Fraction(exact(f"{field}[{index}]", each, domain)) for index, each in enumerate(value)]


def _grid(weights: Any, rates: Any, scales: tuple[Fraction, Fraction]) -> list[Fraction]:
    if weights is not None and rates is not None:
        raise BadInput("weights", weights, "either weights or rates, not both")
    if rates is not None:
        return _several("rates", rates, RATES)
    if weights is None:
        return []
    return [formulas.exchange_rate(weight, *scales) for weight in _several("weights", weights, WEIGHTS)]


def _found(states: Iterable[Any]) -> Iterator[Divergence]:
    if isinstance(states, ClusterState | StateFile | str) or not hasattr(states, "__iter__"):
        raise BadInput("states", states, "a sequence of states; put a single one into a list")
    for index, state in enumerate(states):
        given: Sequence[Any] = (state, None)
        if isinstance(state, StateFile):
            given = (state.state, state.request)
        elif isinstance(state, tuple) and len(state) == 2 and isinstance(state[0], ClusterState):
            given = state
        try:
            found = divergence(*given)
        except BadInput as fault:
            raise BadInput(f"states[{index}].{fault.field}", fault.value, fault.expected, fault.hint) from None
        if not isinstance(found, Divergence):
            raise BadInput(f"states[{index}]", state, "numbers: symbols cannot be counted")
        yield found


def _verdict(found: Divergence, rate: Fraction) -> Verdict:
    """The verdict at one weight; for a single choice its interval tells it, without another look at the instances."""
    if len(found.choices) > 1 or not rate:
        return verdict_on(found.ties, least_on_line(found.points, rate))
    (choice,) = found.choices
    if choice.low < rate < choice.high:
        return Verdict.AGREES
    return Verdict.TIE if rate in (choice.low, choice.high) else Verdict.DIVERGES


def _wedge(ratio: Fraction, token_ratio_max: float, points: int) -> Wedge:
    token_ratio = np.linspace(1.0, token_ratio_max, points)
    return Wedge(ratio, token_ratio, token_ratio.copy(), formulas.wedge_edge(token_ratio, float(ratio)))


def _outline(found: Divergence, points: int) -> Outline:
    tokens, batch = (np.array([float(value) for value in column]) for column in zip(*found.points, strict=True))
    hull = [found.points[stretch.instances[0]] for stretch in found.stretches]
    hull_tokens, hull_batch = (np.array([float(value) for value in column]) for column in zip(*hull, strict=True))
    least = float(found.own.p_token * found.own.batch_size)
    low, high = min(hull_batch.min(), least / hull_tokens.max()), max(hull_batch.max(), least / hull_tokens.min())
    curve = np.geomspace(low / 2, high * 2, points)
    return Outline(tokens, batch, hull_tokens, hull_batch, least / curve, curve)
