"""Incidents: what happens when, and which cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.sim.incidents import Crash, Restart, timeline
from replay.sim.ticks import to_ticks
from scheduler import BadInput

CRASHES = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 2), st.integers(1, 60)), max_size=12)
RESTARTS = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 1)), max_size=6)


@given(CRASHES, RESTARTS, st.randoms(use_true_random=False))
def test_every_crash_recovers_and_who_is_down_does_not_crash(
    crashes: list[tuple[int, int, int]], restarts: list[tuple[int, int]], rng: Any
) -> None:
    incidents: list[Any] = [Crash(float(at), i, float(down)) for at, i, down in crashes]
    incidents += [Restart(float(at), router) for at, router in restarts]
    rng.shuffle(incidents)
    overlap = any(
        one is not other and one[1] == other[1] and one[0] <= other[0] < one[0] + one[2]
        for one in crashes
        for other in crashes
    )
    if overlap:
        with pytest.raises(BadInput, match="is up"):
            timeline(incidents, 3, 2)
        return
    found = timeline(incidents, 3, 2)[::-1]
    assert [at for at, *_ in found] == sorted(at for at, *_ in found)
    expected = [(to_ticks(at), "crash", i) for at, i, _ in crashes]
    expected += [(to_ticks(at + down), "recover", i) for at, i, down in crashes]
    expected += [(to_ticks(at), "restart", router) for at, router in restarts]
    assert sorted((at, what, index) for at, _, what, index in found) == sorted(expected)
    down = set()
    for _, _, what, index in found:
        if what == "crash":
            assert index not in down
            down.add(index)
        elif what == "recover":
            down.remove(index)
    assert down == set()


def test_who_is_back_may_crash_again_in_the_same_moment() -> None:
    found = timeline([Crash(3.0, 0, 2.0), Crash(1.0, 0, 2.0)], 1, 1)
    assert [what for _, _, what, _ in found][::-1] == ["crash", "recover", "crash", "recover"]


@pytest.mark.parametrize(
    ("incident", "told"),
    [
        (Crash(1.0, 3), r"incident.instance: expected an index from 0 to 2"),
        (Crash(1.0, -1), "incident.instance"),
        (Restart(1.0, 2), r"incident.router: expected an index from 0 to 1"),
        (Crash(-1.0, 0), "incident.at_s"),
        (Crash(1.0, 0, 0.0), "incident.down_s"),
        (Crash(1.0, 0, 1e12), "incident.down_s"),
        (Crash("noon", 0), "incident.at_s"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_happen_is_refused(incident: Any, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        timeline([incident], 3, 2)
