"""The bound on guarded routing, on the router that runs: the same model, with the delays of its own statistics."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import pytest
import z3
from hypothesis import given
from hypothesis import strategies as st

from proofs.proving import satisfy
from proofs.theorems.guarding import PREFIX_TOKENS, PROMPT_TOKENS, Setting, Unrolled
from scheduler import Request, Router, RouterConfig, formulas
from scheduler.findings.hot_spots import STREAK_PER_HOLDER
from scheduler.monitor import MonitorConfig
from scheduler.ops import SCALAR

WINDOW = 8
KEYS = tuple(range(1, PREFIX_TOKENS // 16 + 1))


class Arrival(NamedTuple):
    """One arrival, and the gap after it.

    ``exceeds``: the class is above its coverage in the window; ``excess``: or its holders got more than their part.
    """

    hot: bool
    exceeds: bool
    excess: bool
    alarmed: bool
    copied: bool
    gap: int


class Cluster:
    """A router whose requests never end and whose prefills are done before the next arrival."""

    def __init__(
        self, batches: Sequence[int], holders: int, *, hold: bool = True, mitigation: str = "replicate"
    ) -> None:
        self.ids = tuple(f"i{place}" for place in range(len(batches)))
        monitor = MonitorConfig(
            window_max=WINDOW,
            window_min=WINDOW,
            error=0.5,
            levels=1,
            imbalance_allowed=1.0,
            imbalance_left=1.0,
            union_every=2**20,
            hold=hold,
        )
        config = RouterConfig(source="events", capacity_blocks=None, lost_after_s=None, monitor=monitor)
        self.router = Router(self.ids, "lmetric", ties="first", mitigation=mitigation, config=config)
        self.batches, self.holds = list(batches), [place < holders for place in range(len(batches))]
        for place, count in enumerate(batches):
            if self.holds[place]:
                self.router.kv_event(self.ids[place], stored=KEYS)
            for number in range(count):
                name = f"start {place} {number}"
                self.router.heard(self._request(False), self.ids[place], 64, request_id=name, now_s=0.0)
                self.router.first_token(name, now_s=0.0)
        self.sent = [0] * len(batches)
        self.seen: list[bool] = []

    @staticmethod
    def _request(hot: bool) -> Request:
        return Request(
            id=0, arrival_s=0.0, prompt_tokens=PROMPT_TOKENS, block_tokens=16, block_keys=KEYS if hot else ()
        )

    def arrives(self, hot: bool) -> Arrival:
        """Route a request, let its prefill finish, and say what happened."""
        self.seen.append(hot)
        name, count = len(self.seen), len(self.ids)
        holders = sum(self.holds)
        inside = sum(sent for sent, held in zip(self.sent, self.holds, strict=True) if held)
        exceeds = not formulas.covered(Fraction(sum(self.seen[-WINDOW:]), WINDOW), holders, count)
        uneven = bool(sum(self.sent)) and not formulas.covered(Fraction(inside, sum(self.sent)), holders, count)
        routed = self.router.route(self._request(hot), request_id=name, now_s=float(name))
        self.router.first_token(name, now_s=float(name))
        place = routed.index
        assert [r + w for r, w in zip(routed.state.running, routed.state.waiting, strict=True)] == self.batches
        self.batches[place] += 1
        self.sent[place] += 1
        if hot and not self.holds[place]:
            self.holds[place] = True
            self.router.kv_event(self.ids[place], stored=KEYS)
        return Arrival(
            hot=hot,
            exceeds=hot and exceeds,
            excess=hot and (exceeds or uneven),
            alarmed=hot and any((row.streak or 0) > 0 for row in self.router.traffic()),
            copied=routed.mitigation is not None and routed.mitigation.kind == "replicate",
            gap=max(self.batches) - min(self.batches),
        )


def longest_delay(arrivals: Sequence[Arrival]) -> int:
    """The most requests of the class above its coverage that passed before an alarm."""
    longest = unseen = 0
    for arrival in arrivals:
        unseen = 0 if arrival.alarmed else unseen + arrival.exceeds
        longest = max(longest, unseen)
    return longest


def bound_of(batches: Sequence[int], holders: int, arrivals: Sequence[Arrival]) -> int:
    start = max(batches) - min(batches)
    delay = Fraction(longest_delay(arrivals))
    return int(formulas.guarded_gap(SCALAR, start, Fraction(WINDOW), delay, STREAK_PER_HOLDER, holders, len(batches)))


def alarms_that_stood(arrivals: Sequence[Arrival]) -> list[bool]:
    """For each request of the class that came while an alarm stood and had reason to: whether it was in alarm."""
    stood, standing = [], False
    for arrival in arrivals:
        if arrival.hot:
            if standing and arrival.excess:
                stood.append(arrival.alarmed)
            standing = arrival.alarmed
    return stood


def drive(cluster: Cluster, letters: str) -> list[Arrival]:
    """Let requests of the class (h) and others (c) come."""
    return [cluster.arrives(letter == "h") for letter in letters]


def greatest_gap(arrivals: Sequence[Arrival]) -> int:
    return max(arrival.gap for arrival in arrivals)


@st.composite
def clusters(draw: st.DrawFn) -> tuple[list[int], int]:
    """Batches at the start and the number of holders, which come first."""
    batches = draw(st.lists(st.integers(0, 3), min_size=2, max_size=3))
    return batches, draw(st.integers(1, len(batches) - 1))


#: Mostly bursts, because single letters seldom make an alarm.
SEQUENCES = st.lists(st.sampled_from(["h", "c", "hh", "cc", "hhhhh", "hhhhhhhhh"]), min_size=3, max_size=9).map("".join)


@given(clusters(), SEQUENCES)
def test_no_sequence_drives_the_router_past_the_bound_of_its_delay(
    cluster: tuple[list[int], int], letters: str
) -> None:
    batches, holders = cluster
    arrivals = drive(Cluster(batches, holders), letters)
    assert greatest_gap(arrivals) <= bound_of(batches, holders, arrivals)


@given(clusters(), SEQUENCES)
def test_alarms_of_the_router_stand_as_the_bound_asks(cluster: tuple[list[int], int], letters: str) -> None:
    assert all(alarms_that_stood(drive(Cluster(*cluster), letters)))


def worst_sequence(setting: Setting) -> tuple[list[int], str]:
    """Batches at the start and arrivals (h of the class, c others) that reach the bound in the model.

    Which model a solver finds hangs on what it was asked before, so of all sequences that do the first is taken, in the
    order few residents at the start, then requests of the class as early as can be.
    """
    found = Unrolled(setting)
    premises = [*found.domain, found.start, found.sounds, found.stands, found.copies]
    premises.append(z3.Or([gap == setting.bound for gap in found.gaps]))
    places, times = range(setting.instances), range(setting.arrivals)
    wanted = {f"{n}_{place}": False for n in ("first", "second") for place in places}
    wanted |= {f"hot_{time}": True for time in times}
    told: dict[str, bool] = {}
    for name, wish in wanted.items():
        holds = satisfy([*premises, z3.Bool(name) == wish], timeout_ms=60_000) is not None
        told[name] = wish if holds else not wish
        premises.append(z3.Bool(name) == told[name])
    assert satisfy(premises, timeout_ms=60_000) is not None
    batches = [told[f"first_{place}"] + told[f"second_{place}"] for place in places]
    return batches, "".join("h" if told[f"hot_{time}"] else "c" for time in times)


@pytest.mark.parametrize(("instances", "holders"), [(2, 1), (3, 1), (3, 2)])
def test_the_worst_sequences_of_the_model_stay_within_the_bound_and_break_the_bare_product(
    instances: int, holders: int
) -> None:
    """As found, and with more of the class after it; the bare product exceeds what the guard may reach."""
    setting = Setting(instances, holders, window=3 if instances == 3 else 4, arrivals=7 + holders, start_gap=1)
    batches, letters = worst_sequence(setting)
    letters += "h" * 32
    arrivals = drive(Cluster(batches, holders), letters)
    assert greatest_gap(arrivals) <= bound_of(batches, holders, arrivals)
    assert any(arrival.copied for arrival in arrivals)
    bare = drive(Cluster(batches, holders, mitigation="none"), letters)
    assert greatest_gap(bare) > bound_of(batches, holders, arrivals)


def test_the_bound_is_reached_by_the_router() -> None:
    """From level batches: one other request to the holder, then nothing but the class."""
    arrivals = drive(Cluster([0, 0], 1), "c" + "h" * 20)
    assert greatest_gap(arrivals) == bound_of([0, 0], 1, arrivals)


def test_alarms_that_end_with_their_window_let_the_batches_drift_apart() -> None:
    """The same sequence with alarms that stand stays within the bound, with alarms that end it does not."""
    letters = "h" * 8 + "c" + "h" * 4
    ending, standing = drive(Cluster([0, 0], 1, hold=False), letters), drive(Cluster([0, 0], 1), letters)
    assert not all(alarms_that_stood(ending))
    assert greatest_gap(ending) > bound_of([0, 0], 1, ending[:8])
    assert greatest_gap(standing) <= bound_of([0, 0], 1, standing)
