"""States that cannot be, as live metrics deliver them: one number, one column or the whole thing is wrong.

For tests of whatever must answer without raising. ``broken_states`` breaks one known place of a sane state and says
which, so that a test can ask whether the answer names it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import msgspec
from hypothesis import strategies as st

from scheduler.domains import INSTANCE_DOMAINS, REQUEST_DOMAINS, TIME_DOMAIN, Domain
from scheduler.state import REQUIRED_COLUMNS, ClusterState, Request
from scheduler.testing.strategies import situations
from scheduler.traffic import ClassTraffic


class Rude:
    """An object that raises whatever it is asked; names with an underscore are left to tools that print it."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name) if name.startswith("_") else RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = object.__hash__


class Broken(NamedTuple):
    """A state with one fault, the request at hand, and the field that is at fault."""

    state: ClusterState
    request: Request
    field: str


#: What stands where a number should.
NOT_NUMBERS: tuple[Any, ...] = (math.nan, math.inf, -math.inf, True, "3", b"3", None, [], {}, 1j, Rude())
#: Numbers outside every domain.
OUTSIDE: tuple[Any, ...] = (-1, -0.5, 10**5000, -(10**5000), Fraction(-1, 3))


def outside(domain: Domain) -> st.SearchStrategy[Any]:
    """Values that a domain does not have."""
    values = [value for value in (*NOT_NUMBERS, *OUTSIDE, 1.5, 2**62, 1e300) if not domain.contains(value)]
    return _one_of(values)


def _one_of(values: Sequence[Any]) -> st.SearchStrategy[Any]:
    """One of the values, which are never asked for their text: some have none."""
    return st.integers(0, len(values) - 1).map(values.__getitem__)


def anything() -> st.SearchStrategy[Any]:
    """Objects of every kind, states among them."""
    plain = _one_of((*NOT_NUMBERS, *OUTSIDE, (), object(), ClusterState, 7))
    return plain | st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.tuples(inner), max_leaves=4)


@st.composite
def wild_states(draw: st.DrawFn) -> Any:
    """States whose every field may be anything."""
    fields = ("ids", "now_s", *INSTANCE_DOMAINS)
    state, _ = draw(situations(complete=False, loose=True))
    changed = draw(st.lists(st.sampled_from(fields), max_size=4))
    return msgspec.structs.replace(state, **{name: draw(anything()) for name in changed})


@st.composite
def broken_states(draw: st.DrawFn) -> Broken:
    """A sane situation with one fault."""
    state, request = draw(situations(complete=False, loose=True))
    count = len(state)
    given = [name for name in INSTANCE_DOMAINS if getattr(state, name) is not None]
    how = draw(st.sampled_from(("value", "length", "missing", "kind", "ids", "now", "hit", "request")))
    if how == "value":
        name = draw(st.sampled_from(given))
        index = draw(st.integers(0, count - 1))
        bad = list(getattr(state, name))
        bad[index] = draw(outside(INSTANCE_DOMAINS[name]))
        return Broken(msgspec.structs.replace(state, **{name: tuple(bad)}), request, f"instances[{index}].{name}")
    if how == "length":
        name = draw(st.sampled_from(given))
        column = getattr(state, name)
        changed: Any = draw(st.sampled_from((column[:-1], (*column, column[0]))))
        return Broken(msgspec.structs.replace(state, **{name: changed}), request, name)
    if how in ("missing", "kind"):
        name = draw(st.sampled_from(REQUIRED_COLUMNS if how == "missing" else given))
        changed = None if how == "missing" else draw(_one_of((7, "12", {1: 2}, Rude())))
        return Broken(msgspec.structs.replace(state, **{name: changed}), request, name)
    if how == "ids":
        twice = (*state.ids[:-1], state.ids[0]) if count > 1 else (*state.ids, state.ids[0])
        ids: Any = draw(st.sampled_from((None, (), 3, (7, *state.ids[1:]), twice)))
        return Broken(msgspec.structs.replace(state, ids=ids), request, "ids, id, instances or the columns")
    if how == "now":
        return Broken(msgspec.structs.replace(state, now_s=draw(outside(TIME_DOMAIN))), request, "now_s")
    if how == "hit":
        index = draw(st.integers(0, count - 1))
        hits = list(state.hit_tokens)
        hits[index] = request.prompt_tokens + draw(st.sampled_from((1, 2, 100)))
        place = f"instances[{index}].hit_tokens"
        return Broken(msgspec.structs.replace(state, hit_tokens=tuple(hits)), request, place)
    name = draw(st.sampled_from(("prompt_tokens", "block_tokens")))
    value = draw(outside(REQUEST_DOMAINS[name]))
    return Broken(state, msgspec.structs.replace(request, **{name: value}), f"request.{name}")


@st.composite
def class_traffic(draw: st.DrawFn, count: int) -> tuple[ClassTraffic, ...]:
    """What may be known of up to four disjoint classes on so many instances; shares sum up to 1 at most."""
    rows = draw(st.integers(0, 4))
    parts = draw(st.lists(st.integers(0, 100), min_size=rows + 1, max_size=rows + 1))
    total = max(1, sum(parts))
    return tuple(
        ClassTraffic(
            name=f"class-{index}",
            share=parts[index] / total,
            work_share=draw(st.none() | st.just(parts[index] / total)),
            window_requests=draw(st.none() | st.integers(0, 4096)),
            resident_requests=draw(st.none() | st.integers(0, 4096)),
            holders=tuple(sorted(draw(st.sets(st.integers(0, count - 1))))),
            prefix_tokens=draw(st.none() | st.integers(0, 20_000)),
            streak=draw(st.none() | st.integers(0, 64)),
            copies_missing=draw(st.none() | st.integers(0, 16)),
            alarmed=draw(st.sampled_from((None, False, True))),
            applies=draw(st.sampled_from((None, False))) if index else draw(st.sampled_from((None, False, True))),
        )
        for index in range(rows)
    )
