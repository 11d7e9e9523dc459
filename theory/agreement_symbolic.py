"""Where product and line choose alike, with symbols for the indicators of up to three instances.

Which instance the product chooses then depends on the values: each instance is a candidate, with the condition under
which it is chosen and the interval of weights that it would have. Known facts settle what they can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy as sp

from scheduler import formulas
from scheduler.errors import BadInput
from theory.ops import rational
from theory.pairs import RATES, WEIGHTS, Pair, is_symbolic, range_of
from theory.solving import Solver
from theory.verdict import Verdict

#: More would print conditions that nobody can read.
INSTANCES_MAX = 3


@dataclass(frozen=True, slots=True)
class Candidate:
    """An instance as the product's choice.

    Args:
        index: of the instance.
        possible: whether some values that fulfil the assumptions make it the choice; None if that is not known.
        condition: when it is a product choice.
        low, high: a line then takes it, too, exactly for ``low <= w <= high``; ``high`` may be ``oo`` [token/request].
        implied_rate: its own ratio, strictly inside [token/request].
        weight_low, weight_high: the same interval in lambda.
    """

    index: int
    possible: bool | None
    condition: Any
    low: Any
    high: Any
    implied_rate: Any
    weight_low: Any
    weight_high: Any


@dataclass(frozen=True)
class SymbolicDivergence:
    """The candidates for the product's choice and their intervals.

    Args:
        candidates: one an instance.
        assumptions: what was assumed besides ``P > 0`` and ``B > 0``.
        rates: the weight or range that was asked about, as its two ends, or None.
        verdict: on it, if it is the same for all values that fulfil the assumptions; ``DEPENDS`` if not, ``UNDECIDED``
            if the solver does not know, None if nothing was asked.
    """

    candidates: tuple[Candidate, ...]
    assumptions: tuple[Any, ...]
    rates: tuple[Any, Any] | None
    verdict: Verdict | None

    def unicode(self) -> str:
        """For a terminal."""
        blocks = []
        for found in self.candidates:
            if found.possible is False:
                blocks.append(f"instance {found.index} is never the product's choice")
                continue
            parts = (("if", found.condition), ("from w =", found.low), ("to w =", found.high))
            blocks.append(f"instance {found.index} is the product's choice")
            blocks += [f"{word}\n{sp.pretty(value, use_unicode=True, wrap_line=False)}" for word, value in parts]
        if self.verdict is not None:
            blocks.append(f"the line {self.verdict.value}")
        return "\n".join(line.rstrip() for block in blocks for line in block.split("\n"))

    def latex(self) -> str:
        """For the book: one row a possible candidate, as one ``aligned`` block."""
        rows = [
            rf"k &= {found.index} \text{{ if }} {sp.latex(found.condition)}: & "
            rf"w &\in \left[{sp.latex(found.low)}, {sp.latex(found.high)}\right{')' if found.high == sp.oo else ']'}"
            for found in self.candidates
            if found.possible is not False
        ]
        body = " \\\\\n".join(rows)
        return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"

    def __str__(self) -> str:
        return self.unicode()


def symbolic_divergence(
    points: Sequence[Pair], weight: Any, rate: Any, scales: tuple[Fraction, Fraction], assuming: Sequence[Any]
) -> SymbolicDivergence:
    """See :func:`theory.agreement.divergence`.

    Example:
        >>> P, B = sp.symbols("P B", positive=True)
        >>> found = symbolic_divergence([(P, 4), (2 * P, B)], None, None, (Fraction(8192), Fraction(32)), [B < 2])
        >>> for candidate in found.candidates:
        ...     print(candidate.possible, candidate.condition, candidate.low, candidate.high)
        False 4*P <= 2*B*P 0 P/(4 - B)
        True 2*B*P <= 4*P -P/(B - 4) oo
    """
    if len(points) > INSTANCES_MAX:
        raise BadInput("instances", len(points), f"at most {INSTANCES_MAX} instances where some are symbolic")
    pairs = [(rational(tokens), rational(batch)) for tokens, batch in points]
    assumptions = tuple(map(sp.sympify, assuming))
    _refuse_what_is_not_positive(pairs)
    _refuse_contradictions(pairs, assumptions)
    solver = Solver([*_positive(pairs), *assumptions])
    asked = _asked(weight, rate, scales)
    if asked is not None and solver.possible(*asked[1]) is False:
        raise BadInput(*("rate", rate, "w >= 0") if weight is None else ("weight", weight, "0 < lambda <= 1"))
    return SymbolicDivergence(
        candidates=tuple(_candidate(solver, pairs, index, scales) for index in range(len(pairs))),
        assumptions=assumptions,
        rates=None if asked is None else asked[0],
        verdict=None if asked is None else _verdict(solver, pairs, *asked),
    )


def _positive(pairs: Sequence[Pair]) -> list[Any]:
    return [sp.Gt(value, 0) for pair in pairs for value in pair]


def _refuse_what_is_not_positive(pairs: Sequence[Pair]) -> None:
    for index, pair in enumerate(pairs):
        for field, value in zip(("p_token", "batch_size"), pair, strict=True):
            if value.is_positive is False or value.is_real is False:
                hint = "what SymPy assumes of its symbols excludes that" if value.free_symbols else ""
                raise BadInput(f"instances[{index}].{field}", value, "a positive quantity", hint)


def _refuse_contradictions(pairs: Sequence[Pair], assumptions: Sequence[Any]) -> None:
    for index, assumption in enumerate(assumptions):
        if not isinstance(assumption, sp.logic.boolalg.Boolean) or isinstance(assumption, sp.Symbol):
            raise BadInput(f"assuming[{index}]", assumption, "a SymPy condition such as P_1 < P_2")
        if assumption == sp.false:
            hint = "what SymPy assumes of its symbols excludes it"
            raise BadInput(f"assuming[{index}]", assumption, "a condition that can hold", hint)
    if Solver([*_positive(pairs), *assumptions]).possible() is not False:
        return
    needed = list(assumptions)
    for assumption in assumptions:  # leave out what the contradiction does not need
        rest = [other for other in needed if other is not assumption]
        if Solver([*_positive(pairs), *rest]).possible() is False:
            needed = rest
    if not needed:
        raise BadInput("instances", pairs, "indicators that can all be positive at once")
    raise BadInput("assuming", needed, "assumptions that can hold together, with all P and B positive")


def _candidate(solver: Solver, pairs: Sequence[Pair], index: int, scales: tuple[Fraction, Fraction]) -> Candidate:
    own, others = pairs[index], [pair for place, pair in enumerate(pairs) if place != index]
    condition = sp.And(*(sp.Le(own[0] * own[1], tokens * batch, evaluate=False) for tokens, batch in others))
    ops = solver.deciding()
    low = sp.sympify(formulas.agreement_low(ops, own, others))
    high = sp.sympify(formulas.agreement_high(ops, own, others, sp.oo))
    token_scale, batch_scale = map(rational, scales)
    return Candidate(
        index=index,
        possible=solver.possible(*(sp.Le(own[0] * own[1], tokens * batch) for tokens, batch in others)),
        condition=condition,
        low=low,
        high=high,
        implied_rate=formulas.tuned_rate(*own),
        weight_low=sp.Integer(0) if high == sp.oo else formulas.weight_of_rate(high, token_scale, batch_scale),
        weight_high=formulas.weight_of_rate(low, token_scale, batch_scale),
    )


def _asked(weight: Any, rate: Any, scales: tuple[Fraction, Fraction]) -> tuple[tuple[Any, Any], list[Any]] | None:
    """The two ends of the prices asked about, and what must hold of symbols in them."""
    if weight is not None and rate is not None:
        raise BadInput("weight", weight, "either a weight or a rate, not both")
    if rate is not None:
        if is_symbolic(rate):
            return (rate, rate), [sp.Ge(rate, 0)]
        low, high = map(_or_infinity, range_of("rate", rate, RATES))
        return (low, high), []
    if weight is None:
        return None
    token_scale, batch_scale = map(rational, scales)
    if is_symbolic(weight):
        price = formulas.exchange_rate(weight, token_scale, batch_scale)
        return (price, price), [sp.Gt(weight, 0), sp.Le(weight, 1)]
    least, greatest = map(rational, range_of("weight", weight, WEIGHTS))
    low, high = (formulas.exchange_rate(end, token_scale, batch_scale) for end in (greatest, least))
    return (low, high), []


def _or_infinity(value: Any) -> Any:
    return sp.oo if value == float("inf") else rational(value)


def _verdict(solver: Solver, pairs: Sequence[Pair], rates: tuple[Any, Any], given: Sequence[Any]) -> Verdict:
    """One verdict if it holds for all values; the two choices are compared by the rules' own scores."""
    w = sp.Dummy("w", nonnegative=True)
    low, high = rates
    given = [*given, w >= low] if high == sp.oo else [*given, w >= low, w <= high]
    products = [tokens * batch for tokens, batch in pairs]
    lines = [formulas.line(tokens, batch, w) for tokens, batch in pairs]
    best_product, best_line = _least(products), _least(lines)
    agree = sp.And(*(sp.Equivalent(a, b) for a, b in zip(best_product, best_line, strict=True)))
    common = sp.Or(*(sp.And(a, b) for a, b in zip(best_product, best_line, strict=True)))
    kinds = {
        Verdict.AGREES: agree,
        Verdict.DIVERGES: sp.Not(common),
        Verdict.TIE: sp.And(common, sp.Not(agree)),
    }
    found = {kind: solver.possible(*given, condition) for kind, condition in kinds.items()}
    if None in found.values():
        return Verdict.UNDECIDED
    possible = [kind for kind, answer in found.items() if answer]
    return possible[0] if len(possible) == 1 else Verdict.DEPENDS


def _least(scores: Sequence[Any]) -> list[Any]:
    return [sp.And(*(sp.Le(own, other) for other in scores if other is not own)) for own in scores]
