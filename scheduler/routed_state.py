"""A decision as JSON gives it back: scores and evidence have no type of their own, and JSON has fewer kinds of values.

Tuples become lists, lists an object that says so, as do numbers that are infinite or none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from scheduler.routed import Routed
from scheduler.state import Request


def plain(routed: Routed) -> Routed:
    """The decision, to be written as JSON.

    Raises:
        msgspec.ValidationError: for a field of the request that is not of its type.
    """
    request = msgspec.convert(msgspec.structs.asdict(routed.request), Request)
    return msgspec.structs.replace(_with_values(routed, _told), request=request)


def again(routed: Routed) -> Routed:
    """The decision that :func:`plain` was given, from what was read."""
    return _with_values(routed, _value_again)


def _with_values(routed: Routed, change: Callable[[Any], Any]) -> Routed:
    """The decision with all values changed that have no type of their own."""
    detection, done = routed.detection, routed.mitigation
    findings = tuple(
        msgspec.structs.replace(each, evidence={name: change(value) for name, value in each.evidence.items()})
        for each in detection.findings
    )
    choice = detection.choice
    if choice is not None:
        choice = msgspec.structs.replace(choice, score=change(choice.score))
    if done is not None:
        done = msgspec.structs.replace(done, scores=_each(change, done.scores))
    return msgspec.structs.replace(
        routed,
        scores=_each(change, routed.scores),
        detection=msgspec.structs.replace(detection, findings=findings, choice=choice),
        mitigation=done,
    )


def _each(change: Callable[[Any], Any], values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple([value if type(value) is int else change(value) for value in values])


def _told(value: Any) -> Any:
    """A value as JSON: tuples as lists; what JSON has no form for as an object with one entry."""
    if isinstance(value, tuple):
        return [_told(each) for each in value]
    if isinstance(value, list):
        return {"list": [_told(each) for each in value]}
    if isinstance(value, dict):
        return {"dict": {name: _told(each) for name, each in value.items()}}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": str(value)}
    return value


def _value_again(value: Any) -> Any:
    """The value that :func:`_told` was given."""
    if isinstance(value, list):
        return tuple(_value_again(each) for each in value)
    if isinstance(value, dict):
        ((kind, inner),) = value.items()
        if kind == "float":
            return float(inner)
        return (
            [_value_again(e) for e in inner] if kind == "list" else {name: _value_again(e) for name, e in inner.items()}
        )
    return value
