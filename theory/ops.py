"""SYMPY: the world of SymPy symbols. Fractions and whole numbers become exact rationals; floats are refused."""

from __future__ import annotations

from fractions import Fraction
from functools import reduce
from typing import Any

import sympy as sp

from scheduler.ops import Column, Number, Ops


def rational(value: Any) -> Any:
    """The exact SymPy form of a number; symbols and expressions pass.

    Raises:
        TypeError: for a float, whose binary value is hardly ever what was meant.
    """
    if isinstance(value, float):
        raise TypeError(f"a float ({value!r}) in the exact world of SymPy: give a Fraction")
    if isinstance(value, Fraction):
        return sp.Rational(value.numerator, value.denominator)
    return sp.sympify(value)


def _where(condition: Any, a: Number, b: Number) -> Number:
    return sp.Piecewise((rational(a), condition), (rational(b), True))


def _total(column: Column) -> Number:
    return reduce(lambda a, b: a + b, map(rational, column), sp.Integer(0))


SYMPY = Ops(
    name="sympy",
    eq=lambda a, b: sp.Eq(rational(a), rational(b)),
    and_=sp.And,
    or_=sp.Or,
    not_=sp.Not,
    where=_where,
    max_=lambda a, b: sp.Max(rational(a), rational(b)),
    min_=lambda a, b: sp.Min(rational(a), rational(b)),
    floor=lambda a: sp.floor(rational(a)),
    log=lambda a: sp.log(rational(a)),
    each=lambda function, instances: [function(x) for x in instances],
    least=lambda column: sp.Min(*map(rational, column)),
    most=lambda column: sp.Max(*map(rational, column)),
    total=_total,
    count=lambda column: _total([_where(condition, 1, 0) for condition in column]),
    size=lambda instances: sp.Integer(len(instances)),
)
