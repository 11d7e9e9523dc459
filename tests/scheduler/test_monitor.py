"""The monitor against its definition evaluated on plain lists, and what it must never and always say."""

import random
from collections import deque
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from scheduler import BadInput, ClassTraffic, formulas
from scheduler.alarm import alarms, needed_nats
from scheduler.monitor import Monitor, MonitorConfig

BLOCK = 16
#: Few requests are enough to alarm, and unions are not looked for.
QUICK = MonitorConfig(window_max=16, window_min=4, error=0.5, levels=1, union_every=2**20, hold=False)
COUNT = 4


def chained(steps: tuple[int, ...]) -> tuple[int, ...]:
    """Keys that name their whole chain: a prefix is a number in base 3."""
    keys, key = [], 0
    for step in steps:
        key = 3 * key + step + 1
        keys.append(key)
    return tuple(keys)


def ancestors(key: int) -> list[int]:
    """Keys of the prefixes of a key, itself the last."""
    found = []
    while key:
        found.append(key)
        key = (key - 1) // 3
    return found[::-1]


#: Mostly the same few prompts, so that something alarms.
PROMPTS = st.sampled_from([(0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 1), (0, 1), (1,), (), (0, 0)]).map(chained)
REQUEST = st.tuples(PROMPTS, st.integers(0, 40), st.sampled_from([0, 0, 0, 1, 3]), st.integers(0, 3))
REQUESTS = st.integers(10, 50).flatmap(lambda count: st.lists(REQUEST, min_size=count, max_size=count))
MASKS = st.lists(st.sampled_from([0b0001, 0b0001, 0b0011, 0b0101, 0b0000, 0b1111]), min_size=5, max_size=5)


class Naive:
    """Phases 1 and 2 as they are defined, on the list of all requests."""

    def __init__(self, config: MonitorConfig) -> None:
        self.config, self.seen = config, list[tuple[int, ...]]()
        self.flying: dict[int, tuple[int, ...]] = {}
        self.streaks: dict[int, int] = {}

    def alarmed(self, keys: tuple[int, ...], prompt: int, mask_of: Any, active: tuple[int, ...]) -> dict[int, int]:
        """Depth and mask of every prefix of a prompt that is in alarm."""
        count, found, everywhere = len(active), dict[int, int](), sum(1 << slot for slot in active)
        held = sum(mask_of(key) & everywhere == everywhere for key in keys)
        outside = max(1, prompt - held * BLOCK)
        nats = needed_nats(self.config.error / 2, count * self.config.levels, self.config.tests)
        for depth in self.boundaries(keys):
            mask = mask_of(keys[depth - 1]) & everywhere
            inside, holders = max(1, prompt - depth * BLOCK), mask.bit_count()
            if holders in (0, count) or not formulas.leverage(outside, inside) > self.config.imbalance_allowed:
                continue
            cases = [(self.requests(keys[:depth], window), window) for window in self.config.windows]
            cases.append((sum(p[:depth] == keys[:depth] for p in self.flying.values()), len(self.flying)))
            if any(w and alarms(k, w, holders, count, nats, self.config.imbalance_allowed) for k, w in cases):
                found[depth] = mask
        return found

    def requests(self, prefix: tuple[int, ...], window: int) -> int:
        return sum(prompt[: len(prefix)] == prefix for prompt in self.seen[-window:])

    def boundaries(self, keys: tuple[int, ...]) -> list[int]:
        """Depths at which a prompt of the window, or in flight, ends or leaves this one: the ends of classes."""
        known = [*self.seen[-self.config.window_max :], *self.flying.values()]
        ends = set()
        for prompt in known:
            common = 0
            while common < min(len(prompt), len(keys)) and prompt[common] == keys[common]:
                common += 1
            ends.add(common)
        return sorted(ends - {0})


@settings(max_examples=150)
@given(REQUESTS, MASKS, st.permutations(range(COUNT)))
def test_alarms_and_confirmations_are_those_of_the_definition(
    requests: list[Any], masks: list[int], order: list[int]
) -> None:
    monitor, naive, active = Monitor(QUICK), Naive(QUICK), tuple(order)

    def mask_of(key: int) -> int:
        mask: int = 2**COUNT - 1
        for each in ancestors(key):  # presence is monotone along the chain
            mask &= masks[each % 5] | masks[each % 3]
        return mask

    for number, (keys, more, slot, stay) in enumerate(requests):
        prompt = len(keys) * BLOCK + more % BLOCK
        path = monitor.arrived(keys, BLOCK, prompt)
        naive.seen.append(keys)
        found = monitor.suspects(path, mask_of, active)
        expected = naive.alarmed(keys, prompt, mask_of, active)
        assert [traffic.prefix_tokens for traffic in found] == [depth * BLOCK for depth in expected]
        for traffic, mask in zip(found, expected.values(), strict=True):
            assert sorted(active[i] for i in traffic.holders) == [s for s in range(COUNT) if mask >> s & 1]
            assert traffic.applies
            depth = (traffic.prefix_tokens or 0) // BLOCK
            assert traffic.streak == naive.streaks.get(keys[depth - 1], 0)
            flying = sum(prompt[:depth] == keys[:depth] for prompt in naive.flying.values())
            assert traffic.work_share == (flying / len(naive.flying) if naive.flying else None)
            assert traffic.share == naive.requests(keys[:depth], traffic.window_requests or 0) / min(
                traffic.window_requests or 1, len(naive.seen)
            )
        monitor.decided(path, slot)
        ends = naive.boundaries(keys)
        for depth, key in enumerate(keys, 1):  # all depths up to an end have the same requests
            held = expected.get(next(end for end in ends if end >= depth), 0) >> slot & 1
            naive.streaks[key] = naive.streaks.get(key, 0) + 1 if held else 0
        monitor.dispatched(number, path)
        naive.flying[number] = keys
        if stay:
            monitor.ended(number - 5 * stay)
            naive.flying.pop(number - 5 * stay, None)


