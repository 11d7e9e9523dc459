"""The router by hand: decisions, events, members, errors."""

from __future__ import annotations

import math
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from scheduler import BadInput, Request, StepTime, policy
from scheduler.finding import Kind
from scheduler.policies.catalogue import CATALOGUE
from scheduler.router import Router
from scheduler.router_config import RouterConfig

BLOCK = 16
NAMES = ("a", "b", "c")
LINE = StepTime(0.01, 1e-4, 1e-3, 0.0)


def ask(number: int, *keys: int, tokens: int = 64, arrival_s: float = 0.0) -> Request:
    return Request(id=number, arrival_s=arrival_s, prompt_tokens=tokens, block_keys=keys, block_tokens=BLOCK)


def router(*args: Any, **kwargs: Any) -> Router:
    """A router whose clock stands still and whose ties go to the first."""
    return Router(*(args or (NAMES,)), **{"ties": "first", "clock": lambda: 0.0, **kwargs})


# ---- requests ---------------------------------------------------------------------------------------------------


def test_a_request_in_flight_is_not_booked_again() -> None:
    it = router()
    first, second = it.route(ask(1, 7)), it.route(ask(1, 7))
    assert first is second
    assert (it.open_requests, it.ignored, len(it.log)) == (1, 1, 1)


def test_a_request_that_ended_can_be_sent_again() -> None:
    it = router()
    it.route(ask(1))
    it.fail(1)
    assert it.route(ask(1)) is not it.log[0]
    assert it.open_requests == 1
    it.finish(1)
    assert it.booked == 0


def test_a_name_can_be_anything_that_can_be_looked_up() -> None:
    it = router()
    it.route(ask(1), request_id="7f3a")
    it.route(ask(1), request_id=("tenant", 4))
    it.finish("7f3a")
    it.finish(("tenant", 4))
    assert (it.booked, it.ignored) == (0, 0)


@pytest.mark.parametrize("name", [[], math.nan, Decimal("nan"), math.inf, -math.inf, {1: 2}])
def test_what_cannot_be_looked_up_or_told_from_others_is_no_name(name: Any) -> None:
    it = router()
    for call in (lambda: it.route(ask(1), request_id=name), lambda: it.finish(name)):
        with pytest.raises(BadInput, match="request_id"):
            call()
    assert (it.open_requests, it.ignored) == (0, 0)


def test_what_replies_were_long_is_believed_of_the_next_by_the_detector_too() -> None:
    it = router(("a", "b"), step_times=StepTime(0.01, 1e-4, 1e-3, 0.0), mitigation="none")
    it.heard(ask(100), "a", 1, request_id="warm", now_s=0.0)
    for number in range(6):
        it.heard(ask(number), "a", 1, request_id=("busy", number), now_s=0.0)
        it.first_token(("busy", number))
    it.first_token("warm")
    it.finish("warm", 5000)
    index = it._ledger.history
    assert index is not None
    index.record(0, (1, 2, 3, 4), 0.0)
    routed = it.route(ask(7, 1, 2, 3, 4))
    found = routed.detection.found(Kind.LEVERAGE)
    assert routed.instance == "a"
    assert found is not None
    expected = it._ledger.accounting.expected_output_tokens()
    assert expected > 1000
    assert found.evidence["kappa_tokens"] == pytest.approx(2 * 1e-3 * 0.5 * expected / 1e-4)


def test_events_of_unknown_and_ended_requests_are_counted_and_ignored() -> None:
    it = router()
    it.route(ask(1))
    it.first_token(1)
    it.first_token(1)
    it.first_token(2)
    it.prefill_progress(1, 5)
    it.admitted(3, 5)
    it.preempted(3, 5)
    it.finish(1)
    it.finish(1)
    it.fail(1)
    it.kv_event("a", stored=(1,))  # this router learns from what it sends
    it.kv_event("nobody", stored=(1,))
    it.heard(ask(9), "nobody", 5)
    assert (it.ignored, it.booked, it.open_requests) == (10, 0, 0)


def test_of_a_dispatch_heard_after_its_end_nothing_stays_open() -> None:
    it = router()
    it.finish(9)
    it.heard(ask(9), "a", 64)
    assert (it.open_requests, it.ignored) == (0, 2)


def test_a_request_that_another_router_had_is_now_where_we_sent_it() -> None:
    it = router()
    it.heard(ask(9), "c", 64)
    done = it.route(ask(9))
    assert (done.instance, it.open_requests) == ("a", 1)
    assert it.state(ask(8)).waiting == (1, 0, 0)


def test_a_failure_is_no_sign_of_progress_and_an_end_is() -> None:
    it = router(["a"], step_times=LINE)
    for number in (1, 2, 3):
        it.route(ask(number), now_s=0.0)
    it.fail(1, now_s=5.0)
    assert it.state(ask(9)).updated_s == (0.0,)
    it.finish(2, now_s=6.0)
    assert it.state(ask(9)).updated_s == (6.0,)


