"""Bounded model check of guarded routing: no sequence of arrivals drives the batches further apart than the bound.

The model is the core of the guard, without chance. Requests of one class (*hot*) and others (*cold*) arrive, and every
prefill is done before the next arrival, so queues are empty, and nothing completes. The shipped product chooses. What
the monitor does by statistics is here a count: an alarm sounds when the share of the class in the last W requests
exceeds the coverage, at most so many requests of the class late, and stands while the holders have more than their part
of the window or of all requests so far. In alarm, a run of ``2 |M|`` requests of the class that the product sends to
holders confirms; from then on a copy goes to the least batch outside, unless that raises the peak.

Arrivals, batches at the start and, beyond the premises, the alarms themselves are free terms. Dropping a premise is
therefore another search: without the last one it is that for the bare product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import z3

from proofs.ops import Z3
from proofs.terms import number
from proofs.theorem import Theorem, theorem
from scheduler import formulas
from scheduler.findings.hot_spots import STREAK_PER_HOLDER
from scheduler.indicators import indicators_of
from scheduler.policies.catalogue import policy
from scheduler.policies.reading import chosen, exact, read

#: Prompt and prefix of the class [token]: a leverage of 17, and within it for all sequences looked at.
PROMPT_TOKENS, PREFIX_TOKENS = 1088, 1024
#: Time for each question; on a quiet core the longest takes some seconds [ms].
TIMEOUT_MS = 60_000
_LMETRIC = exact(policy("lmetric"))


#: What the claim is checked for.
BOUND = "2 instances from any start, 3 from a gap of at most 1; windows of 2 to 4, delays up to 2, 9 to 12 arrivals"
#: Greatest less least batch at the start, any number [request].
START_GAP = z3.Real("g_0")


class Setting(NamedTuple):
    """A cluster, its guard, and how many arrivals are looked at.

    Args:
        instances: N.
        holders: M, instances that hold the prefix at the start, the first ones.
        window: W [request].
        arrivals: length of the sequences, more than the first confirmation takes [request].
        delay: requests of the class above its coverage that pass before an alarm [request].
        start_gap: greatest less least batch at the start; a free term for any [request].
    """

    instances: int
    holders: int
    window: int
    arrivals: int
    delay: int = 0
    start_gap: Any = START_GAP

    @property
    def first_confirmation(self) -> int:
        """``W + 2 |M|``: shorter sequences say little [request]."""
        return self.window + STREAK_PER_HOLDER * self.holders

    @property
    def bound(self) -> Any:
        """The greatest gap that is claimed, as a term."""
        numbers = (self.window, self.delay, STREAK_PER_HOLDER, self.holders, self.instances)
        return formulas.guarded_gap(Z3, self.start_gap, *map(number, numbers))


@dataclass
class _State:
    """Terms of the state between two arrivals."""

    batches: list[Any]
    holds: list[Any]
    sent: list[Any]
    standing: Any
    unseen: Any  # requests of the class above its coverage since no alarm stands
    run: Any


class Unrolled:
    """All sequences of arrivals of a length, as terms.

    Attributes:
        hot, alarm, copied: for each arrival, whether it is of the class, in alarm, sent outside by the guard.
        gaps: greatest less least batch after each arrival.
        domain: what holds by definition.
        start, sounds, stands, copies: the premises.
        ends: that alarms are those of the window alone.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        places, times = range(setting.instances), range(setting.arrivals)
        self.hot, self.alarm, self.copied = (
            [z3.Bool(f"{name}_{time}") for time in times] for name in ("hot", "alarm", "copied")
        )
        begin = [_start(place, few=setting.start_gap is not START_GAP) for place in places]
        self.start = _gap(begin) <= setting.start_gap
        self.domain: list[Any] = [START_GAP >= 0, *(b >= 0 for b in begin)]
        self._sounds: list[Any] = []
        self._stands: list[Any] = []
        self._copies: list[Any] = []
        self._ends: list[Any] = []
        self.gaps: list[Any] = []
        holds = [z3.BoolVal(place < setting.holders) for place in places]
        nothing = [number(0)] * setting.instances
        state = _State(begin, holds, nothing, z3.BoolVal(False), number(0), number(0))
        for time in times:
            state = self._after(state, time)
            self.gaps.append(_gap(state.batches))
        self.sounds, self.stands = z3.And(self._sounds), z3.And(self._stands)
        self.copies, self.ends = z3.And(self._copies), z3.And(self._ends)

    def within(self, bound: Any) -> Any:
        """No gap is greater, at any time."""
        return z3.And([gap <= bound for gap in self.gaps])

    def _after(self, now: _State, time: int) -> _State:
        """The state after an arrival; its conditions are noted."""
        setting, places = self.setting, range(self.setting.instances)
        hot, alarm, copied = self.hot[time], self.alarm[time], self.copied[time]
        holders = Z3.count(now.holds)
        recent = Z3.count(self.hot[max(0, time + 1 - setting.window) : time + 1])
        inside = Z3.total([z3.If(held, count, number(0)) for held, count in zip(now.holds, now.sent, strict=True)])
        exceeds = z3.Not(formulas.covered(recent / setting.window, holders, setting.instances))
        excess = exceeds
        if time:
            excess = z3.Or(exceeds, z3.Not(formulas.covered(inside / time, holders, setting.instances)))
        taken = _product_takes(now, hot)
        on_holder = z3.Or([z3.And(taken[place], now.holds[place]) for place in places])
        outside = [_least_outside(now, place) for place in places]
        room = z3.Or(
            [z3.And(outside[p], formulas.keeps_the_peak(now.batches[p], Z3.most(now.batches))) for p in places]
        )
        confirmed = now.run >= STREAK_PER_HOLDER * holders
        self._sounds.append(z3.Implies(z3.And(hot, exceeds, now.unseen >= setting.delay), alarm))
        self._stands.append(z3.Implies(z3.And(hot, now.standing, excess), alarm))
        self._ends.append(alarm == z3.And(hot, exceeds))
        may_copy = z3.And(alarm, confirmed, on_holder, room)
        self._copies.append(z3.Implies(z3.And(may_copy, exceeds), copied))
        self.domain += [z3.Implies(copied, z3.And(may_copy, excess)), z3.Implies(alarm, hot)]
        here = [z3.If(copied, outside[place], taken[place]) for place in places]
        return _State(
            batches=[_plus(b, at) for b, at in zip(now.batches, here, strict=True)],
            holds=[z3.Or(held, z3.And(hot, at)) for held, at in zip(now.holds, here, strict=True)],
            sent=[_plus(count, at) for count, at in zip(now.sent, here, strict=True)],
            standing=z3.If(hot, alarm, now.standing),
            unseen=z3.If(alarm, number(0), _plus(now.unseen, z3.And(hot, exceeds))),
            run=z3.If(hot, z3.If(z3.And(alarm, on_holder), now.run + 1, number(0)), now.run),
        )


