"""Mitigation by hand, of every rule, and of what cannot be."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofs.search import counterexamples
from scheduler import BadInput, ClassTraffic, ClusterState, Request, decide, policy
from scheduler.detect_config import DetectConfig
from scheduler.detection import detect
from scheduler.finding import Detection, Finding, Kind, Severity
from scheduler.mitigation import Mode, mitigate, read_mode
from scheduler.policies.catalogue import CATALOGUE
from scheduler.testing.insane import anything, broken_states, wild_states
from scheduler.testing.strategies import situations

MODES = st.sampled_from(list(Mode))
REQUEST = Request(id=0, arrival_s=0.0, prompt_tokens=1088, group="hot")
HOT = ClassTraffic(name="hot", share=1.0, window_requests=200, holders=(0,), applies=True, streak=9)


@given(situations(), st.sampled_from([0.0, 12.5, 400.0]))
def test_the_offset_is_the_rule_of_least_harm_with_decode(situation: Any, kappa: float) -> None:
    state, request = situation
    done = mitigate(state, request, detect(state, request), mode=Mode.OFFSET, kappa_tokens=kappa)
    least, _ = decide(policy(f"marginal_delay_offset:kappa={kappa}"), state, request)
    assert (done.kind, done.candidates, done.scores) == ("offset", tuple(range(len(state))), least.scores)
    assert done.instance in least.ties
    derived = mitigate(state, request, detect(state, request), mode=Mode.OFFSET)
    told, _ = decide(policy("marginal_delay_offset"), state, request)
    assert (derived.kind, derived.scores) == ("offset", told.scores)
    blind = msgspec.structs.replace(state, prefill_s_per_token=None)
    assert mitigate(blind, request, detect(blind, request), mode=Mode.OFFSET).kind == "none"


@given(broken_states() | wild_states().map(lambda state: (state, REQUEST, "")), MODES)
def test_what_cannot_be_goes_to_the_least_load(given_: Any, mode: Mode) -> None:
    state, request, _ = given_
    found = detect(state, request)
    if not isinstance(state.ids, tuple | list) or not state.ids:
        with pytest.raises(BadInput, match="instances"):
            mitigate(state, request, found, mode=mode)
        return
    done = mitigate(state, request, found, mode=mode)
    if found.choice is None:
        assert done.kind == "least_load"
        assert done.price_tokens == 0
    assert done.instance in done.candidates
    if done.scores:  # the rule's keys are not known here
        assert done.scores[done.instance] == min(done.scores[i] for i in done.candidates)


@given(anything(), anything(), MODES)
def test_the_last_resort_answers_or_says_that_nobody_is_there(state: Any, request: Any, mode: Mode) -> None:
    found = detect(state, request)
    with contextlib.suppress(BadInput):
        assert mitigate(state, request, found, mode=mode).candidates


@given(situations(), st.sampled_from(sorted(CATALOGUE)), MODES)
def test_every_rule_can_be_mitigated(situation: Any, name: str, mode: Mode) -> None:
    state, request = situation
    found = detect(state, request, traffic=(HOT,), config=DetectConfig(policy=name))
    done = mitigate(state, request, found, mode=mode, policy=name)
    assert done.instance in done.candidates


# ---- by hand ----------------------------------------------------------------------------------------------------

SAVED = {saved.name: saved for saved in counterexamples()}


def saved_state(name: str, **changed: Any) -> tuple[ClusterState, Request, Detection, str]:
    """A saved counterexample, some columns changed, and what the detector says of it."""
    file, rule = SAVED[name].state, SAVED[name].policy
    state = msgspec.structs.replace(file.state, **changed)
    return (
        state,
        file.request,
        detect(state, file.request, traffic=file.traffic, config=DetectConfig(policy=rule)),
        rule,
    )


def test_the_hot_spot_is_copied_at_the_price_of_the_prefix() -> None:
    state, request, found, name = saved_state("hot_spot")
    late = mitigate(state, request, found, policy=name)
    assert (late.kind, state.ids[late.instance]) == ("none", "b")  # with so many on one the product spills by itself
    state, request, found, name = saved_state("hot_spot", running=(6, 0, 0))
    done = mitigate(state, request, found, policy=name)
    assert found.choice is not None
    assert found.choice.instance == "a"
    assert (done.kind, state.ids[done.instance], done.candidates, done.price_tokens) == ("replicate", "b", (1, 2), 1024)


def test_of_equal_batches_the_one_with_less_to_compute_gets_the_copy() -> None:
    changed = {"running": (6, 0, 1), "waiting": (1, 1, 0), "queued_prefill_tokens": (64, 500, 0)}
    state, request, found, name = saved_state("hot_spot", **changed)
    done = mitigate(state, request, found, policy=name, chosen=0)
    assert (done.kind, state.ids[done.instance]) == ("replicate", "c")


@pytest.mark.parametrize(("recent", "probed"), [((5, 0), True), ((5, 4), True), ((5, 5), False), ((0, 5), False)])
def test_a_starved_instance_gets_its_fair_share_and_no_more(recent: tuple[int, int], probed: bool) -> None:
    state = ClusterState(
        ids=("warm", "cold"), running=(5, 0), waiting=(0, 0), queued_prefill_tokens=(0, 0), hit_tokens=(1024, 0)
    )
    found = detect(state, REQUEST)
    assert found.found(Kind.COLD_INSTANCE_STARVATION) is not None
    done = mitigate(state, REQUEST, found, mode=Mode.PROBE_COLD, recent=recent)
    assert (done.kind, done.instance) == (("probe_cold", 1) if probed else ("none", 0))


@pytest.mark.parametrize(
    ("recent", "probed"),
    [((5, 0), True), ((4, 0), False), ((16, 6), True), ((16, 7), False), ((6, 16), False), ((0, 5), False)],
)
def test_auto_pays_for_a_probe_only_if_no_chance_explains_the_difference(recent: tuple[int, int], probed: bool) -> None:
    state = ClusterState(
        ids=("warm", "cold"), running=(5, 0), waiting=(0, 0), queued_prefill_tokens=(0, 0), hit_tokens=(1024, 0),
        prefill_s_per_token=(1e-4, 1e-4), decode_s_per_request=(1e-3, 1e-3),
    )  # fmt: skip
    found = detect(state, msgspec.structs.replace(REQUEST, expected_output_tokens=500.0))
    starved = found.found(Kind.COLD_INSTANCE_STARVATION)
    assert starved is not None
    assert starved.severity is Severity.WARNING
    done = mitigate(state, REQUEST, found, mode=Mode.AUTO, recent=recent)
    assert (done.kind, done.instance) == (("probe_cold", 1) if probed else ("none", 0))
    assert mitigate(state, REQUEST, found, mode=Mode.AUTO).kind == "probe_cold"


@pytest.mark.parametrize(("recent", "probed"), [((0, 5, 30), False), ((5, 5, 30), False), ((20, 5, 30), True)])
def test_who_got_less_than_the_starved_one_owes_it_nothing(recent: tuple[int, int, int], probed: bool) -> None:
    state = ClusterState(
        ids=("warm", "cold", "other"), running=(5, 0, 9), waiting=(0, 0, 0), queued_prefill_tokens=(0, 0, 0),
        hit_tokens=(1024, 0, 0), prefill_s_per_token=(1e-4,) * 3, decode_s_per_request=(1e-3,) * 3,
    )  # fmt: skip
    found = detect(state, msgspec.structs.replace(REQUEST, expected_output_tokens=500.0))
    done = mitigate(state, REQUEST, found, mode=Mode.AUTO, chosen=0, recent=recent)
    assert (done.kind == "probe_cold") is probed


def test_a_class_that_lacks_no_copy_gets_none() -> None:
    state, request, found, name = saved_state("hot_spot", running=(6, 0, 0))
    hot = found.found(Kind.HOT_SPOT)
    assert hot is not None
    enough = msgspec.structs.replace(hot, evidence={**hot.evidence, "copies_asked": 0})
    done = mitigate(state, request, msgspec.structs.replace(found, findings=(enough,)), policy=name)
    assert (done.kind, done.instance) == ("none", 0)


def test_a_collapsed_score_is_computed_with_a_floor() -> None:
    state, request, found, name = saved_state("zero_collapse")
    done = mitigate(state, request, found, policy=name)
    assert (done.kind, state.ids[done.instance], done.scores, done.price_tokens) == ("floor", "b", (17, 16), 15)


SILENT = ClusterState(
    ids=("a", "b", "c"), running=(0, 0, 0), waiting=(1, 2, 3), queued_prefill_tokens=(100, 200, 300),
    hit_tokens=(1024, 0, 0), now_s=100.0, updated_s=(10.0, 99.0, 99.0), prefill_s_per_token=(1e-4,) * 3,
)  # fmt: skip


def test_an_instance_without_progress_is_avoided() -> None:
    found = detect(SILENT, REQUEST)
    done = mitigate(SILENT, REQUEST, found, keys=(1, 3, 2))
    assert (done.kind, done.instance, done.candidates, done.price_tokens) == ("avoid", 2, (1, 2), 1024)
    assert mitigate(SILENT, REQUEST, found).instance == 1  # without keys by load


def test_weights_to_draw_by_are_no_keys_to_minimise() -> None:
    found = detect(SILENT, REQUEST)
    done = mitigate(SILENT, REQUEST, found, policy="bailian", chosen=0, keys=(5.0, 4.0, 0.0))
    assert (done.kind, done.instance) == ("avoid", 1)


def test_if_none_makes_progress_the_least_load_is_taken() -> None:
    state = msgspec.structs.replace(SILENT, updated_s=(10.0, 11.0, 12.0))
    done = mitigate(state, REQUEST, detect(state, REQUEST))
    assert (done.kind, done.instance, done.candidates) == ("least_load", 0, (0, 1, 2))


def silence_of(*names: str) -> Finding:
    return Finding(
        kind=Kind.PROGRESS_STALLED, severity=Severity.WARNING, instances=names, evidence={}, explanation="", claim="",
        advice="",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["hot_spot", "zero_collapse"])
def test_neither_copies_nor_floors_go_to_an_instance_without_progress(name: str) -> None:
    changed = {"running": (6, 0, 0)} if name == "hot_spot" else {}
    state, request, found, rule = saved_state(name, **changed)
    both = msgspec.structs.replace(found, findings=(*found.findings, silence_of("b")))
    done = mitigate(state, request, both, policy=rule)
    assert state.ids[done.instance] == ("c" if name == "hot_spot" else "a")
    assert 1 not in done.candidates or done.kind == "none"


@pytest.mark.parametrize("text", ["", "Auto", "replicate "])
def test_an_unknown_mode_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="mitigation"):
        read_mode(text)
    assert {read_mode(mode.value) for mode in Mode} == set(Mode)


def test_of_several_starved_instances_one_that_got_less_than_its_share_is_probed() -> None:
    state = ClusterState(
        ids=("a", "b", "c"),
        running=(3, 0, 0),
        waiting=(0, 0, 0),
        queued_prefill_tokens=(0, 0, 0),
        hit_tokens=(1024, 0, 0),
    )
    request = Request(id=0, arrival_s=0.0, prompt_tokens=1088)
    found = detect(state, request)
    assert found.found(Kind.COLD_INSTANCE_STARVATION) is not None
    done = mitigate(state, request, found, mode=Mode.PROBE_COLD, recent=(20, 10, 0))
    assert (done.kind, done.instance) == ("probe_cold", 2)