def feed(monitor: Monitor, keys: tuple[int, ...], count: int, mask: int, **other: Any) -> tuple[ClassTraffic, ...]:
    """Requests of one prompt; the last answer."""
    found: tuple[ClassTraffic, ...] = ()
    for _ in range(count):
        path = monitor.arrived(keys, BLOCK, other.get("prompt", BLOCK * len(keys) + 8))
        found = monitor.suspects(path, lambda key: mask, other.get("active", (0, 1, 2, 3)))
        monitor.decided(path, other.get("slot", 0))
    return found


@given(st.integers(1, 60), st.integers(1, 15), st.lists(st.integers(1, 9), min_size=1, max_size=40))
def test_a_block_with_which_every_prompt_begins_never_alarms(shared: int, mask: int, tails: list[int]) -> None:
    """Its hit buys a quarter at most: 16 tokens a block, and four times as many that differ."""
    monitor, fresh = Monitor(QUICK), iter(range(10**6, 10**9))
    common = tuple(range(1, shared + 1))
    for tail in tails * 3:
        keys = (*common, *(next(fresh) for _ in range(4 * shared + tail)))
        path = monitor.arrived(keys, BLOCK, BLOCK * len(keys))
        assert monitor.suspects(path, lambda key: mask if key <= shared else 0, (0, 1, 2, 3)) == ()


def test_what_all_instances_hold_buys_nothing() -> None:
    """A long system prompt that all hold does not give the short prefix after it any leverage."""
    system, active = tuple(range(1, 101)), (0, 1, 2, 3)

    def mask_of(key: int) -> int:
        return 0b1111 if key <= 100 else 0b0001

    for tail, alarmed in ((100, False), (4, True)):
        monitor, fresh = Monitor(QUICK), iter(range(10**6, 10**9))
        found: tuple[ClassTraffic, ...] = ()
        for _ in range(30):
            keys = (*system, 101, 102, *(next(fresh) for _ in range(tail)))
            found = monitor.suspects(monitor.arrived(keys, BLOCK, BLOCK * len(keys)), mask_of, active)
        assert bool(found) == alarmed


def test_nobody_or_everybody_as_holder_is_no_hot_spot() -> None:
    assert feed(Monitor(QUICK), (1, 2, 3), 40, 0b0000) == ()
    assert feed(Monitor(QUICK), (1, 2, 3), 40, 0b1111) == ()
    assert feed(Monitor(QUICK), (1, 2, 3), 40, 0b0001, active=(0,)) == ()
    assert len(feed(Monitor(QUICK), (1, 2, 3), 40, 0b0111)) == 0  # three of four: no window of 16 says so much
    assert len(feed(Monitor(QUICK), (1, 2, 3), 40, 0b0001)) == 1


def test_holders_that_cannot_be_routed_to_do_not_count() -> None:
    monitor = Monitor(QUICK)
    (traffic,) = feed(monitor, (1, 2, 3), 40, 0b100110, active=[5, 0, 4, 3])
    assert traffic.holders == (0,)
    (traffic,) = feed(monitor, (1, 2, 3), 1, 0b100110, active=[0, 4, 5, 3])  # as many, in another order
    assert traffic.holders == (2,)
    assert feed(monitor, (1, 2, 3), 1, 0b100110, active=[0, 4, 3]) == ()  # no one holds it now


def test_a_class_keeps_its_confirmations_when_a_part_of_it_goes_another_way() -> None:
    monitor = Monitor(QUICK)
    before = feed(monitor, (1, 2, 3), 30, 0b0001)[0].streak or 0
    shorter, longer = feed(monitor, (1, 2, 3), 1, 0b0001), feed(monitor, (1, 2, 4), 1, 0b0001)
    assert (shorter[0].streak, longer[0].streak) == (before + 1, before + 2)
    assert (shorter[0].prefix_tokens, longer[0].prefix_tokens) == (48, 32)


