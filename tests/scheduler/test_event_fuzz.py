"""Whatever a router is called with, in whatever order: it works or says what is wrong; no counter goes below zero."""

from __future__ import annotations

import contextlib
import math
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import BadInput, Request
from scheduler.monitor import MonitorConfig
from scheduler.router import Router
from scheduler.router_config import RouterConfig
from scheduler.testing.insane import NOT_NUMBERS, Rude

#: Few requests are enough to alarm.
MONITOR = MonitorConfig(window_max=16, window_min=4, error=0.5, levels=1, union_every=8)
SANE_KEYS = (1, 4, 13)
#: What stands where something else should; all have a text, which Hypothesis wants to write.
WRONG: tuple[Any, ...] = (
    *(value for value in NOT_NUMBERS if not isinstance(value, Rude)),
    *(-1, -0.5, 10**400, -(10**400), Fraction(-1, 3), 3.0, 2**40, "text", object()),
)


def one_of(*values: Any) -> st.SearchStrategy[Any]:
    """One of the values, also of those that equal each other."""
    return st.integers(0, len(values) - 1).map(values.__getitem__)


def mostly(sane: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Sane values, and now and then anything."""
    return st.integers(0, 15).flatmap(lambda draw: sane if draw else one_of(*WRONG))


NAMES = mostly(st.integers(0, 2))
INSTANCES = mostly(st.sampled_from("abc"))
TOKENS = mostly(st.integers(-3, 100) | st.sampled_from([100, 1000]))
TIMES = st.none() | mostly(st.floats(-5, 200) | one_of(-math.inf, 0))
KEYS = mostly(st.integers(0, 4).map(lambda count: SANE_KEYS[:count]) | one_of([1], ["x"], (1, None), (1, [2]), {1: 2}))
REQUEST_KEYS = mostly(st.integers(0, 4).map(lambda count: SANE_KEYS[:count]))


@st.composite
def requests(draw: st.DrawFn) -> Any:
    """Requests of which any field may be anything; of keys the ends are looked at."""
    if not draw(st.integers(0, 9)):
        return draw(one_of(None, "request", 7, object(), Request))
    sane: dict[str, Any] = {
        "id": draw(st.integers(0, 2)), "arrival_s": 0.0, "prompt_tokens": draw(st.integers(48, 80)),
        "block_tokens": 16, "block_keys": SANE_KEYS, "expected_output_tokens": draw(st.none() | st.just(9.0)),
    }  # fmt: skip
    fields = sorted(Request.__struct_fields__)
    for name in draw(st.lists(st.sampled_from(fields), max_size=1)):
        sane[name] = draw(REQUEST_KEYS if name == "block_keys" else mostly(st.just(sane.get(name, 1))))
    return Request(**sane)


CALLS = st.one_of(
    st.tuples(st.just("route"), st.fixed_dictionaries({"request": requests()}, optional={"request_id": NAMES})),
    st.tuples(st.just("route"), st.fixed_dictionaries({"request": requests()}, optional={"request_id": NAMES})),
    st.tuples(st.just("state"), st.fixed_dictionaries({"request": requests()})),
    st.tuples(
        st.just("heard"),
        st.fixed_dictionaries(
            {"request": requests(), "instance": INSTANCES, "new_tokens": TOKENS}, optional={"request_id": NAMES}
        ),
    ),
    st.tuples(st.sampled_from(["first_token", "fail"]), st.fixed_dictionaries({"request_id": NAMES})),
    st.tuples(st.just("finish"), st.fixed_dictionaries({"request_id": NAMES}, optional={"output_tokens": TOKENS})),
    st.tuples(st.just("prefill_progress"), st.fixed_dictionaries({"request_id": NAMES, "tokens": TOKENS})),
    st.tuples(
        st.sampled_from(["admitted", "preempted"]), st.fixed_dictionaries({"request_id": NAMES, "new_tokens": TOKENS})
    ),
    st.tuples(
        st.just("kv_event"),
        st.fixed_dictionaries(
            {"instance": INSTANCES},
            optional={"stored": KEYS, "removed": KEYS, "after": mostly(st.just(1)), "cleared": mostly(st.booleans())},
        ),
    ),
    st.tuples(st.sampled_from(["join", "drain", "leave"]), st.fixed_dictionaries({"instance": INSTANCES})),
    st.tuples(st.sampled_from(["reclaim", "traffic"]), st.just({})),
)
UNTIMED = {"kv_event", "join", "drain", "leave", "traffic"}


def checked(router: Router) -> None:
    """No counter is below zero or no whole number; all are zero if and only if nothing is in flight."""
    books = router._ledger.accounting
    for column in (books.running, books.waiting, books.queued_prefill_tokens, books.context_tokens):
        assert all(type(value) is int and value >= 0 for value in column)
    assert sum(books.running) + sum(books.waiting) == router.open_requests
    assert (router.booked == 0) is (router.open_requests == 0)
    assert router.ignored >= 0
    assert all(math.isfinite(at_s) and at_s >= 0 for at_s in books.progress_at_s)


@given(
    st.lists(st.tuples(CALLS, TIMES), min_size=1, max_size=9)
    | st.lists(st.tuples(CALLS, TIMES), min_size=30, max_size=50),
    st.sampled_from(["history", "events"]),
    st.sampled_from(["auto", "filter", "replicate"]),
    st.sampled_from(["lmetric", "preble", "sglang_cache_aware", "bailian", "aibrix_conductor"]),
)
def test_a_call_works_or_says_what_is_wrong(
    calls: list[tuple[tuple[str, dict[str, Any]], Any]], source: Any, mitigation: str, rule: str
) -> None:
    config = RouterConfig(source=source, monitor=MONITOR, lost_after_s=50.0)
    lines: list[bytes] = []
    router = Router(["a", "b"], rule, mitigation=mitigation, config=config, clock=lambda: 1.0,
                    log_sink=lines.append)  # fmt: skip
    for (method, arguments), now_s in calls:
        time = {} if method in UNTIMED else {"now_s": now_s}
        before = router.open_requests, router.ignored
        try:
            getattr(router, method)(**arguments, **time)
        except BadInput:
            assert (router.open_requests, router.ignored) == before or method in ("route", "reclaim")
        checked(router)
    assert all(msgspec.json.decode(line)["request"] is not None for line in lines)
    for name in (*router.instances, *router.draining):
        router.leave(name)
    assert router.booked == 0


ARGUMENTS = ("instances", "policy", "ties", "seed", "mitigation")


@given(st.sampled_from(ARGUMENTS), one_of(*WRONG, (), ["a"], ["a", None]))
def test_a_router_is_made_or_says_what_is_wrong(field: str, value: Any) -> None:
    with contextlib.suppress(BadInput):
        router = Router(**{"instances": ("a", "b"), field: value})
        checked(router)


@pytest.mark.parametrize("keys", [("x",), (None, 2), (1, 2, [3]), [1, 2], (True,), (1.0,)])
def test_keys_that_are_no_numbers_are_refused_before_anything_is_booked(keys: Any) -> None:
    router = Router(["a"], clock=lambda: 0.0)
    with pytest.raises(BadInput, match="block_keys"):
        router.route(Request(id=1, arrival_s=0.0, prompt_tokens=64, block_keys=keys, block_tokens=16))
    assert (router.open_requests, len(router._guard.monitor)) == (0, len(Router(["a"])._guard.monitor))
