"""Ops: the only place that knows which world a number lives in.

A rule is written once, in plain arithmetic (``+ - * /``), comparisons (``< <= > >=``) and the members below, and is
then read by Python numbers and Fractions (:data:`SCALAR`), by NumPy arrays with one element an instance
(:data:`ARRAY`), by SymPy symbols (``theory.ops.SYMPY``), by Z3 terms (``proofs.ops.Z3``), and by the compiler that
turns it into a fast Python function (``scheduler.compiled``).

House rules for whoever writes a rule: never divide by what can be 0 (guard it with ``max_``; a guard by ``where`` is
not enough, because array and solver worlds evaluate both branches), and never use ``if``, ``and``, ``or`` on
indicators. Never compare indicators by ``==`` or ``!=``: SymPy and Python answer at once, by structure or identity;
use ``eq``, and ``not_`` of it. The compiler refuses both mistakes with a TypeError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

#: A number, an array, a symbol or a term: whatever the reader computes with.
Number = Any
#: The values of all instances: a list of numbers, one array, or a traced column.
Column = Any


def as_written(value: int | float | Fraction) -> Fraction:
    """The exact number that was meant: a float stands for the decimal that Python prints for it.

    Example:
        >>> as_written(0.7), as_written(3)
        (Fraction(7, 10), Fraction(3, 1))
    """
    return Fraction(repr(float(value))) if isinstance(value, float) else Fraction(value)


@dataclass(frozen=True, slots=True)
class Ops:
    """Operations of one world.

    Args:
        name: of the world, for messages.
        eq: equality of two numbers.
        and_, or_, not_: logic on conditions.
        where: ``where(condition, a, b)`` is a if the condition holds, else b.
        max_, min_: the greater, the lesser of two numbers.
        floor: the greatest whole number that is no greater.
        log: the natural logarithm; solver terms have none and say so.
        each: ``each(function, instances)`` applies a function to every instance and gives a column.
        least, most, total: reduce a column over the instances.
        count: number of instances whose condition holds.
        size: number of instances.
    """

    name: str
    eq: Callable[[Number, Number], Any]
    and_: Callable[[Any, Any], Any]
    or_: Callable[[Any, Any], Any]
    not_: Callable[[Any], Any]
    where: Callable[[Any, Number, Number], Number]
    max_: Callable[[Number, Number], Number]
    min_: Callable[[Number, Number], Number]
    floor: Callable[[Number], Number]
    log: Callable[[Number], Number]
    each: Callable[[Callable[[Any], Number], Any], Column]
    least: Callable[[Column], Number]
    most: Callable[[Column], Number]
    total: Callable[[Column], Number]
    count: Callable[[Column], Number]
    size: Callable[[Any], Number]


@dataclass(frozen=True, slots=True)
class Over:
    """Reducers over all instances of one decision, bound to a world.

    Example:
        >>> from types import SimpleNamespace as instance
        >>> over = Over(SCALAR, [instance(running=1), instance(running=4)])
        >>> over.most(lambda x: x.running), over.mean(lambda x: x.running)
        (4, 2.5)
    """

    ops: Ops
    instances: Any

    def least(self, function: Callable[[Any], Number]) -> Number:
        """The least value over the instances."""
        return self.ops.least(self.ops.each(function, self.instances))

    def most(self, function: Callable[[Any], Number]) -> Number:
        """The greatest value over the instances."""
        return self.ops.most(self.ops.each(function, self.instances))

    def total(self, function: Callable[[Any], Number]) -> Number:
        """The sum over the instances."""
        return self.ops.total(self.ops.each(function, self.instances))

    def count(self, condition: Callable[[Any], Any]) -> Number:
        """How many instances fulfil the condition."""
        return self.ops.count(self.ops.each(condition, self.instances))

    def size(self) -> Number:
        """How many instances there are."""
        return self.ops.size(self.instances)

    def mean(self, function: Callable[[Any], Number]) -> Number:
        """The arithmetic mean over the instances."""
        return self.total(function) / self.size()

    def spread(self, function: Callable[[Any], Number]) -> Number:
        """Greatest less least value."""
        column = self.ops.each(function, self.instances)
        return self.ops.most(column) - self.ops.least(column)

    def variance(self, function: Callable[[Any], Number]) -> Number:
        """The sample variance (divisor n - 1; 0 for one instance)."""
        mean = self.mean(function)
        squares = self.total(lambda x: (function(x) - mean) * (function(x) - mean))
        return squares / self.ops.max_(self.size() - 1, 1)


def _each_scalar(function: Callable[[Any], Number], instances: Sequence[Any]) -> list[Number]:
    return [function(x) for x in instances]


SCALAR = Ops(
    name="scalar",
    eq=lambda a, b: a == b,
    and_=lambda a, b: a and b,
    or_=lambda a, b: a or b,
    not_=lambda a: not a,
    where=lambda condition, a, b: a if condition else b,
    max_=lambda a, b: a if a > b else b,
    min_=lambda a, b: a if a < b else b,
    floor=math.floor,
    log=math.log,
    each=_each_scalar,
    least=min,
    most=max,
    total=sum,
    count=lambda column: sum(1 for condition in column if condition),
    size=len,
)


def _each_array(function: Callable[[Any], Number], instances: Any) -> Column:
    return np.broadcast_to(function(instances), np.shape(instances.running))


ARRAY = Ops(
    name="array",
    eq=np.equal,
    and_=np.logical_and,
    or_=np.logical_or,
    not_=np.logical_not,
    where=np.where,
    max_=np.maximum,
    min_=np.minimum,
    floor=np.floor,
    log=np.log,
    each=_each_array,
    least=np.min,
    most=np.max,
    total=np.sum,
    count=np.count_nonzero,
    size=lambda instances: int(np.size(instances.running)),
)
