"""Each finding is there exactly if its definition, written out over all instances, says so."""

from __future__ import annotations

from fractions import Fraction
from math import inf
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import ClusterState, Request, decide, policy
from scheduler.detect_config import DetectConfig
from scheduler.detection import detect
from scheduler.finding import Finding, Kind, Severity
from scheduler.testing.laws import product_indicators
from scheduler.testing.strategies import situations

Situation = tuple[ClusterState, Request]
#: Short prompts and small batches, so that every finding comes up.
SITUATIONS = situations(min_instances=2, complete=False, loose=True)
FACTOR = Fraction(105, 95) ** 2
NEAR = 1e-9


def look(state: ClusterState, request: Request, kind: Kind, **settings: Any) -> Finding | None:
    """The finding of a kind, or None."""
    return detect(state, request, config=DetectConfig(**settings)).found(kind)


def without(state: ClusterState, *names: str) -> ClusterState:
    """The state without optional columns."""
    return msgspec.structs.replace(state, **dict.fromkeys(names))


def harms(state: ClusterState, request: Request, kappa: float = 0) -> list[float]:
    """Own wait and what the others lose, instance by instance [token]."""
    found = []
    for queued, (tokens, batch) in zip(state.queued_prefill_tokens, product_indicators(state, request), strict=True):
        own, lost = tokens, (tokens - queued) * (batch - 1)
        found.append(own + lost + kappa * batch)
    return found


def is_grave(found: Finding | None) -> bool:
    """Whether it makes the state unsafe."""
    return found is not None and found.severity is not Severity.INFO


def chosen_by(name: str, state: ClusterState, request: Request) -> int:
    """Index that a rule takes."""
    return decide(policy(name), state, request)[0].instance


@given(SITUATIONS)
def test_the_queue_cross_term_is_delay_beyond_the_least(situation: Situation) -> None:
    state, request = without(situation[0], "prefill_s_per_token"), situation[1]
    taken, delays = chosen_by("lmetric", state, request), harms(*situation)
    found = look(state, request, Kind.QUEUE_CROSS_TERM)
    assert (found is not None) is (delays[taken] > FACTOR * min(delays))
    loss = delays[taken] - min(delays)
    blind = sum(map(Fraction, delays)) / len(delays)
    grave = delays[taken] > 2 * FACTOR * min(delays) and loss > request.prompt_tokens and delays[taken] > blind
    assert is_grave(found) is grave
    if found:
        assert found.evidence["ratio"] <= found.evidence["ratio_bound"] * (1 + NEAR)
        assert set(found.instances) == {state.ids[taken], state.ids[delays.index(min(delays))]}


@given(SITUATIONS)
def test_without_queues_there_is_no_cross_term(situation: Situation) -> None:
    state, request = situation
    idle_queues = msgspec.structs.replace(state, queued_prefill_tokens=(0,) * len(state))
    assert look(idle_queues, request, Kind.QUEUE_CROSS_TERM) is None


@given(SITUATIONS, st.floats(0, 2000))
def test_the_leverage_is_what_a_hit_buys_too_dear(situation: Situation, kappa: float) -> None:
    state, request = without(situation[0], "prefill_s_per_token"), situation[1]
    pairs, taken, delays = (
        product_indicators(state, request),
        chosen_by("lmetric", *situation),
        harms(*situation, kappa),
    )
    best = delays.index(min(delays))
    fewer = pairs[best][1] < pairs[taken][1]
    dearer = pairs[best][0] - state.queued_prefill_tokens[best] > pairs[taken][0] - state.queued_prefill_tokens[taken]
    ratio = delays[taken] / min(delays)
    found = look(state, request, Kind.LEVERAGE, kappa_tokens=kappa)
    if abs(ratio - FACTOR) > NEAR:
        assert (found is not None) is (fewer and dearer and ratio > FACTOR)
    if found and abs(ratio - 2) > NEAR:
        assert is_grave(found) is (ratio > 2)
    if found:
        assert found.evidence["imbalance"] > found.evidence["imbalance_worth"] * (1 - NEAR)


def test_kappa_is_derived_only_where_it_is_one_for_all() -> None:
    pair: dict[str, Any] = {"ids": ("a", "b"), "waiting": (0, 0), "queued_prefill_tokens": (0, 0)}
    state = ClusterState(running=(9, 0), hit_tokens=(1024, 0), **pair)
    request = Request(id=0, arrival_s=0.0, prompt_tokens=1088, expected_output_tokens=500)
    times = msgspec.structs.replace(state, prefill_s_per_token=(1e-4, 1e-4), decode_s_per_request=(2e-5, 2e-5))
    found = look(times, request, Kind.LEVERAGE)
    assert found is not None
    assert found.evidence["kappa_tokens"] == pytest.approx(2 * 2e-5 * 0.5 * 500 / 1e-4)
    assert look(state, request, Kind.LEVERAGE) is None
    uneven = msgspec.structs.replace(times, decode_s_per_request=(2e-5, 3e-5))
    assert look(uneven, request, Kind.LEVERAGE) is None
    assert look(times, msgspec.structs.replace(request, expected_output_tokens=None), Kind.LEVERAGE) is None


