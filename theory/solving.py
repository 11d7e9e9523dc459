"""Questions about SymPy conditions that SymPy cannot decide, asked of the solver."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from functools import reduce
from typing import Any

import sympy as sp
import z3

from proofs.ops import Z3
from proofs.proving import Undecided, satisfy
from proofs.terms import number
from scheduler.errors import BadInput
from scheduler.ops import Ops
from theory.ops import SYMPY, rational

#: Time for one question [ms].
QUESTION_MS = 2_000

_RELATIONS: dict[Any, Callable[[Any, Any], Any]] = {
    sp.StrictLessThan: lambda a, b: a < b,
    sp.LessThan: lambda a, b: a <= b,
    sp.StrictGreaterThan: lambda a, b: a > b,
    sp.GreaterThan: lambda a, b: a >= b,
    sp.Equality: lambda a, b: a == b,
    sp.Unequality: lambda a, b: a != b,
}


class Solver:
    """SymPy expressions as solver terms, with what SymPy assumes of the symbols as premises.

    Args:
        premises: SymPy conditions that hold throughout.

    Example:
        >>> a, b = sp.symbols("a b", positive=True)
        >>> solver = Solver([a < b])
        >>> solver.implies(a**2 < a * b), solver.implies(a > 1), Solver([a < b, b < a]).possible()
        (True, False, False)
    """

    def __init__(self, premises: Iterable[Any]) -> None:
        self._symbols: dict[Any, Any] = {}
        self._defined: list[Any] = []
        self.premises = [self.term(premise) for premise in premises]

    def possible(self, *conditions: Any) -> bool | None:
        """True if some values fulfil the premises and the conditions (SymPy or Z3), None if it is not known."""
        asked = [condition if isinstance(condition, z3.ExprRef) else self.term(condition) for condition in conditions]
        try:
            return satisfy([*self._of_symbols(), *self.premises, *asked], timeout_ms=QUESTION_MS) is not None
        except Undecided:
            return None

    def implies(self, condition: Any) -> bool:
        """True if the premises are known to imply the condition."""
        term = condition if isinstance(condition, z3.ExprRef) else self.term(condition)
        return self.possible(z3.Not(term)) is False

    def deciding(self) -> Ops:
        """The world of SymPy in which ``where``, ``max_`` and ``min_`` give what the premises imply, if they do."""

        def where(condition: Any, a: Any, b: Any) -> Any:
            a, b = rational(a), rational(b)
            if condition in (True, False):
                return a if condition else b
            if self.implies(condition):
                return a
            if self.implies(sp.Not(condition)):
                return b
            forms = (condition, condition.reversed)  # a Piecewise within may have turned it round
            inside, outside = (dict.fromkeys(forms, value) for value in (sp.true, sp.false))
            return sp.Piecewise((a.subs(inside), condition), (b.subs(outside), True))

        def greater(a: Any, b: Any) -> Any:
            return next((x for x, y in ((a, b), (b, a)) if self._is_greater(x, y)), sp.Max(a, b))

        def lesser(a: Any, b: Any) -> Any:
            return next((x for x, y in ((a, b), (b, a)) if self._is_greater(y, x)), sp.Min(a, b))

        return dataclasses.replace(SYMPY, where=where, max_=greater, min_=lesser)

    def _is_greater(self, a: Any, b: Any) -> bool:
        """True if a is known to be at least b; choices between branches are left to SymPy."""
        a, b = rational(a), rational(b)
        if a == sp.oo or b == sp.oo:
            return bool(a == sp.oo)
        return not (a.has(sp.Piecewise) or b.has(sp.Piecewise)) and self.implies(sp.Ge(a, b))

    def term(self, expression: Any) -> Any:
        """The solver term of an expression.

        Raises:
            BadInput: naming the operation that could not be read.
        """
        expression = sp.sympify(expression)
        if expression in (sp.true, sp.false):
            return z3.BoolVal(bool(expression))
        if isinstance(expression, sp.Number) and expression.is_finite:
            return number(rational_of(expression))
        if isinstance(expression, sp.Symbol):
            return self._symbols.setdefault(expression, z3.Real(f"{expression.name}!{len(self._symbols)}"))
        return self._combined(expression, [self.term(part) for part in expression.args])

    def _combined(self, expression: Any, parts: Sequence[Any]) -> Any:
        for kind, relation in _RELATIONS.items():
            if isinstance(expression, kind):
                return relation(*parts)
        if isinstance(expression, sp.Pow) and expression.exp.is_Integer:
            return self._power(parts[0], int(expression.exp))
        folds: dict[Any, Callable[[], Any]] = {
            sp.Add: lambda: z3.Sum(parts),
            sp.Mul: lambda: z3.Product(parts),
            sp.Max: lambda: reduce(Z3.max_, parts),
            sp.Min: lambda: reduce(Z3.min_, parts),
            sp.And: lambda: z3.And(parts),
            sp.Or: lambda: z3.Or(parts),
            sp.Not: lambda: z3.Not(parts[0]),
            sp.Equivalent: lambda: z3.And([part == parts[0] for part in parts]),
        }
        for kind, fold in folds.items():
            if isinstance(expression, kind):
                try:
                    return fold()
                except z3.Z3Exception:
                    raise BadInput(
                        "expression", expression, "conditions, and numbers only within comparisons"
                    ) from None
        expected = "arithmetic the solver can read: + - * /, whole powers, Max, Min and comparisons"
        raise BadInput("expression", expression, expected, f"{expression.func.__name__} could not be read")

    def _power(self, base: Any, exponent: int) -> Any:
        power = z3.Product([base] * abs(exponent))
        if exponent >= 0:
            return power
        self._defined.append(base != 0)
        return 1 / power

    def _of_symbols(self) -> list[Any]:
        found = list(self._defined)
        for symbol, term in self._symbols.items():
            if symbol.is_positive:
                found.append(term > 0)
            elif symbol.is_nonnegative:
                found.append(term >= 0)
            elif symbol.is_negative:
                found.append(term < 0)
            elif symbol.is_nonpositive:
                found.append(term <= 0)
            elif symbol.is_nonzero:
                found.append(term != 0)
            found += _wholeness(symbol, term)
        return found


def _wholeness(symbol: Any, term: Any) -> list[Any]:
    """What SymPy assumes of a symbol as a whole number."""
    if symbol.is_even:
        return [z3.IsInt(term / 2)]
    if symbol.is_odd:
        return [z3.IsInt((term - 1) / 2)]
    if symbol.is_integer:
        return [z3.IsInt(term)]
    return [z3.Not(z3.IsInt(term))] if symbol.is_integer is False else []


def rational_of(value: Any) -> Fraction:
    """A SymPy number as a Fraction; a float means its decimal."""
    return Fraction(int(value.p), int(value.q)) if isinstance(value, sp.Rational) else Fraction(str(value))
