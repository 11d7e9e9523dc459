"""Z3: the world of solver terms, all of sort Real. Python numbers and truth values become exact constants."""

from __future__ import annotations

from functools import reduce
from typing import Any

import z3

from proofs.terms import number
from scheduler.ops import Column, Number, Ops


def _term(value: Any) -> Any:
    return value if isinstance(value, z3.ExprRef) else number(value)


def _condition(value: Any) -> Any:
    return value if isinstance(value, z3.ExprRef) else z3.BoolVal(bool(value))


def _where(condition: Any, a: Number, b: Number) -> Number:
    return z3.If(_condition(condition), _term(a), _term(b))


def _max(a: Number, b: Number) -> Number:
    a, b = _term(a), _term(b)
    return z3.If(a >= b, a, b)


def _min(a: Number, b: Number) -> Number:
    a, b = _term(a), _term(b)
    return z3.If(a <= b, a, b)


def _floor(value: Any) -> Any:
    return z3.ToReal(z3.ToInt(_term(value)))


def _no_log(_value: Any) -> Any:
    raise TypeError("solver terms have no logarithm: this formula cannot be read by Z3")


def _total(column: Column) -> Number:
    return z3.Sum([_term(value) for value in column])


Z3 = Ops(
    name="z3",
    eq=lambda a, b: _term(a) == _term(b),
    and_=lambda a, b: z3.And(_condition(a), _condition(b)),
    or_=lambda a, b: z3.Or(_condition(a), _condition(b)),
    not_=lambda a: z3.Not(_condition(a)),
    where=_where,
    max_=_max,
    min_=_min,
    floor=_floor,
    log=_no_log,
    each=lambda function, instances: [function(x) for x in instances],
    least=lambda column: reduce(_min, column),
    most=lambda column: reduce(_max, column),
    total=_total,
    count=lambda column: _total([_where(condition, 1, 0) for condition in column]),
    size=lambda instances: number(len(instances)),
)