def test_a_lost_end_is_reclaimed() -> None:
    it = router(config=RouterConfig(lost_after_s=10.0))
    it.route(ask(1), now_s=0.0)
    it.route(ask(2), now_s=6.0)
    assert it.reclaim(now_s=9.0) == []
    assert it.reclaim(now_s=10.0) == [1]
    it.route(ask(3), now_s=16.0)
    assert it.open_requests == 1
    again = it.route(ask(3), now_s=100.0)
    assert (again.at_s, it.open_requests) == (100.0, 1)


def test_nothing_is_reclaimed_if_requests_may_take_forever() -> None:
    it = router(config=RouterConfig(lost_after_s=None))
    it.route(ask(1), now_s=0.0)
    assert it.reclaim(now_s=1e9) == []


def test_time_never_runs_backwards() -> None:
    it = router(config=RouterConfig(lost_after_s=10.0))
    assert it.route(ask(1), now_s=5.0).at_s == 5.0
    assert it.route(ask(2), now_s=3.0).at_s == 5.0
    assert it.route(ask(3), now_s=-math.inf).at_s == 5.0
    assert it.reclaim(now_s=14.0) == []


@pytest.mark.parametrize("now_s", [math.nan, math.inf, 1e10, "noon", True, []])
def test_a_time_that_cannot_be_is_refused_and_spoils_nothing(now_s: Any) -> None:
    it = router()
    with pytest.raises(BadInput, match="now_s"):
        it.route(ask(1), now_s=now_s)
    assert it.route(ask(1), now_s=2.0).at_s == 2.0


def test_the_expected_output_is_learned() -> None:
    it = router(["a"], "marginal_delay_offset", step_times=LINE)
    kappa_before = it.route(ask(1)).scores[0] - 64
    for number in range(2, 200):
        it.route(ask(number))
        it.finish(number, output_tokens=10)
    it.finish(1)
    kappa_after = it.route(ask(500)).scores[0] - 64
    assert kappa_after == pytest.approx(kappa_before * (256 + 198 * 10) / 199 / 256)


# ---- caches -----------------------------------------------------------------------------------------------------


def test_hits_follow_what_engines_say() -> None:
    it = router(config=RouterConfig(source="events"))
    it.kv_event("b", stored=(1, 2))
    it.kv_event("b", stored=(3,), after=2)
    assert it.state(ask(1, 1, 2, 3)).hit_tokens == (0, 48, 0)
    it.kv_event("b", removed=(2,))
    assert it.state(ask(1, 1, 2, 3)).hit_tokens == (0, 16, 0)
    it.kv_event("b", cleared=True, stored=(1,), removed=(1,))
    assert it.state(ask(1, 1, 2, 3)).hit_tokens == (0, 16, 0)
    it.kv_event("b", stored=(2,), after=1)
    assert it.state(ask(1, 1, 2, 3)).hit_tokens == (0, 32, 0)


def test_only_full_blocks_are_hits() -> None:
    it = router(["a"])
    it.route(ask(1, 1, 2, tokens=20))
    assert it.state(ask(2, 1, 2, tokens=32)).hit_tokens == (16,)


# ---- members ----------------------------------------------------------------------------------------------------


def test_a_draining_instance_keeps_its_requests_and_gets_no_new_ones() -> None:
    it = router(["a", "b"])
    it.route(ask(1))
    it.drain("a")
    it.drain("a")
    assert {it.route(ask(number)).instance for number in range(2, 20)} == {"b"}
    assert (it.instances, it.draining, it.open_requests) == (("b",), ("a",), 19)
    it.first_token(1)
    it.finish(1)
    assert (it.ignored, it.open_requests) == (0, 18)
    it.join("a")
    assert it.route(ask(20)).instance == "a"
    assert it.draining == ()


def test_who_leaves_gives_back_its_requests_and_forgets_its_cache() -> None:
    it = router(["a", "b"])
    for number in (1, 2, 3):
        it.route(ask(number, 7), now_s=1.0)
    assert it.leave("a") == [1, 3]
    assert (it.open_requests, it.instances) == (1, ("b",))
    it.finish(2)
    it.leave("b")
    it.join("b")
    again = it.route(ask(1, 7))
    assert (again.instance, again.hit_tokens) == ("b", 0)
    it.join("a")
    state = it.state(ask(9, 7))
    assert dict(zip(state.ids, state.hit_tokens, strict=True)) == {"a": 0, "b": 16}