def _start(place: int, *, few: bool) -> Any:
    """The batch at the start: any whole number, or one of 0, 1, 2, which is quicker to decide."""
    if not few:
        return z3.ToReal(z3.Int(f"b_{place}"))
    return Z3.count([z3.Bool(f"first_{place}"), z3.Bool(f"second_{place}")])


def _plus(term: Any, condition: Any) -> Any:
    return z3.If(condition, term + 1, term)


def _gap(batches: Sequence[Any]) -> Any:
    return Z3.most(batches) - Z3.least(batches)


def _product_takes(now: _State, hot: Any) -> list[Any]:
    """For each instance, whether the shipped product takes it; keys with and without a hit keep the terms linear."""
    keys: list[Any] = []
    for batch, held in zip(now.batches, now.holds, strict=True):
        seen = [
            indicators_of(
                Z3, running=batch, waiting=0, queued_prefill_tokens=0, hit_tokens=hit, prompt_tokens=PROMPT_TOKENS
            )
            for hit in (PREFIX_TOKENS, 0)
        ]
        ((with_hit,), (without,)), _ = read(_LMETRIC, Z3, seen)
        keys.append((z3.If(z3.And(hot, held), with_hit, without),))
    eligible = [z3.BoolVal(True)] * len(keys)
    return [chosen(Z3, keys, eligible, place) for place in range(len(keys))]