def test_an_alarm_that_comes_again_is_confirmed_anew() -> None:
    """The class was too rare to be tested in between; a request in flight keeps its node."""
    monitor = Monitor(QUICK)
    monitor.dispatched("stays", monitor.arrived((1, 2, 3), BLOCK, 56))
    assert (feed(monitor, (1, 2, 3), 30, 0b0001)[0].streak or 0) > 10
    feed(monitor, (), 40, 0)
    answers = [feed(monitor, (1, 2, 3), 1, 0b0001) for _ in range(16)]
    assert [found[0].streak for found in answers if found][:3] == [0, 1, 2]
    assert answers[0] == ()


def test_only_full_blocks_count() -> None:
    (traffic,) = feed(Monitor(QUICK), (1, 2, 3), 40, 0b0001, prompt=2 * BLOCK + 15)
    assert traffic.prefix_tokens == 2 * BLOCK
    assert feed(Monitor(QUICK), (1,), 40, 0b0001, prompt=BLOCK - 1) == ()


def test_requests_without_keys_count_in_the_window_and_in_flight() -> None:
    monitor = Monitor(MonitorConfig(window_max=64, window_min=64, hold=False))
    for number in range(64):
        path = monitor.arrived((1, 2) if number % 2 else (), BLOCK, 40)
        monitor.dispatched(number, path)
    (traffic,) = monitor.snapshot(lambda key: 1, range(4))
    assert (traffic.share, traffic.work_share, traffic.resident_requests) == (0.5, 0.5, 64)
    assert (traffic.prefix_tokens, traffic.window_requests, traffic.holders) == (2 * BLOCK, 64, (0,))
    for number in range(64):
        monitor.ended(number)
        monitor.ended(number)  # twice, and ids that nobody knows, change nothing
        monitor.ended(f"unknown {number}")
    (traffic,) = monitor.snapshot(lambda key: 1, range(4))
    assert traffic.work_share is None


def test_by_work_a_class_alarms_that_by_count_is_covered() -> None:
    """A twentieth of the requests that stay: they fill the slots."""
    monitor, fresh, short = Monitor(), iter(range(10**6, 10**9)), deque[int]()
    found: tuple[ClassTraffic, ...] = ()
    for number in range(2000):
        long = number % 20 == 0
        keys = (1, 2, 3) if long else (next(fresh), next(fresh), next(fresh))
        path = monitor.arrived(keys, BLOCK, 56)
        found = monitor.suspects(path, lambda key: 1 if key < 10 else 2, tuple(range(8))) or found
        monitor.dispatched(number, path)
        if not long:
            short.append(number)
            if len(short) > 50:
                monitor.ended(short.popleft())
    (traffic,) = found
    assert traffic.share == pytest.approx(0.05, abs=0.02)
    assert traffic.share <= 1 / 8 < (traffic.work_share or 0)


def test_a_request_that_is_sent_long_after_it_came_is_still_counted_off() -> None:
    monitor = Monitor(QUICK)
    late = monitor.arrived((1, 2, 3), BLOCK, 48)
    feed(monitor, (7, 8), 20, 0)
    assert monitor.suspects(late, lambda key: 1, (0, 1, 2, 3)) == ()
    monitor.dispatched("late", late)
    monitor.dispatched("late", late)  # again: it replaces itself
    assert len(monitor) == 2
    monitor.ended("late")
    assert len(monitor) == 1


@given(REQUESTS)
def test_classes_of_a_snapshot_exclude_each_other(requests: list[Any]) -> None:
    monitor = Monitor(QUICK)
    for number, (keys, *_) in enumerate(requests):
        monitor.dispatched(number, monitor.arrived(keys, BLOCK, BLOCK * len(keys) + 1))
    rows = monitor.snapshot(lambda key: 0b0101, range(COUNT))
    recent = [keys for keys, *_ in requests[-16:]]
    assert sum(Fraction(row.share).limit_denominator(16) for row in rows) <= Fraction(
        sum(bool(keys) for keys in recent), len(recent)
    )
    assert len({row.name for row in rows}) == len(rows)
    assert all(row.holders == (0, 2) and row.applies is None for row in rows)


@pytest.mark.parametrize(("holders", "instances"), [(1, 8), (2, 16), (8, 64)])
def test_false_alarms_of_a_class_at_its_coverage_stay_below_the_error(holders: int, instances: int) -> None:
    """Of 60 horizons of 2048 independent requests at x = c each errs by 1 in 4N at most; chance beyond it 1 in 1000."""
    config = MonitorConfig(error=0.5, levels=1, imbalance_allowed=1.0, union_every=2**20, hold=False)
    rng, runs, active = random.Random(holders), 60, tuple(range(instances))
    alarmed = 0
    for _ in range(runs):
        monitor = Monitor(config)
        keys = {True: (1, 2, 3), False: ()}
        for _ in range(2048):
            path = monitor.arrived(keys[rng.random() < holders / instances], BLOCK, 56)
            if monitor.suspects(path, lambda key: (1 << holders) - 1, active):
                alarmed += 1
                break
    assert alarmed <= binom.ppf(0.999, runs, config.error / 2 / instances)


def test_settings_are_checked() -> None:
    with pytest.raises(BadInput, match="union_every"):
        Monitor(MonitorConfig(union_every=0))
