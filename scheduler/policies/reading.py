"""Reading a rule in any world: keys and eligibility of every instance, and which instance that makes the choice.

Four worlds read a rule here: numbers, arrays, symbols and solver terms. ``precedes`` and ``chosen`` are themselves
written over Ops, so a proof speaks of exactly the order and the tie rule that the scheduler uses.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from scheduler.indicators import Indicators
from scheduler.ops import ARRAY, Number, Ops, Over, as_written
from scheduler.policies.rule import Pick, Policy

Key = tuple[Number, ...]


def _as_key(value: Any) -> Key:
    return value if isinstance(value, tuple) else (value,)


def read(policy: Policy, ops: Ops, instances: Any) -> tuple[list[Key], list[Any]]:
    """Keys and eligibility of every instance.

    Args:
        policy: rule and knobs.
        ops: the world.
        instances: a list of :class:`Indicators`, or for the array world one Indicators of arrays.

    Returns:
        One key (a tuple) and one condition an instance. If no instance is eligible, all conditions are True only after
        :func:`chosen` or :func:`best` looked at them: this function reports what the filter says.
    """
    rule, knobs = policy.rule, policy.knobs
    if ops is ARRAY:
        instances = _as_floats(instances)
    aggregates = rule.aggregates(ops, Over(ops, instances), knobs)
    if ops is ARRAY:
        return _read_array(policy, instances, aggregates)
    keys = [_as_key(rule.key(ops, x, aggregates, knobs)) for x in instances]
    if rule.eligible is None:
        return keys, [True] * len(keys)
    return keys, [rule.eligible(ops, x, aggregates, knobs) for x in instances]


def _as_floats(columns: Indicators) -> Indicators:
    """Whole numbers as binary64: a product of int64 would wrap without a word."""
    fields = {name: getattr(columns, name) for name in Indicators.__slots__ if name != "recalled"}
    recalled = {name: _as_float(column) for name, column in columns.recalled.items()}
    return Indicators(recalled=recalled, **{name: _as_float(column) for name, column in fields.items()})


def _as_float(value: Any) -> Any:
    whole = isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "iu"
    return value.astype(np.float64) if whole else value


def _read_array(policy: Policy, columns: Indicators, aggregates: Any) -> tuple[list[Key], list[Any]]:
    rule, knobs = policy.rule, policy.knobs
    shape = np.shape(columns.running)
    parts = [np.broadcast_to(part, shape) for part in _as_key(rule.key(ARRAY, columns, aggregates, knobs))]
    keys: list[Key] = list(zip(*(part.tolist() for part in parts), strict=True))
    if rule.eligible is None:
        return keys, [True] * len(keys)
    return keys, np.broadcast_to(rule.eligible(ARRAY, columns, aggregates, knobs), shape).tolist()


def exact(policy: Policy) -> Policy:
    """The policy with its numeric knobs as Fractions, for the exact worlds (Fraction, SymPy, Z3).

    A knob means the decimal that was written: 0.7 becomes 7/10, not the nearest binary fraction.
    """
    values = {
        name: as_written(value) if isinstance(value, int | float) else value for name, value in policy.values.items()
    }
    return Policy(policy.rule, values)


def precedes(ops: Ops, a: Key, b: Key) -> Any:
    """True when key a is less than key b, compared part by part."""
    result: Any = a[-1] < b[-1]
    for left, right in zip(reversed(a[:-1]), reversed(b[:-1]), strict=True):
        result = ops.or_(left < right, ops.and_(ops.eq(left, right), result))
    return result


def chosen(ops: Ops, keys: Sequence[Key], eligible: Sequence[Any], index: int) -> Any:
    """The condition under which ``index`` is the choice with ties to the lowest index.

    This is the formula proofs use. Concrete decisions come from :func:`best`, which agrees with it (a test).
    """
    none: Any = True
    for condition in eligible:
        none = ops.and_(none, ops.not_(condition))
    result: Any = ops.or_(none, eligible[index])
    for other, key in enumerate(keys):
        if other == index:
            continue
        worse = precedes(ops, keys[index], key)
        if other > index:
            worse = ops.not_(precedes(ops, key, keys[index]))
        candidate = ops.or_(none, eligible[other])
        result = ops.and_(result, ops.or_(ops.not_(candidate), worse))
    return result


def best(keys: Sequence[Key], eligible: Sequence[Any]) -> list[int]:
    """Indices with the least key among the eligible (among all if none is), lowest first."""
    candidates = [i for i, condition in enumerate(eligible) if condition] or list(range(len(keys)))
    least = min(keys[i] for i in candidates)
    return [i for i in candidates if keys[i] == least]


def pick_index(policy: Policy, keys: Sequence[Key], eligible: Sequence[Any], rng: random.Random) -> int:
    """Take one instance according to the policy's pick.

    Args:
        policy: rule and knobs.
        keys: concrete keys.
        eligible: concrete conditions.
        rng: source of randomness; used only if the pick needs it.
    """
    pick = policy.pick
    if pick is Pick.WEIGHTED:
        return draw([key[0] for key in keys], eligible, rng.random())
    if pick is Pick.SOFTMAX and policy.values["temperature"] > 0:
        return draw(softmax_weights([key[0] for key in keys], policy.values["temperature"]), eligible, rng.random())
    ties = best(keys, eligible)
    if pick is Pick.FIRST or len(ties) == 1:
        return ties[0]
    return ties[int(rng.random() * len(ties))]


def draw(weights: Sequence[Number], eligible: Sequence[Any], uniform: float) -> int:
    """Draw an index in proportion to weights >= 0 by one uniform number in [0, 1).

    All weights zero: the first candidate. Source: ``Select rand`` (docs/sources.md#blitz-router).
    """
    candidates = [i for i, condition in enumerate(eligible) if condition] or list(range(len(weights)))
    usable = {i: max(weights[i], 0) for i in candidates}
    total = sum(usable.values())
    if total <= 0:
        return candidates[0]
    left = (Fraction(uniform) if isinstance(total, Fraction) else uniform) * total
    last = candidates[0]
    for i in candidates:
        if usable[i] > 0:
            last = i
            left -= usable[i]
            if left < 0:
                return i
    return last


def softmax_weights(costs: Sequence[Number], temperature: float) -> list[float]:
    """``exp(-c/T)`` of costs min-max normalised to [0, 1]; all equal gives equal weights.

    Source: docs/sources.md#dynamo.
    """
    low, high = min(costs), max(costs)
    if high == low:
        return [1.0] * len(costs)
    return [math.exp(-float((cost - low) / (high - low)) / temperature) for cost in costs]
