"""Histories of events for laws about routers: whatever may come, in any order, sane or not, as plain tuples."""

from __future__ import annotations

from typing import Any, Literal

from hypothesis import strategies as st

from scheduler import BadInput, Request, StepTime
from scheduler.detect_config import DetectConfig
from scheduler.domains import INSTANCE_DOMAINS
from scheduler.mitigation import Mode
from scheduler.monitor import MonitorConfig
from scheduler.policies.catalogue import CATALOGUE
from scheduler.router import Router
from scheduler.router_config import RouterConfig

BLOCK = 16
INSTANCES = ("a", "b", "c", "d", "e")
LINE = StepTime(0.01, 1e-3, 1e-3, 0.0)
#: Few requests are enough to alarm, and silence is soon noticed.
MONITOR = MonitorConfig(window_max=16, window_min=4, error=0.5, levels=1, union_every=8)
DETECT = DetectConfig(stall_grace_s=2.0, error=0.5)

#: Chains that share their beginnings, one of them with a key of 70 bits, and one that contradicts the others.
CHAINS = ((1, 2, 3, 4), (1, 2, 5), (1, 6), (7,), (8, 9, 2**70), (7, 3), ())
NAMES = st.integers(0, 7) | st.sampled_from(["x", "y"])
KEYS = st.sampled_from(CHAINS + CHAINS[:1] * 4)
MEMBERS = st.sampled_from(INSTANCES)
TOKENS = st.integers(-2, 80)
PASSED = st.sampled_from([0, 0.0, 0.25, 1, 3.5, 20.0])

ROUTE = st.tuples(st.just("route"), NAMES, KEYS, st.integers(0, 20))
OTHERS = st.one_of(
    st.tuples(st.sampled_from(["first_token", "fail", "finish"]), NAMES),
    st.tuples(st.just("finish"), NAMES, TOKENS),
    st.tuples(st.sampled_from(["prefill_progress", "admitted", "preempted"]), NAMES, TOKENS),
    st.tuples(st.just("heard"), NAMES, KEYS, MEMBERS, TOKENS),
    st.tuples(st.sampled_from(["stored", "removed"]), MEMBERS, KEYS, st.integers(0, 3)),
    st.tuples(st.just("cleared"), MEMBERS),
    st.tuples(st.sampled_from(["join", "join", "drain", "leave"]), MEMBERS),
    st.tuples(st.just("burst"), st.integers(4, 12)),
    st.tuples(st.just("reclaim")),
)
HISTORIES = st.lists(st.tuples(PASSED, st.one_of(ROUTE, ROUTE, OTHERS, OTHERS, OTHERS)), max_size=25)


def _tokens(keys: tuple[int, ...], extra: int) -> int:
    return max(1, len(keys) * BLOCK + extra)


def _ask(name: int | str, keys: tuple[int, ...], extra: int, now_s: float) -> Request:
    number = name if isinstance(name, int) else 100
    return Request(
        id=number, arrival_s=now_s, prompt_tokens=_tokens(keys, extra), block_keys=keys, block_tokens=BLOCK,
        expected_output_tokens=9 if extra % 2 else None,
    )  # fmt: skip


def happen(router: Router, event: tuple[Any, ...], now_s: float, number: int = 0) -> Any:
    """Tell a router what happened; what it answers.

    Args:
        router: is changed.
        event: from :data:`HISTORIES`, without the time.
        now_s: the time [s].
        number: of the event, for names of requests in a burst.
    """
    kind, *rest = event
    if kind == "route":
        name, keys, extra = rest
        return router.route(_ask(name, keys, extra, now_s), request_id=name, now_s=now_s)
    if kind == "burst":  # a hot class of which a part stays
        found = []
        for place in range(rest[0]):
            name = 1000 * (number + 1) + place
            found.append(router.route(_ask(name, CHAINS[0], 5, now_s), now_s=now_s))
            if place % 3:
                router.finish(name, now_s=now_s)
        return found
    if kind == "heard":
        name, keys, instance, tokens = rest
        return router.heard(_ask(name, keys, 5, now_s), instance, tokens, request_id=name, now_s=now_s)
    if kind == "stored":
        instance, keys, start = rest
        after = keys[start - 1] if 0 < start <= len(keys) else None
        return router.kv_event(instance, stored=keys[start:], after=after)
    if kind == "removed":
        return router.kv_event(rest[0], removed=rest[1][rest[2] :])
    if kind == "cleared":
        return router.kv_event(rest[0], cleared=True)
    if kind in ("join", "drain", "leave"):
        return getattr(router, kind)(rest[0])
    return getattr(router, kind)(*rest, now_s=now_s)


def answer(router: Router, event: tuple[Any, ...], now_s: float, number: int = 0) -> Any:
    """The same, with a refusal as the answer."""
    try:
        return happen(router, event, now_s, number)
    except BadInput as fault:
        return str(fault)


@st.composite
def routers(draw: st.DrawFn) -> Router:
    """A new router of any kind; its clock stands still."""
    source: Literal["history", "events"] = draw(st.sampled_from(["history", "events"]))
    config = RouterConfig(
        source=source,
        capacity_blocks=draw(st.sampled_from([None, 5])) if source == "history" else None,
        ttl_s=draw(st.sampled_from([None, 15])) if source == "history" else None,
        kv_tokens=1000,
        lost_after_s=draw(st.sampled_from([None, 60.0])),
        detect=DETECT,
        monitor=MONITOR,
    )
    policy = draw(st.sampled_from(["lmetric", "lmetric", *CATALOGUE]))
    timed = {"expected_output_tokens", *(name for name in INSTANCE_DOMAINS if name in StepTime.__slots__)} & set(
        CATALOGUE[policy].with_knobs().needs
    )
    times: list[Any] = [LINE, dict.fromkeys(INSTANCES, LINE)] + ([] if timed else [None])
    return Router(
        INSTANCES[: draw(st.integers(0, 4))],
        policy,
        ties=draw(st.sampled_from([None, "random", "first"])),
        seed=draw(st.integers(0, 3)),
        mitigation=draw(st.sampled_from([mode.value for mode in Mode])),
        config=config,
        step_times=draw(st.sampled_from(times)),
        clock=lambda: 0.0,
    )