def test_without_a_routable_instance_nothing_is_booked() -> None:
    for it in (router([]), router(["a"])):
        if it.instances:
            it.drain("a")
        with pytest.raises(BadInput, match="instances: expected at least one instance that is not draining"):
            it.route(ask(1))
        assert len(it.state(ask(1))) == len(it.state(ask(1)).running) == 0
        it.join("a")
        assert it.route(ask(1)).instance == "a"


def test_who_is_there_cannot_join_and_who_is_not_can_neither_drain_nor_leave() -> None:
    it = router()
    with pytest.raises(BadInput, match="an id that no other instance has"):
        it.join("a")
    for method in (it.drain, it.leave):
        with pytest.raises(BadInput, match="nearest: a"):
            method("aa")


def test_who_cannot_join_changes_nothing() -> None:
    it = router(["a"], "mooncake_min_ttft", step_times={"a": LINE})
    with pytest.raises(BadInput, match=r"step_times\['b'\]"):
        it.join("b")
    assert it.instances == ("a",)
    assert it.route(ask(1)).scores == it.log[0].scores
    assert len(it.log[0].scores) == 1


def test_a_memory_survives_what_changes_no_position() -> None:
    it = router(NAMES, "round_robin")
    assert [it.route(ask(number)).instance for number in (1, 2)] == ["a", "b"]
    it.join("d")
    it.drain("d")
    first = it.route(ask(3)).instance
    it.drain("d")
    it.leave("d")
    assert (first, it.route(ask(4)).instance) == ("a", "b")


# ---- what is asked for ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"policy": "lmetrik"}, "nearest: lmetric"),
        ({"policy": 7}, "policy: expected a text"),
        ({"ties": "last"}, "ties: expected random, first or None"),
        ({"mitigation": "filtre"}, "nearest: filter"),
        ({"config": RouterConfig(source="rumour")}, "source"),  # type: ignore[arg-type]
        ({"config": RouterConfig(source="events", ttl_s=1.0)}, "ttl_s"),
        ({"instances": ["a", "a"]}, "an id that no other instance has"),
        ({"instances": "abc"}, "a sequence of texts"),
        ({"instances": 3}, "a sequence of texts"),
        ({"seed": "one"}, "seed: expected an integer"),
        ({"instances": [""]}, "a text that is not empty"),
        ({"policy": "mooncake_min_ttft"}, "step_times"),
        ({"policy": "vllm_v1_2026"}, "kv_tokens"),
        ({"step_times": {"a": LINE}}, r"step_times\['b'\]"),
        ({"policy": "marginal_delay_offset", "step_times": StepTime(0.01, 0.0, 1e-3, 0.0)}, "prefill_s_per_token > 0"),
    ],
)
def test_what_cannot_be_is_refused_at_once(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        Router(**{"instances": NAMES, **asked})


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_every_rule_routes_if_it_is_given_what_it_reads(name: str) -> None:
    config = RouterConfig(kv_tokens=100_000)
    it = router(NAMES, name, ties=None, config=config, step_times=LINE, seed=4)
    chosen = set()
    for number in range(60):
        keys = () if number % 3 else (1, 2)
        done = it.route(ask(number, *keys, arrival_s=float(number)), now_s=float(number))
        chosen.add(done.rule_instance)
        if number >= 6:
            it.first_token(number - 6, now_s=float(number))
            it.finish(number - 6, output_tokens=9, now_s=float(number))
    assert it.open_requests == 6
    assert it.ignored == 0
    assert len(chosen) > 1 or name == "polyserve"  # which fills one instance while it is in time


def test_random_ties_are_shared_out_and_the_first_is_the_first() -> None:
    drawn: Counter[str] = Counter()
    it = router(NAMES, ties="random", seed=3)
    for number in range(600):
        drawn[it.route(ask(number)).instance] += 1
        it.finish(number)
    assert min(drawn[name] for name in NAMES) > 150
    it = router()
    for number in range(20):
        assert it.route(ask(number)).instance == "a"
        it.finish(number)


def test_the_same_seed_draws_the_same() -> None:
    def drawn(seed: int) -> list[str]:
        it = router(NAMES, ties="random", seed=seed)
        return [it.route(ask(number)).instance for number in range(40)]

    assert drawn(1) == drawn(1) != drawn(2)


def test_a_policy_keeps_its_ties_if_none_are_asked_for() -> None:
    assert router(policy=policy("lmetric:ties=random"), ties=None).policy.label == "lmetric:ties=random"
    assert router(policy="lmetric", ties="random").policy.label == "lmetric:ties=random"
    assert router(policy="bailian", ties="random").policy.label == "bailian"


def test_a_policy_that_names_its_ties_is_not_overruled() -> None:
    assert Router(["a", "b"], "lmetric:ties=first").policy.label == "lmetric"
    assert Router(["a", "b"], "lmetric").policy.label == "lmetric:ties=random"
