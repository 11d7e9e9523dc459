"""Classes that are covered each but not together, and a monitor that is saved on the way."""

import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler import BadInput
from scheduler.alarm import alarms, evidence_nats, needed_nats
from scheduler.monitor import Monitor, MonitorConfig
from scheduler.prefix_tree import Node, PrefixTree
from scheduler.unions import CLASSES_MAX, Heavy, covered_classes, joint_alarms

BLOCK, COUNT = 16, 8
ACTIVE = tuple(range(COUNT))


def prompt(name: int) -> tuple[int, ...]:
    """Three blocks of a class."""
    return (10 * name + 1, 10 * name + 2, 10 * name + 3)


def stream(weights: list[float], number: int, seed: int = 0) -> list[int]:
    """Classes of requests, drawn by weight; the class after the last weight is fresh each time."""
    rng = random.Random(seed)
    return rng.choices(range(len(weights) + 1), [*weights, 1 - sum(weights)], k=number)


def run(monitor: Monitor, classes: list[int], masks: list[int]) -> list[list[str]]:
    """Names of the suspects of every request."""
    names = []
    for number, name in enumerate(classes):
        fresh = name == len(masks)
        keys = (10**9 + number,) if fresh else prompt(name)
        path = monitor.arrived(keys, BLOCK, 50)
        found = monitor.suspects(path, lambda key: masks[key // 10] if key < 10**9 else 1 << key % COUNT, ACTIVE)
        monitor.decided(path, (number // 7) % COUNT)
        monitor.dispatched(number, path)
        if number >= 40:
            monitor.ended(number - (number * 7) % 40)
        names.append([traffic.name for traffic in found] + [str(traffic.streak) for traffic in found])
    return names


def last_suspects(weights: list[float], masks: list[int], number: int = 3000) -> set[str]:
    return {name for names in run(Monitor(), stream(weights, number), masks)[-500:] for name in names if "pref" in name}


def test_many_small_classes_on_one_holder_alarm_together() -> None:
    """Five times 6% on the same one of eight instances: each is covered, 30% together are not."""
    assert last_suspects([0.06] * 5, [1] * 5) == {"prefixes that share holders with prefix 48 tokens #000003"}


def test_two_classes_with_overlapping_holders_alarm_together() -> None:
    """22% on instances 0 and 1, 22% on 1 and 2: a quarter each would be covered, 44% on three are not."""
    names = last_suspects([0.22, 0.22], [0b011, 0b110])
    assert names == {"prefixes that share holders with prefix 48 tokens #000003"}


def test_the_same_classes_on_instances_of_their_own_do_not_alarm() -> None:
    assert last_suspects([0.06] * 5, [1 << i for i in range(5)]) == set()
    assert last_suspects([0.22, 0.22], [0b0011, 0b1100]) == set()


def test_a_class_in_alarm_is_not_in_a_union_too() -> None:
    names = last_suspects([0.5, 0.02], [1, 1])
    assert names == {"prefix 48 tokens #000003"}


def test_parts_of_a_class_in_alarm_are_not_in_a_union_too() -> None:
    """Ten parts of 5% on the holder of the whole: covered each, but what is wrong is said once."""
    monitor, names = Monitor(), set[str]()
    for number, part in enumerate(stream([0.05] * 10, 3000)):
        keys = (10**9 + number,) if part == 10 else (1, 100 + part)
        path = monitor.arrived(keys, BLOCK, 34)
        found = monitor.suspects(path, lambda key: 1 if key < 10**9 else 1 << key % COUNT, ACTIVE)
        names |= {traffic.name for traffic in found if number > 2000}
    assert names == {"prefix 16 tokens #000001"}


def test_the_confirmation_of_a_union_goes_on_from_look_to_look() -> None:
    monitor, streaks = Monitor(), [0]
    for number, name in enumerate(stream([0.06] * 5, 4000)):
        path = monitor.arrived((10**9 + number,) if name == 5 else prompt(name), BLOCK, 50)
        found = monitor.suspects(path, lambda key: 1 if key < 10**9 else 1 << key % COUNT, ACTIVE)
        streaks += [traffic.streak or 0 for traffic in found]
        monitor.decided(path, 0)
    assert max(streaks) > MonitorConfig().union_every
    assert all(after in (0, before + 1) for before, after in itertools.pairwise(streaks[1:]))


def test_copies_made_since_the_last_look_end_the_alarm_of_a_union() -> None:
    monitor, masks = Monitor(), [1] * 5
    run(monitor, stream([0.06] * 5, 3000), masks)
    path = monitor.arrived(prompt(0), BLOCK, 50)
    (traffic,) = monitor.suspects(path, lambda key: 1, ACTIVE)
    assert traffic.holders == (0,)
    (traffic,) = monitor.suspects(path, lambda key: 0b11, ACTIVE)
    assert traffic.holders == (0, 1)
    assert monitor.suspects(path, lambda key: 0b1111, ACTIVE) == ()


HEAVY = st.lists(
    st.tuples(st.integers(1, 2**COUNT - 2), st.integers(1, 60), st.integers(0, 15), st.integers(0, 30)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=200)
@given(HEAVY)
def test_a_union_alarms_exactly_if_the_classes_within_the_holders_of_one_or_two_do(rows: list[Any]) -> None:
    classes = [
        Heavy(Node(((i,),), 1, None, BLOCK), mask, count, min(count, recent), residents)
        for i, (mask, count, recent, residents) in enumerate(rows)
    ]
    requests = max(200, sum(c.count for c in classes), 4 * sum(c.recent for c in classes))
    residents = max(40, sum(c.residents for c in classes))
    config = MonitorConfig(window_max=requests, error=0.3, union_masks=8)
    quarter = config.window_max // 4
    found = joint_alarms(classes, config.window_max, residents, 2**COUNT - 1, config)
    nats = needed_nats(config.error / 2, config.unions, config.union_tests)
    expected, by_union = dict[Node, float](), dict[int, float]()
    for one, two in itertools.product(classes, classes):
        union = one.mask | two.mask
        inside = [c for c in classes if not c.mask & ~union]
        cases = [
            (sum(c.count for c in inside), config.window_max),
            (sum(c.recent for c in inside), quarter),
            (sum(c.residents for c in inside), residents),
        ]
        loud = [
            evidence_nats(k, w, union.bit_count(), COUNT)
            for k, w in cases
            if union != 2**COUNT - 1 and alarms(k, w, union.bit_count(), COUNT, nats, config.imbalance_allowed)
        ]
        if loud:
            expected |= {c.node: max(expected.get(c.node, 0.0), *loud) for c in inside}
            by_union[union] = max(loud)
    assert found.keys() == expected.keys()
    for node, joint in found.items():
        (own,) = [c for c in classes if c.node is node]
        assert not own.mask & ~joint.mask
        assert by_union[joint.mask] == expected[node]  # of several unions the loudest
        inside = [c for c in classes if not c.mask & ~joint.mask]
        shares = {requests: sum(c.count for c in inside) / requests, quarter: sum(c.recent for c in inside) / quarter}
        assert joint.share == max(shares.values()) == shares[joint.window]
        assert (joint.work_share, joint.residents) == (sum(c.residents for c in inside) / residents, residents)
        assert joint.name == f"prefixes that share holders with {min(c.node.label() for c in inside)}"


@settings(max_examples=30)
@given(st.integers(0, 400), st.integers(0, 50), st.sampled_from([32, 64, 2048]))
def test_a_restored_monitor_answers_as_the_saved_one(cut: int, seed: int, window: int) -> None:
    config = MonitorConfig(window_max=window, window_min=16, error=0.5)
    weights, masks = [0.45, 0.1, 0.1, 0.08], [1, 6, 4, 4]
    classes = stream(weights, 600, seed)
    monitor = Monitor(config)
    run(monitor, classes[:cut], masks)
    data = monitor.save()
    restored = Monitor.restore(data)
    assert restored.save() == data
    assert restored.config == config
    assert run(restored, classes[cut:], masks) == run(monitor, classes[cut:], masks)
    assert restored.save() == monitor.save()
    assert restored.snapshot(lambda key: 1, ACTIVE) == monitor.snapshot(lambda key: 1, ACTIVE)


def test_a_request_on_its_way_while_the_monitor_is_restored_is_counted_in_the_new_one() -> None:
    monitor = Monitor()
    path = monitor.arrived(prompt(1), BLOCK, 50)
    restored = Monitor.restore(monitor.save())
    restored.dispatched(1, path)
    (row,) = restored.snapshot(lambda key: 1, ACTIVE)
    assert row.work_share == 1.0
    (row,) = monitor.snapshot(lambda key: 1, ACTIVE)
    assert row.work_share is None


def test_masks_and_keys_of_any_size_are_saved() -> None:
    monitor = Monitor()
    for number in range(500):
        path = monitor.arrived((2**64 + 1, 2**80 + number % 2), BLOCK, 34)
        monitor.suspects(path, lambda key: 1 << 90, range(100))
        monitor.dispatched(str(number), path)
    assert Monitor.restore(monitor.save()).save() == monitor.save()


def test_what_no_monitor_saved_is_refused() -> None:
    good = Monitor()
    good.dispatched(0, good.arrived((1, 2), BLOCK, 40))
    data = good.save()
    for bad in (
        b"",
        b"[]",
        b"{}",
        data[:-1],
        data.replace(b'"form":1', b'"form":2'),
        data.replace(b"[0,[1,2]", b"[7,[1,2]"),
    ):
        with pytest.raises(BadInput, match=r"data: expected bytes that Monitor\.save gave"):
            Monitor.restore(bad)
    with pytest.raises(BadInput, match="error"):
        Monitor.restore(data.replace(b'"error":0.01', b'"error":7'))
    good.dispatched((1, 2), good.arrived((1, 2), BLOCK, 40))
    with pytest.raises(BadInput, match="request_id"):
        good.save()


NESTED = ((1, 2, 3, 4, 5), (1, 2, 3), (1,), (1, 2, 9), (7, 8), (7,))


@given(st.lists(st.sampled_from(NESTED), min_size=1, max_size=60), st.sets(st.integers(0, 7)))
def test_classes_of_a_union_exclude_each_other_however_they_lie_within_each_other(
    prompts: list[tuple[int, ...]], unseen: set[int]
) -> None:
    """A class between two others may be unseen, as one that is covered by itself: its requests count once, too."""
    tree = PrefixTree(64)
    for keys in prompts:
        tree.enter(tree.add(keys, len(keys), BLOCK, 100))
    seen = {node: 1 for place, node in enumerate(tree.nodes()) if place not in unseen}
    found = covered_classes(tree, seen, 1, MonitorConfig())
    assert sum(each.count for each in found) <= len(prompts)
    assert sum(each.recent for each in found) <= len(prompts)
    assert sum(each.residents for each in found) <= len(prompts)
    assert min((min(each.count, each.recent, each.residents) for each in found), default=0) >= 0


def test_of_more_sets_of_holders_than_are_looked_at_the_heaviest_are() -> None:
    config = MonitorConfig(window_max=400, error=0.3, union_masks=2)
    classes = [
        Heavy(Node(((place,),), 1, None, BLOCK), 1 << place, count, 0, 0)
        for place, count in enumerate((120, 120, 2, 2, 2))
    ]
    found = joint_alarms(classes, 400, 0, 2**COUNT - 1, config)
    assert {classes.index(each) for each in classes if each.node in found} == {0, 1}


def test_of_more_classes_than_are_looked_at_the_heaviest_are() -> None:
    tree = PrefixTree(4096)
    nodes = [tree.add([10 * name + 1], 1, BLOCK, BLOCK) for name in range(CLASSES_MAX + 3)]
    for _ in range(5):
        tree.add([10 * (CLASSES_MAX + 2) + 1], 1, BLOCK, BLOCK)
    found = covered_classes(tree, dict.fromkeys(nodes, 1), 1, MonitorConfig())
    assert len(found) == CLASSES_MAX
    assert found[0].node is nodes[-1]
    assert found[0].count == 6
