"""Domains as types that msgspec checks: are all numbers of a state sane, in one call of a few microseconds.

It says no more than yes or no, and no also where numbers are right but of another kind (NumPy, a whole float); then
clear code looks again, number by number: :meth:`scheduler.state.ClusterState.checked`, ``scheduler/state_json.py`` and
``scheduler/findings/inconsistent.py``, by the same domains.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

import msgspec

from scheduler.domains import INSTANCE_DOMAINS, REQUEST_DOMAINS, TIME_DOMAIN, Domain
from scheduler.state import OPTIONAL_COLUMNS, REQUIRED_COLUMNS, ClusterState, Request

_REFUSED = (msgspec.ValidationError, ValueError, TypeError, OverflowError)


def annotated(domain: Domain) -> Any:
    """The domain as a type that msgspec checks; it refuses NaN and booleans by itself.

    Example:
        >>> msgspec.convert(7, annotated(INSTANCE_DOMAINS["running"]))
        7
    """
    high = sys.float_info.max if domain.high is None else domain.high
    if domain.integer:
        return Annotated[int, msgspec.Meta(ge=int(domain.low), le=int(high))]
    if domain.low_open:
        return Annotated[float, msgspec.Meta(gt=domain.low, le=high)]
    return Annotated[float, msgspec.Meta(ge=domain.low, le=high)]


#: Of each column of a state the type of a sane one.
COLUMN_TYPES: Mapping[str, Any] = MappingProxyType(
    {name: tuple[annotated(domain), ...] for name, domain in INSTANCE_DOMAINS.items()}  # type: ignore[misc]
)
#: A state whose every number lies in its domain, by the same domains as everywhere.
_SaneState = msgspec.defstruct(
    "_SaneState",
    [
        ("ids", tuple[str, ...]),
        ("now_s", annotated(TIME_DOMAIN)),
        *((name, COLUMN_TYPES[name]) for name in REQUIRED_COLUMNS),
        *((name, COLUMN_TYPES[name] | None, None) for name in OPTIONAL_COLUMNS),
    ],
    frozen=True,
)
_SaneRequest = msgspec.defstruct(
    "_SaneRequest",
    [
        ("prompt_tokens", annotated(REQUEST_DOMAINS["prompt_tokens"])),
        ("expected_output_tokens", annotated(REQUEST_DOMAINS["expected_output_tokens"]) | None),
        ("block_tokens", annotated(REQUEST_DOMAINS["block_tokens"])),
        ("group", str),
    ],
    frozen=True,
)


def sane_state(state: Any) -> Any:
    """The state, or None if something in it is not as its domain says; quick."""
    if type(state) is not ClusterState:
        return None
    try:
        sane: Any = msgspec.convert(state, _SaneState, from_attributes=True)
    except _REFUSED:
        return None
    count = len(sane.ids)
    if not count or len(set(sane.ids)) != count:
        return None
    for name in REQUIRED_COLUMNS:
        if len(getattr(sane, name)) != count:
            return None
    for name in OPTIONAL_COLUMNS:
        column = getattr(sane, name)
        if column is not None and len(column) != count:
            return None
    return sane


def sane_request(request: Any) -> bool:
    """True if every number of a request that a rule may read lies in its domain; quick."""
    if type(request) is not Request:
        return False
    try:
        msgspec.convert(request, _SaneRequest, from_attributes=True)
    except _REFUSED:
        return False
    return True


def sane_column(name: str, column: tuple[Any, ...]) -> bool:
    """True if every value of a column lies in its domain; quick.

    Example:
        >>> sane_column("running", (1, 2)), sane_column("running", (1, -2)), sane_column("running", (True,))
        (True, False, False)
    """
    try:
        msgspec.convert(column, COLUMN_TYPES[name])
    except _REFUSED:
        return False
    return True
