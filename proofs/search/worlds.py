"""STATES: the world in which one number is an array over many states, so that enumeration reads a rule once for all.

Instances are a list, as in the scalar world; each of their values is a NumPy array with one element a state.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from scheduler.ops import Column, Number, Ops


def _least(column: Column) -> Number:
    return reduce(np.minimum, column)


def _most(column: Column) -> Number:
    return reduce(np.maximum, column)


def _total(column: Column) -> Number:
    return reduce(np.add, column)


def _count(column: Column) -> Number:
    return _total([np.asarray(condition).astype(np.int64) for condition in column])


def _each(function: Any, instances: Any) -> Column:
    return [function(x) for x in instances]


STATES = Ops(
    name="states",
    eq=np.equal,
    and_=np.logical_and,
    or_=np.logical_or,
    not_=np.logical_not,
    where=np.where,
    max_=np.maximum,
    min_=np.minimum,
    floor=np.floor,
    log=np.log,
    each=_each,
    least=_least,
    most=_most,
    total=_total,
    count=_count,
    size=len,
)