@given(SITUATIONS)
def test_contested_is_another_pair_within_the_noise(situation: Situation) -> None:
    state, request = situation
    pairs, taken = product_indicators(state, request), chosen_by("lmetric", *situation)
    scores = [tokens * batch for tokens, batch in pairs]
    rivals = [score for score, pair in zip(scores, pairs, strict=True) if pair != pairs[taken]]
    found = look(state, request, Kind.CONTESTED)
    assert (found is not None) is any(score < FACTOR * scores[taken] for score in rivals)
    assert not is_grave(found)
    if found:
        assert found.evidence["ratio"] == min(rivals) / scores[taken]


@given(SITUATIONS, st.floats(0, 100), st.floats(0, 1000))
def test_contested_by_weight_is_a_choice_that_no_line_of_the_range_takes(
    situation: Situation, low: float, width: float
) -> None:
    state, request = situation
    pairs, taken = product_indicators(state, request), chosen_by("lmetric", *situation)
    settings = {"token_error": 0, "batch_error": 0, "weight_range": (low, low + width)}
    found = look(state, request, Kind.CONTESTED, **settings)
    ends = [0.0, inf]
    for tokens, batch in pairs:
        if batch > pairs[taken][1]:
            ends[0] = max(ends[0], (pairs[taken][0] - tokens) / (batch - pairs[taken][1]))
        if batch < pairs[taken][1]:
            ends[1] = min(ends[1], (tokens - pairs[taken][0]) / (pairs[taken][1] - batch))
    assert (found is not None) is (ends[0] > low + width or ends[1] < low)


@st.composite
def quiet(draw: st.DrawFn) -> Situation:
    """Few residents, few lengths: many idle instances and many ties."""
    count = draw(st.integers(2, 6))

    def column(*values: int) -> tuple[int, ...]:
        return tuple(draw(st.lists(st.sampled_from(values), min_size=count, max_size=count)))

    waiting = column(0, 1)
    queued = tuple(tokens * some for tokens, some in zip(column(0, 16, 64), waiting, strict=True))
    state = ClusterState(
        ids=tuple(f"i{index}" for index in range(count)),
        running=column(0, 0, 1, 3, 15),
        waiting=waiting,
        queued_prefill_tokens=queued,
        hit_tokens=column(0, 0, 16, 48, 60, 64),
    )
    return state, Request(id=0, arrival_s=0.0, prompt_tokens=64)


@given(SITUATIONS | quiet())
def test_starvation_is_an_idle_instance_without_cache_beside_busy_warm_ones(situation: Situation) -> None:
    state, request = situation
    taken = chosen_by("lmetric", state, request)
    loads = [running + waiting for running, waiting in zip(state.running, state.waiting, strict=True)]
    idle = [index for index, load in enumerate(loads) if not load]
    cold = [index for index in idle if not state.hit_tokens[index]]
    expected = bool(cold) and len(cold) == len(idle) and loads[taken] > 0 and state.hit_tokens[taken] > 0
    found = look(state, request, Kind.COLD_INSTANCE_STARVATION)
    assert (found is not None) is expected
    if found is None:
        return
    assert found.instances == tuple(state.ids[index] for index in cold)
    assert loads[taken] <= found.evidence["residents_needed"]
    # With as many residents there as it says, and no fewer, the cold one is better than this one.
    pairs = product_indicators(state, request)
    best = min(cold, key=lambda index: pairs[index][0])
    for residents, wins in (
        (found.evidence["residents_needed"], True),
        (found.evidence["residents_needed"] - 1, False),
    ):
        warm, rival = pairs[taken][0] * (residents + 1), pairs[best][0]
        assert (rival < warm or (rival == warm and best < taken)) is wins


@given(SITUATIONS)
def test_unequal_speeds_are_a_dearer_choice_once_speed_is_counted(situation: Situation) -> None:
    state, request = situation
    found = look(state, request, Kind.UNEQUAL_SPEEDS)
    speeds = state.prefill_s_per_token
    if speeds is None:
        assert found is None
        return
    taken = chosen_by("lmetric", state, request)
    pairs = product_indicators(state, request)
    costs = [tau * tokens * batch for tau, (tokens, batch) in zip(speeds, pairs, strict=True)]
    ratio = costs[taken] / min(costs)
    if abs(ratio - FACTOR) > NEAR:
        assert (found is not None) is (ratio > FACTOR)
    if found and abs(ratio - 2) > NEAR:
        assert is_grave(found) is (ratio > 2)
        assert found.evidence["ratio"] <= found.evidence["ratio_bound"] * (1 + NEAR)