def _least_outside(now: _State, place: int) -> Any:
    """Whether an instance is the first with the least batch among those that do not hold the prefix."""
    mine = now.batches[place]
    others = [
        z3.Or(held, batch >= mine if other > place else batch > mine)
        for other, (batch, held) in enumerate(zip(now.batches, now.holds, strict=True))
        if other != place
    ]
    return z3.And(z3.Not(now.holds[place]), *others)


def bounded(setting: Setting) -> Theorem:
    """The bound in a setting, for any start."""
    assert setting.arrivals > setting.first_confirmation
    all_of_them, bound = Unrolled(setting), setting.bound
    return Theorem(
        domain=tuple(all_of_them.domain),
        given={
            "the batches differ by no more at the start": all_of_them.start,
            "an alarm sounds in time": all_of_them.sounds,
            "an alarm stands while the holders have more than their part": all_of_them.stands,
            "a confirmed class gets its copy": all_of_them.copies,
        },
        claim=all_of_them.within(bound),
        faults={
            "one less": all_of_them.within(bound - 1),
            "without the confirmation": all_of_them.within(bound - STREAK_PER_HOLDER),
        },
        reached={"the bound": z3.Or([gap == bound for gap in all_of_them.gaps])},
        bound=BOUND,
        timeout_ms=TIMEOUT_MS,
    )


@theorem
def two_instances_stay_within_the_bound() -> Theorem:
    """One holder of two, a window of 4: 12 arrivals, where the first confirmation takes 6.

    Claim: mitigated_routing_is_bounded.
    """
    return bounded(Setting(instances=2, holders=1, window=4, arrivals=12))


@theorem
def two_instances_stay_within_the_bound_when_alarms_are_late() -> Theorem:
    """Every alarm is two requests of the class late, in a window of 2: 10 arrivals.

    Claim: mitigated_routing_is_bounded.
    """
    return bounded(Setting(instances=2, holders=1, window=2, arrivals=10, delay=2))


@theorem
def three_instances_with_one_holder_stay_within_the_bound() -> Theorem:
    """One holder of three, which needs up to two copies, a window of 3: 9 arrivals, first confirmation after 5.

    Claim: mitigated_routing_is_bounded.
    """
    return bounded(Setting(instances=3, holders=1, window=3, arrivals=9, start_gap=number(1)))


@theorem
def three_instances_with_two_holders_stay_within_the_bound() -> Theorem:
    """Two holders of three, a window of 3: 10 arrivals, where the first confirmation takes 7.

    Claim: mitigated_routing_is_bounded.
    """
    return bounded(Setting(instances=3, holders=2, window=3, arrivals=10, start_gap=number(1)))


@theorem
def the_bare_product_exceeds_the_bound_of_the_guard() -> Theorem:
    """The same search without a guard: the product, within its leverage, goes past the bound.

    Claim: bare_product_keeps_the_bound_of_the_guard.
    """
    setting = Setting(instances=2, holders=1, window=4, arrivals=7, start_gap=number(0))
    all_of_them = Unrolled(setting)
    return Theorem(
        domain=(*all_of_them.domain, all_of_them.start),
        given={"no copy is made": z3.Not(z3.Or(all_of_them.copied))},
        claim=all_of_them.within(setting.bound),
        refuted=True,
    )


@theorem
def alarms_that_end_with_their_window_do_not_bound() -> Theorem:
    """An alarm that is that of the window alone: a few other requests end it before it is confirmed, again and again.

    Claim: alarms_that_end_with_their_window_bound_routing.
    """
    setting = Setting(instances=2, holders=1, window=2, arrivals=7, start_gap=number(0))
    all_of_them = Unrolled(setting)
    return Theorem(
        domain=(*all_of_them.domain, all_of_them.start),
        given={
            "a confirmed class gets its copy": all_of_them.copies,
            "an alarm ends with its window": all_of_them.ends,
        },
        claim=all_of_them.within(setting.bound),
        refuted=True,
    )
