"""What the guard remembers: copies on their way, holders as they were at the alarm, and who was sent how many."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from scheduler import Request
from scheduler.cost import StepTime
from scheduler.detect_config import DetectConfig
from scheduler.finding import Kind
from scheduler.guard import FAIR_WINDOW, FROZEN_AT_MOST, THAW_AFTER
from scheduler.mitigation import Mode
from scheduler.monitor import MonitorConfig
from scheduler.routed import Routed
from scheduler.router import Router
from scheduler.router_config import RouterConfig

BLOCK = 16
PREFIX = tuple(range(1, 65))
NAMES = ("a", "b", "c", "d")
#: Few requests are enough to alarm.
MONITOR = MonitorConfig(window_max=32, window_min=8, error=0.5, levels=1, union_every=2**20)


class Scene:
    """A router fed by events whose instance ``a`` holds a prefix that half of the requests share.

    Two of four instances have to hold it: one copy is missing.
    """

    def __init__(self, mode: str, holders: Iterable[str] = "a", *, source: str = "events") -> None:
        config = RouterConfig(source=source, monitor=MONITOR, detect=DetectConfig(error=0.5))  # type: ignore[arg-type]
        self.router = Router(NAMES, ties="first", mitigation=mode, config=config, clock=lambda: 0.0)
        self.number = 0
        for name in holders:
            self.stored(name)

    def stored(self, name: str) -> None:
        self.router.kv_event(name, stored=PREFIX)

    def hot(self, own: int = 4) -> Routed:
        """A request of the class."""
        keys = (*PREFIX, *range(1000 * self.number + 1000, 1000 * self.number + 1000 + own))
        return self.send(keys)

    def cold(self) -> Routed:
        keys = tuple(range(1000 * self.number + 10**6, 1000 * self.number + 10**6 + 8))
        return self.send(keys)

    def send(self, keys: tuple[int, ...]) -> Routed:
        self.number += 1
        request = Request(
            id=self.number, arrival_s=0.0, prompt_tokens=len(keys) * BLOCK, block_keys=keys, block_tokens=BLOCK
        )
        return self.router.route(request)

    def heat(self) -> Routed:
        """Hot and cold requests in turn, the hot ones computed at once, until something is done about them."""
        for _ in range(200):
            done = self.hot()
            if done.instance != done.rule_instance:
                return done
            self.router.first_token(self.number)
            for _ in range(2):
                self.cold()
                self.router.finish(self.number)
        raise AssertionError("no class became hot")


def kinds(done: Routed) -> set[Kind]:
    return {finding.kind for finding in done.detection.findings}


def test_a_copy_on_its_way_counts_as_a_holder_until_it_is_computed() -> None:
    scene = Scene("replicate")
    first = scene.heat()
    carrier = scene.number
    assert first.mitigation is not None
    assert (first.mitigation.kind, first.rule_instance) == ("replicate", "a")
    pending = scene.router._guard.pending
    assert {(slot, name) for slots in pending.values() for slot, name in slots.items()} == {(first.index, carrier)}
    second = scene.hot()
    assert second.instance == second.rule_instance == "a", "one copy was missing, and it is on its way"
    scene.router.first_token(carrier)
    assert pending == {}
    scene.stored(first.instance)
    assert scene.hot().rule_instance in ("a", first.instance)


@pytest.mark.parametrize("end", ["finish", "fail", "leave", "reclaim"])
def test_a_copy_that_will_never_come_is_missing_again(end: str) -> None:
    scene = Scene("replicate")
    first = scene.heat()
    carrier = scene.number
    if end == "leave":
        scene.router.leave(first.instance)
    elif end == "reclaim":
        scene.router.reclaim(now_s=10_000.0)
    else:
        getattr(scene.router, end)(carrier)
    assert scene.router._guard.pending == {}
    assert scene.router._guard._carried == {}
    if end in ("finish", "fail"):
        again = scene.hot()
        assert again.mitigation is not None
        assert again.mitigation.kind == "replicate"


def test_a_copy_that_the_rule_itself_makes_is_on_its_way_too() -> None:
    scene = Scene("replicate")
    scene.heat()
    scene.router.fail(scene.number)
    scene.router._guard.mode = Mode.NONE
    done = scene.hot()
    while done.rule_instance == "a":  # until the product spills by itself
        scene.router.first_token(scene.number)
        done = scene.hot()
    assert {slot for slots in scene.router._guard.pending.values() for slot in slots} == {done.index}
    scene.router._guard.mode = Mode.REPLICATE
    second = scene.hot()
    assert second.instance == second.rule_instance


def test_every_class_of_the_prompt_in_alarm_has_its_copy_on_its_way() -> None:
    scene = Scene("replicate")
    scene.router.kv_event("a", stored=(1000, 1001, 1002, 1003), after=64)
    done = scene.send((*PREFIX, 1000, 1001, 1002, 1003))
    while done.instance == done.rule_instance:
        scene.router.first_token(scene.number)
        scene.cold()
        scene.router.finish(scene.number)
        done = scene.send((*PREFIX, 1000, 1001, 1002, 1003))
    names = {finding.evidence["class"] for finding in done.detection.findings if finding.kind is Kind.HOT_SPOT}
    assert names
    assert names <= set(scene.router._guard.pending)


def test_from_history_a_copy_is_known_as_soon_as_it_is_sent() -> None:
    scene = Scene("replicate", (), source="history")
    scene.hot()
    scene.router.first_token(scene.number)
    first = scene.heat()
    second = scene.hot()
    assert second.instance == second.rule_instance
    assert first.instance != "a"


def test_the_filter_keeps_a_class_from_those_that_held_it_at_the_alarm() -> None:
    scene = Scene("filter")
    first = scene.heat()
    assert (first.rule_instance, first.mitigation is not None and first.mitigation.kind) == ("a", "filter")
    assert {frozen for frozen, _ in scene.router._guard._frozen.values()} == {frozenset({0})}
    guard = scene.router._guard
    hot = next(finding for finding in first.detection.findings if finding.kind is Kind.HOT_SPOT)
    now = msgspec.structs.replace(hot, instances=("a", "b"))
    found = msgspec.structs.replace(first.detection, findings=(now,))
    slots = scene.router._ledger.slots.routable
    assert guard._with_frozen_holders(found, scene.router._ledger.view, slots).findings[0].instances == ("a",)
    guard._decisions += THAW_AFTER  # so long since the last alarm, and no longer: still frozen
    assert guard._with_frozen_holders(found, scene.router._ledger.view, slots).findings[0].instances == ("a",)
    guard._decisions += THAW_AFTER + 1
    assert guard._with_frozen_holders(found, scene.router._ledger.view, slots).findings[0].instances == ("a", "b")


def test_no_more_classes_stay_frozen_than_are_hot() -> None:
    scene = Scene("filter")
    first = scene.heat()
    guard, slots = scene.router._guard, scene.router._ledger.slots.routable
    hot = next(finding for finding in first.detection.findings if finding.kind is Kind.HOT_SPOT)
    for number in range(3 * FROZEN_AT_MOST):
        other = msgspec.structs.replace(hot, evidence={**hot.evidence, "class": f"class {number}"})
        found = msgspec.structs.replace(first.detection, findings=(other,))
        guard._decisions += THAW_AFTER // 16
        guard._with_frozen_holders(found, scene.router._ledger.view, slots)
        assert len(guard._frozen) <= FROZEN_AT_MOST + 1
        assert f"class {number}" in guard._frozen


def test_who_comes_into_the_slot_of_a_silent_one_may_be_tried_at_once() -> None:
    scene = Scene("auto")
    guard = scene.router._guard
    guard._tried_s = {0: 5.0, 1: 6.0}
    scene.router.leave("a")
    assert guard._tried_s == {1: 6.0}


def test_who_comes_into_the_slot_of_one_that_left_starts_with_nothing() -> None:
    scene = Scene("filter")
    scene.heat()
    guard = scene.router._guard
    scene.router.leave("a")
    assert guard._sent[0] == 0
    assert all(0 not in slots for slots, _ in guard._frozen.values())
    scene.router.join("e")
    assert guard._sent[0] == 0
    assert sum(guard._sent) == len(guard._recent)


def test_the_fair_share_is_counted_over_a_window() -> None:
    scene = Scene("none", ())
    for _ in range(5 * FAIR_WINDOW * len(NAMES)):
        scene.cold()
        scene.router.finish(scene.number)
    guard = scene.router._guard
    assert sum(guard._sent) == len(guard._recent) == FAIR_WINDOW * len(NAMES)
    assert guard._sent == [list(guard._recent).count(slot) for slot in range(len(NAMES))]


def test_a_silent_instance_that_the_rule_takes_gets_one_request_each_grace_period() -> None:
    """A first token that was lost on its way must not ban an instance until its request is given up."""
    config = RouterConfig(source="events")
    router = Router(["a", "b"], ties="first", config=config, step_times=StepTime(0.005, 1e-4, 1e-5, 1e-8))
    keys = tuple(range(64))
    router.kv_event("a", stored=keys)

    def ask(number: int, at_s: float) -> Routed:
        request = Request(id=number, arrival_s=at_s, prompt_tokens=1040, block_keys=keys, block_tokens=BLOCK)
        return router.route(request, now_s=at_s)

    assert ask(0, 0.0).instance == "a"  # its first token is lost
    taken = []
    for second in range(100, 121):  # too few for an alarm
        routed = ask(second, float(second))
        assert routed.rule_instance == "a"
        assert routed.detection.found(Kind.PROGRESS_STALLED) is not None
        taken.append(routed.instance)
        if routed.instance == "b":
            router.first_token(second, now_s=second + 0.2)
            router.finish(second, 1, now_s=second + 0.3)
        else:
            router.fail(second, now_s=second + 0.3)  # still silent
    assert [second for second, name in enumerate(taken) if name == "a"] == [0, 10, 20]
    assert ask(200, 200.0).instance == "a"
    router.first_token(200, now_s=200.1)  # it lives
    assert ask(201, 200.2).instance == "a"


def test_a_slot_that_is_free_again_holds_no_union() -> None:
    scene = Scene("auto")
    guard = scene.router._guard
    guard.monitor._covered = dict.fromkeys(guard.monitor._tree.nodes(), 3)
    guard.left(0)
    assert all(mask == 0b10 for mask in guard.monitor._covered.values())