@given(SITUATIONS, st.integers(1, 64), st.floats(0.1, 1))
def test_saturated_is_a_full_engine_or_a_full_cache(situation: Situation, max_batch: int, full: float) -> None:
    state, request = situation
    used = state.kv_used_fraction or (0.0,) * len(state)
    expected = {
        name
        for name, running, fraction in zip(state.ids, state.running, used, strict=True)
        if running >= max_batch or fraction >= full
    }
    settings: dict[str, Any] = {"max_batch": max_batch, "kv_full_fraction": full}
    found = look(state, request, Kind.SATURATED, **settings)
    assert set(found.instances if found else ()) == expected
    taken = state.ids[chosen_by("lmetric", state, request)]
    assert is_grave(found) is (taken in expected)
    bare = detect(state, config=DetectConfig(**settings)).found(Kind.SATURATED)
    assert is_grave(bare) is (len(expected) == len(state))


@given(situations(loose=True), st.floats(0, 100), st.floats(1, 4), st.booleans())
def test_stalled_is_silence_longer_than_prefill_explains(
    situation: Situation, grace_s: float, slowdown: float, known: bool
) -> None:
    state, request = situation if known else (without(situation[0], "context_tokens"), situation[1])
    assert state.updated_s is not None
    # Ages of some minutes, as long as prefill may explain.
    state = msgspec.structs.replace(state, now_s=1000.0, updated_s=tuple(1000.0 - age / 10 for age in state.updated_s))
    context = state.context_tokens or (0,) * len(state)
    assert state.updated_s is not None
    assert state.prefill_s_per_token is not None
    expected = {
        state.ids[index]
        for index in range(len(state))
        if state.waiting[index]
        and state.now_s - state.updated_s[index]
        > grace_s
        + slowdown * state.prefill_s_per_token[index] * max(state.queued_prefill_tokens[index], context[index])
    }
    found = look(state, request, Kind.PROGRESS_STALLED, stall_grace_s=grace_s, stall_slowdown=slowdown)
    assert set(found.instances if found else ()) == expected
    taken = state.ids[chosen_by("lmetric", state, request)]
    assert (found is not None and found.severity is Severity.CRITICAL) is (taken in expected)
    for missing in ("updated_s", "prefill_s_per_token"):
        assert look(without(state, missing), request, Kind.PROGRESS_STALLED) is None


def small(**columns: Any) -> ClusterState:
    """A state of two or three instances with nothing queued, changed."""
    count = len(columns["running"])
    names = ("waiting", "queued_prefill_tokens", "hit_tokens")
    return ClusterState(ids=tuple("abc"[:count]), **{**dict.fromkeys(names, (0,) * count), **columns})


def test_an_idle_warm_instance_means_that_nobody_starves() -> None:
    request = Request(id=0, arrival_s=0.0, prompt_tokens=64)
    state = small(running=(1, 0, 0), hit_tokens=(60, 0, 0))
    found = look(state, request, Kind.COLD_INSTANCE_STARVATION)
    assert found is not None
    assert found.instances == ("b", "c")
    one_is_warm = msgspec.structs.replace(state, hit_tokens=(60, 16, 0))
    assert look(one_is_warm, request, Kind.COLD_INSTANCE_STARVATION) is None


@pytest.mark.parametrize(("silence_s", "stalls"), [(13.9, False), (14.1, True)])
def test_queue_and_grace_together_explain_silence(silence_s: float, stalls: bool) -> None:
    # 4 times 1 ms for each of 1000 tokens, and 10 s.
    state = msgspec.structs.replace(
        small(running=(0, 0), waiting=(1, 0), queued_prefill_tokens=(1000, 0)),
        now_s=100.0,
        updated_s=(100 - silence_s, 0.0),
        prefill_s_per_token=(0.001, 0.001),
    )
    found = look(state, Request(id=0, arrival_s=0.0, prompt_tokens=64), Kind.PROGRESS_STALLED)
    assert (found is not None) is stalls
    assert found is None or found.instances == ("a",)


@pytest.mark.parametrize("copies", [1, 20])
def test_a_queue_that_may_be_done_by_now_makes_the_choice_stale(copies: int) -> None:
    # a: 64 x 2 = 128; b: 63 new tokens x 2 = 126 once its 2 queued tokens are computed.
    state = ClusterState(
        ids=tuple(f"{name}{n}" for n in range(copies) for name in "ab"),
        running=(1, 0) * copies,
        waiting=(0, 1) * copies,
        queued_prefill_tokens=(0, 2) * copies,
        hit_tokens=(0, 1) * copies,
        now_s=1.0,
        updated_s=(0.9,) * 2 * copies,
        prefill_s_per_token=(0.001,) * 2 * copies,
    )
    found = look(state, Request(id=0, arrival_s=0.0, prompt_tokens=64), Kind.STALE)
    assert found is not None
    assert found.instances == ("a0", "b0")
    assert (found.evidence["least_other_product"], found.evidence["greatest_product"]) == (126, 128)
    fresh = msgspec.structs.replace(state, updated_s=(1.0,) * 2 * copies)
    assert look(fresh, Request(id=0, arrival_s=0.0, prompt_tokens=64), Kind.STALE) is None
