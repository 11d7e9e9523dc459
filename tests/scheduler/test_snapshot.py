"""A router that starts again from its snapshot cannot be told from one that never stopped."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xxhash import xxh3_128_hexdigest

from scheduler import BadInput, Finding, Kind, Request, Severity
from scheduler.guard import Guard
from scheduler.policies.catalogue import CATALOGUE
from scheduler.policies.rule import Rule
from scheduler.routed_state import again, plain
from scheduler.router import Router
from scheduler.router_config import RouterConfig
from scheduler.snapshot import as_bytes, from_bytes
from tests.scheduler.router_events import BLOCK, HISTORIES, answer, routers

FAR = settings().max_examples > 100  # a profile that explores


def ask(number: int, *keys: int) -> Request:
    return Request(id=number, arrival_s=0.0, prompt_tokens=64, block_keys=keys, block_tokens=BLOCK)


def busy() -> Router:
    """A router with something in every drawer."""
    router = Router(["a", "b", "c"], ties="random", config=RouterConfig(lost_after_s=50.0), clock=lambda: 9.0)
    for number in range(12):
        router.route(ask(number, 1, 2, number), now_s=float(number) / 2)
    router.first_token(3, now_s=6.0)
    router.finish(4, 17, now_s=6.0)
    router.drain("b")
    router.leave("c")
    return router


def bytes_of(body: Any) -> bytes:
    """Bytes of version 1 with the right checksum."""
    text = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return b"argprod router 1 %s\n%s" % (xxh3_128_hexdigest(text).encode(), text)


def fields_of(data: bytes) -> Any:
    return json.loads(data.partition(b"\n")[2])


# ---- the law ----------------------------------------------------------------------------------------------------


@settings(max_examples=settings().max_examples if FAR else 150)
@given(routers(), st.lists(HISTORIES, min_size=2, max_size=4))
def test_a_router_that_goes_on_cannot_be_told_from_one_that_never_stopped(
    original: Router, parts: list[list[tuple[float, tuple[Any, ...]]]]
) -> None:
    now_s: float = 0  # whole until time passes in parts of a second
    resumed, number = original, 0
    for part in parts:
        for passed_s, event in part:
            now_s, number = now_s + passed_s, number + 1
            expected = answer(original, event, now_s, number)
            if resumed is not original:
                assert answer(resumed, event, now_s, number) == expected
        resumed = Router.restore(resumed.snapshot(), clock=lambda: 0.0)
        for what in ("instances", "draining", "open_requests", "booked", "ignored"):
            assert getattr(resumed, what) == getattr(original, what)
        assert resumed.traffic() == original.traffic()
        assert resumed.snapshot() == original.snapshot()


@given(routers(), HISTORIES)
def test_taking_a_snapshot_changes_nothing(router: Router, events: list[tuple[float, tuple[Any, ...]]]) -> None:
    for number, (now_s, event) in enumerate(events):
        answer(router, event, 100 * number + now_s, number)
        assert router.snapshot() == router.snapshot()


def test_what_was_taken_does_not_change_with_the_router() -> None:
    router = busy()
    data = router.snapshot()
    kept = bytes(data)
    router.finish(5)
    Router.restore(data).finish(6)
    assert data == kept != router.snapshot()


def test_a_duplicate_of_a_request_in_flight_gets_the_decision_that_was_made() -> None:
    router = busy()
    made = router.route(ask(3, 1, 2, 3), now_s=7.0)
    resumed = Router.restore(router.snapshot())
    assert resumed.route(ask(3, 1, 2, 3), now_s=8.0) == made
    assert resumed.ignored == router.ignored + 1


def test_the_log_starts_empty_and_the_sink_is_the_new_one() -> None:
    lines: list[bytes] = []
    resumed = Router.restore(busy().snapshot(), log_sink=lines.append)
    assert not resumed.log
    resumed.route(ask(50), now_s=10.0)
    assert (len(resumed.log), len(lines)) == (1, 1)


# ---- time -------------------------------------------------------------------------------------------------------


def test_a_clock_that_starts_at_zero_again_is_put_on() -> None:
    router = Router(["a"], clock=lambda: 5000.0)
    router.route(ask(1))
    readings = iter([2.0, 7.0])
    resumed = Router.restore(router.snapshot(), clock=lambda: next(readings))
    assert [resumed.route(ask(number)).at_s for number in (2, 3)] == [5000.0, 5005.0]


def test_time_that_passed_meanwhile_has_passed() -> None:
    router = Router(["a"], clock=lambda: 100.0, config=RouterConfig(lost_after_s=10.0))
    router.route(ask(1))
    assert Router.restore(router.snapshot(), clock=lambda: 111.0).reclaim() == [1]


# ---- what cannot be saved ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [("tenant", 4), 1.5, True, b"bytes", "\ud800"])
def test_a_request_in_flight_has_a_number_or_a_text_for_a_name(name: Any) -> None:
    router = Router(["a"], clock=lambda: 0.0)
    router.route(ask(1), request_id=name)
    with pytest.raises(BadInput, match=r"request_id|router"):
        router.snapshot()
    router.finish(name)
    if not isinstance(name, str):  # other names are forgotten once they are over
        assert Router.restore(router.snapshot()).booked == 0


def test_a_key_that_is_none_is_named_when_the_snapshot_is_taken() -> None:
    """Where engines tell of caches, a router only hands on the keys of prompts and does not look at all of them."""
    router = Router(["a"], clock=lambda: 0.0, config=RouterConfig(source="events"))
    router.route(ask(1, 1, "two", 3))  # type: ignore[arg-type]
    for _ in range(2):  # in flight, and in the window of the monitor
        with pytest.raises(BadInput, match="block_keys"):
            router.snapshot()
        router.finish(1)


def test_a_key_that_is_none_among_the_blocks_in_use_is_named_too() -> None:
    ledger = Router(["a"], "dynamo", clock=lambda: 0.0)._ledger
    assert ledger.active is not None
    ledger.active.add(0, (1, "two", 3))  # type: ignore[arg-type]
    state = from_bytes(SNAPSHOT)
    with pytest.raises(BadInput, match="block_keys"):
        as_bytes(msgspec.structs.replace(state, ledger=ledger.save()))


def test_a_rule_that_only_looks_like_one_of_the_catalogue_is_refused() -> None:
    twin = Rule("lmetric", "", "", CATALOGUE["lmetric"].key)
    with pytest.raises(BadInput, match="a rule of the catalogue"):
        Router(["a"], twin.with_knobs(), ties=None).snapshot()


# ---- damaged and foreign bytes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (None, "bytes that Router.snapshot gave"),
        ("argprod router 1", "bytes that Router.snapshot gave"),
        (b"", "they begin otherwise"),
        (b"{}", "they begin otherwise"),
        (b"argprod router 1\n{}", "they begin otherwise"),
        (b"argprod router 2 %s\n{}" % (b"0" * 32), "another version"),
        (b"argprod router 1 %s\n{}" % (b"0" * 32), "they are damaged"),
    ],
)
def test_what_is_no_snapshot_is_named(data: Any, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        Router.restore(data)


@given(st.data())
def test_cut_or_flipped_bytes_are_refused(data: st.DataObject) -> None:
    whole = SNAPSHOT
    place = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(BadInput):
        Router.restore(whole[:place])
    flipped = bytearray(whole)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BadInput):
        Router.restore(bytes(flipped))


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(ANY_JSON | st.binary(max_size=40))
def test_other_json_with_the_right_checksum_is_refused(body: Any) -> None:
    with pytest.raises(BadInput):
        Router.restore(bytes_of(body))


@settings(max_examples=max(300, settings().max_examples))
@given(st.data())
def test_a_value_in_the_wrong_place_is_refused_or_still_gives_a_router(data: st.DataObject) -> None:
    fields, steps = fields_of(SNAPSHOT), 0
    at = fields
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = data.draw(st.sampled_from(keys))
        steps += 1
        if not (isinstance(at[key], dict | list) and at[key]) or (steps > 2 and data.draw(st.booleans())):
            break
        at = at[key]
    at[key] = data.draw(ANY_JSON)
    try:
        resumed = Router.restore(bytes_of(fields))
    except BadInput:
        return
    assert isinstance(resumed.snapshot(), bytes)


def test_deep_json_is_refused() -> None:
    with pytest.raises(BadInput):
        Router.restore(bytes_of(b'{"values":{"a":' + b"[" * 100_000))


SNAPSHOT = busy().snapshot()


# ---- parts ------------------------------------------------------------------------------------------------------


def test_all_that_a_guard_remembers_comes_back() -> None:
    guard = busy()._guard
    guard.pending, guard._carried = {"x": {2: 7, 0: "y"}}, {7: ["x"], "y": ["x"]}
    guard._frozen, guard._decisions, guard._tried_s = {"x": (frozenset({2, 0}), 9)}, 12, {1: 3.5}
    found = Guard.restore(guard.mode, guard.config, 3, guard.save())
    for name in ("pending", "_carried", "_frozen", "_decisions", "_recent", "_sent", "_tried_s"):
        assert getattr(found, name) == getattr(guard, name)
    assert sum(found._sent) == len(found._recent) > 0
    with pytest.raises(BadInput, match=r"guard\.recent: expected a slot from 0 to 0, got [12]$"):
        Guard.restore(guard.mode, guard.config, 1, guard.save())


def test_capacity_and_age_of_what_is_cached_hold_for_the_restored_router_too() -> None:
    config = RouterConfig(capacity_blocks=4, ttl_s=10.0)
    it = Router(("a",), ties="first", config=config, clock=lambda: 0.0)
    it.route(ask(1, 1, 2, 3), now_s=1.0)
    again = Router.restore(it.snapshot(), clock=lambda: 0.0)
    for router in (it, again):
        assert router.route(ask(2, 1, 2, 3), now_s=2.0).hit_tokens > 0
        router.route(ask(3, 11, 12, 13), now_s=3.0)
        assert [router._ledger.index.holders(key) for key in (1, 2, 3, 11, 12, 13)] == [1, 0, 0, 1, 1, 1]
        router.route(ask(4, 21), now_s=14.0)
        assert [router._ledger.index.holders(key) for key in (11, 12, 13, 21)] == [0, 0, 0, 1]


def test_values_without_a_type_come_back_as_they_were() -> None:
    made = busy().route(ask(3, 1, 2, 3))
    evidence: dict[str, Any] = {
        "a": (1, 2.0, (None, "x")),
        "b": [1, (2,)],
        "c": {"d": math.inf},
        "e": -math.inf,
        "f": True,
    }
    finding = Finding(
        kind=Kind.STALE,
        severity=Severity.INFO,
        instances=("a",),
        evidence=evidence,
        explanation="",
        claim="",
        advice="",
    )
    detection = msgspec.structs.replace(made.detection, findings=(finding,))
    odd = msgspec.structs.replace(made, scores=(1, (0, 2.5), (1, math.inf)), detection=detection)
    read = msgspec.json.decode(msgspec.json.encode(plain(odd)), type=type(odd))
    assert again(read) == odd
    assert math.isnan(again(plain(msgspec.structs.replace(odd, scores=(math.nan,)))).scores[0])
