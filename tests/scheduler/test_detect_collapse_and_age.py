"""Scores of 0, and numbers that are not of this moment."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import ClusterState, Request, decide, policy
from scheduler.detect_config import DetectConfig
from scheduler.detection import detect
from scheduler.finding import Finding, Kind, Severity
from scheduler.screening import PRODUCTS
from scheduler.testing.laws import product_indicators
from scheduler.testing.strategies import situations

Situation = tuple[ClusterState, Request]
COLLAPSES = {"lmetric_paper": Kind.ZERO_COLLAPSE, "lmetric_no_self": Kind.IDLE_COLLAPSE}


@st.composite
def nearly_cached(draw: st.DrawFn) -> Situation:
    """Situations in which whole prompts are cached, queues empty and instances idle more often than not."""
    state, request = draw(situations(min_instances=2, loose=True))
    columns = {}
    for name, value in (("hit_tokens", request.prompt_tokens), ("queued_prefill_tokens", 0), ("running", 0)):
        keep = draw(st.lists(st.booleans(), min_size=len(state), max_size=len(state)))
        columns[name] = tuple(old if kept else value for kept, old in zip(keep, getattr(state, name), strict=True))
    waiting = tuple(draw(st.integers(0, 2)) for _ in state.ids)
    return msgspec.structs.replace(state, waiting=waiting, **columns), request


def found_in(situation: Situation, kind: Kind, **settings: Any) -> Finding | None:
    """The finding of a kind, or None."""
    return detect(*situation, config=DetectConfig(**settings)).found(kind)


@pytest.mark.parametrize("name", sorted(COLLAPSES))
@given(situation=nearly_cached())
def test_a_collapse_is_a_score_of_zero_that_costs(name: str, situation: Situation) -> None:
    decision, _ = decide(policy(name), *situation)
    products = [tokens * batch for tokens, batch in product_indicators(*situation)]
    zeros = [index for index, score in enumerate(decision.scores) if score == 0]
    worst = max((products[index] for index in zeros), default=0) / min(products)
    found = found_in(situation, COLLAPSES[name], policy=name)
    assert (found is not None) is (worst > 1)
    if found:
        assert found.severity is (Severity.CRITICAL if worst > 2 else Severity.WARNING)
        assert found.instances == tuple(situation[0].ids[index] for index in zeros)
        assert found.evidence["worst_regret"] == worst


@pytest.mark.parametrize("name", sorted(PRODUCTS - set(COLLAPSES)))
@given(situation=nearly_cached())
def test_what_cannot_be_zero_does_not_collapse(name: str, situation: Situation) -> None:
    kinds = {found.kind for found in detect(*situation, config=DetectConfig(policy=name)).findings}
    assert kinds & set(COLLAPSES.values()) == set()


def later(state: ClusterState, index: int, done: int) -> ClusterState:
    """The state after an instance has computed so many of its queued tokens."""
    queued = list(state.queued_prefill_tokens)
    queued[index] -= done
    return msgspec.structs.replace(state, queued_prefill_tokens=tuple(queued))


@given(situations(min_instances=2, loose=True), st.floats(0, 50), st.data())
def test_a_choice_that_is_not_stale_stands_whatever_was_computed_meanwhile(
    situation: Situation, age_s: float, data: st.DataObject
) -> None:
    state, request = situation
    state = msgspec.structs.replace(state, now_s=100.0, updated_s=(100.0 - age_s,) * len(state))
    found = found_in((state, request), Kind.STALE)
    taken = decide(policy("lmetric"), state, request)[0].instance
    speeds: Any = state.prefill_s_per_token
    most = [int(min(q, age_s / tau)) for q, tau in zip(state.queued_prefill_tokens, speeds, strict=True)]
    if found is None:
        for index, limit in enumerate(most):
            if index != taken:
                changed = later(state, index, data.draw(st.integers(0, limit)))
                assert score(changed, request, taken) <= score(changed, request, index)
        return
    assert found.severity is Severity.INFO
    other = state.ids.index(next(name for name in found.instances if name != state.ids[taken]))
    changed = later(state, other, most[other])
    # Whole tokens are at most one short of what the finding counts.
    assert (
        score(changed, request, other) < score(changed, request, taken) + product_indicators(state, request)[other][1]
    )


def score(state: ClusterState, request: Request, index: int) -> int:
    """P B of an instance."""
    tokens, batch = product_indicators(state, request)[index]
    return tokens * batch


STATE = ClusterState(
    ids=("a", "b"), running=(2, 4), waiting=(0, 0), queued_prefill_tokens=(0, 0), hit_tokens=(0, 0), now_s=10.0,
    updated_s=(9.0, 9.0),
)  # fmt: skip
REQUEST = Request(id=0, arrival_s=0.0, prompt_tokens=160)


def test_requests_of_other_routers_can_turn_the_choice() -> None:
    assert found_in((STATE, REQUEST), Kind.STALE) is None
    assert found_in((STATE, REQUEST), Kind.STALE, routers=1, arrival_rate_per_s=2.0) is None
    found = found_in((STATE, REQUEST), Kind.STALE, routers=2, arrival_rate_per_s=2.0)
    assert found is not None
    assert found.evidence["unseen_requests"] == 2
    assert found.evidence["greatest_product"] == (160 + 2 * 160) * (3 + 2)
    assert found.severity is Severity.WARNING
    assert found.claim == "herding_on_stale_state"


def test_numbers_of_this_moment_and_of_the_future_are_not_stale() -> None:
    for updated_s in (10.0, 11.0):
        fresh = msgspec.structs.replace(STATE, updated_s=(updated_s, updated_s))
        assert found_in((fresh, REQUEST), Kind.STALE, routers=9, arrival_rate_per_s=9.0) is None
