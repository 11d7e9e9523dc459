"""STATES: the world in which one number is an array over many states, so that enumeration reads a rule once for all.

Instances are a list, as in the scalar world; each of their values is a NumPy array with one element a state.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from scheduler.ops import ARRAY, Column, Number


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


#: As the world of arrays, but instances are a list and reducing them is done element by element.
STATES = replace(ARRAY, name="states", each=_each, least=_least, most=_most, total=_total, count=_count, size=len)
