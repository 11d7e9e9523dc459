"""Slots against a plain dictionary: who is where, who may be sent to, and that nobody moves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import BadInput
from scheduler.slots import Slots

NAMES = st.sampled_from("abcdef")
MOVES = st.lists(st.tuples(st.sampled_from(["join", "drain", "leave"]), NAMES), max_size=40)


def legal(slots: Slots, move: str, name: str) -> bool:
    there = slots.slot(name) is not None
    return name in slots.draining() or not there if move == "join" else there


@given(st.sets(NAMES), MOVES)
def test_slots_are_a_dictionary_whose_entries_never_move(start: set[str], moves: list[tuple[str, str]]) -> None:
    slots, places = Slots(sorted(start)), {name: place for place, name in enumerate(sorted(start))}
    draining: set[str] = set()
    most = len(places)
    for move, name in moves:
        if not legal(slots, move, name):
            with pytest.raises(BadInput):
                getattr(slots, move)(name)
        elif move == "join":
            place = slots.join(name)
            assert places.setdefault(name, place) == place
            draining.discard(name)
        elif move == "drain":
            slots.drain(name)
            draining.add(name)
        else:
            assert slots.leave(name) == places.pop(name)
            draining.discard(name)
        most = max(most, len(places))
        assert {name: slots.slot(name) for name in places} == places
        assert len(set(places.values())) == len(places)
        assert len(slots) == len(slots.names) == most, "a free slot is used before a new one"
        assert set(slots.draining()) == draining
        assert slots.routable == sorted(place for name, place in places.items() if name not in draining)
        assert slots.ids == tuple(slots.names[slot] for slot in slots.routable)
        assert slots.whole is (bool(slots.ids) and slots.routable == list(range(len(slots))))


@pytest.mark.parametrize("name", [None, 7, [], "", b"a", ["a"]])
def test_what_is_no_name_is_nowhere_and_is_refused(name: Any) -> None:
    slots = Slots(["a"])
    assert slots.slot(name) is None
    for method in (slots.join, slots.drain, slots.leave):
        with pytest.raises(BadInput, match="instance"):
            method(name)
    assert (slots.ids, slots.names) == (("a",), ["a"])
