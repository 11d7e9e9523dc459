"""Laws of every mitigation: who may be taken, who is, what it costs, and when nothing is changed."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from scheduler import ClassTraffic, ClusterState, Request, decide, policy
from scheduler.detect_config import DetectConfig
from scheduler.detection import detect
from scheduler.finding import Detection, Kind
from scheduler.indicators import new_prefill_tokens
from scheduler.mitigation import Mode, confirmed_hot_spot, mitigate
from scheduler.ops import SCALAR
from scheduler.policies.product import RULES
from scheduler.remedies import Mitigation
from scheduler.testing.deciding import product_indicators
from scheduler.testing.insane import class_traffic
from scheduler.testing.strategies import situations

MODES = st.sampled_from(list(Mode))
#: Kinds that promise that no other candidate has fewer tokens and a smaller batch.
UNDOMINATED = {"filter", "replicate", "probe_cold", "floor"}
REQUEST = Request(id=0, arrival_s=0.0, prompt_tokens=1088, group="hot")
HOT = ClassTraffic(name="hot", share=1.0, window_requests=200, holders=(0,), applies=True, streak=9)


@st.composite
def warm(draw: st.DrawFn) -> tuple[ClusterState, Request]:
    """Some instances hold almost all of a prompt and are busy, the others hold none and may idle."""
    count = draw(st.integers(2, 5))
    holders = draw(st.integers(1, count - 1) | st.just(count))
    prompt = draw(st.integers(100, 2000))
    hit = prompt - draw(st.sampled_from([0, 1, 40, 64]))
    least, most = draw(st.sampled_from([(0, 0), (0, 2), (0, 8), (8, 8), (8, 8)]))
    waiting = tuple(draw(st.integers(0, 2)) if most or i < holders else 0 for i in range(count))
    state = ClusterState(
        ids=tuple(f"i{i}" for i in range(count)),
        running=tuple(draw(st.integers(0, 8) if i < holders else st.integers(least, most)) for i in range(count)),
        waiting=waiting,
        queued_prefill_tokens=tuple(draw(st.integers(0, 200)) if waits else 0 for waits in waiting),
        hit_tokens=tuple(hit if i < holders else 0 for i in range(count)),
        prefill_s_per_token=draw(st.none() | st.just((1e-4,) * count)),
        decode_s_per_request=(1e-3,) * count,
        now_s=100.0,
        updated_s=draw(st.none() | st.tuples(*(st.sampled_from([50.0, 100.0]) for _ in range(count)))),
    )
    expected = draw(st.none() | st.floats(1, 500))
    return state, Request(id=0, arrival_s=0.0, prompt_tokens=prompt, group="hot", expected_output_tokens=expected)


def uncovered(count: int) -> st.SearchStrategy[tuple[ClassTraffic, ...]]:
    """A class that the first of so many instances hold, or more of them than it needs."""
    return st.builds(
        lambda share, holders, streak: (
            ClassTraffic(
                name="hot", share=share, window_requests=400, holders=tuple(range(min(holders, count))), applies=True,
                streak=streak,
            ),
        ),
        st.sampled_from([0.3, 0.5, 0.7, 0.9, 1.0]),
        st.integers(1, 4),
        st.sampled_from([None, 0, 9, 9]),
    )  # fmt: skip


@st.composite
def troubled(draw: st.DrawFn) -> tuple[ClusterState, Request, str, Detection, Mode]:
    """A situation with what the detector says of it, and a mode."""
    state, request = draw(situations(complete=draw(st.booleans()), loose=draw(st.booleans()), max_instances=4) | warm())
    name = draw(st.sampled_from([rule.name for rule in RULES] * 3 + ["join_shortest_queue", "linear"]))
    rows = draw(class_traffic(len(state)) | st.just((HOT,)) | uncovered(len(state)))
    config = DetectConfig(policy=name, stall_grace_s=draw(st.sampled_from([0.0, 10.0])), error=0.5)
    return state, request, name, detect(state, request, traffic=rows, config=config), draw(MODES)


@st.composite
def hot_spots(draw: st.DrawFn) -> tuple[ClusterState, Request, str, Detection, Mode]:
    """A class that a busy few hold, and some of the others as busy."""
    state, request = draw(warm())
    rows = draw(uncovered(sum(hit > 0 for hit in state.hit_tokens)))
    return state, request, "lmetric", detect(state, request, traffic=rows), draw(MODES)


TROUBLED, HOT_SPOTS = troubled(), hot_spots()


def treated(given_: Any, **others: Any) -> tuple[Mitigation, int, list[Any]]:
    """What is done, what the rule takes, and its keys."""
    state, request, name, found, mode = given_
    decision, _ = decide(policy(name), state, request)
    settings = {"mode": mode, "policy": name, "keys": decision.scores, **others}
    return mitigate(state, request, found, **settings), decision.instance, list(decision.scores)


@given(TROUBLED, st.none() | st.floats(0, 1e4), st.booleans())
def test_the_least_of_its_candidates_is_taken_at_the_price_of_the_difference(
    given_: Any, kappa: float | None, counted: bool
) -> None:
    state, request, _, _, _ = given_
    recent = [3] * len(state) if counted else None
    done, chosen, _ = treated(given_, kappa_tokens=kappa, recent=recent)
    assert done.candidates
    assert set(done.candidates) <= set(range(len(state)))
    assert done.instance in done.candidates
    if done.kind != "none":
        assert done.scores[done.instance] == min(done.scores[i] for i in done.candidates)
    tokens = [new_prefill_tokens(SCALAR, request.prompt_tokens, hit) for hit in state.hit_tokens]
    if done.kind != "least_load":
        assert done.price_tokens == tokens[done.instance] - tokens[chosen]
    assert done.reason
    if done.kind == "none":
        assert done.instance == chosen
        assert done.candidates == tuple(range(len(state)))


@given(TROUBLED | HOT_SPOTS)
def test_nothing_better_in_both_is_left_aside(given_: Any) -> None:
    state, request, _, _, _ = given_
    done, _, _ = treated(given_)
    if done.kind in UNDOMINATED:
        loads = product_indicators(state, request)
        tokens, batch = loads[done.instance]
        for i in done.candidates:
            assert loads[i][0] > tokens or loads[i][1] > batch or loads[i] == (tokens, batch)


@given(TROUBLED)
def test_none_changes_nothing(given_: Any) -> None:
    state, request, name, found, _ = given_
    done, chosen, scores = treated((state, request, name, found, Mode.NONE))
    assert (done.kind, done.instance, list(done.scores), done.price_tokens) == ("none", chosen, scores, 0)


@given(HOT_SPOTS, st.sampled_from([Mode.FILTER, Mode.REPLICATE]))
def test_a_hot_class_goes_outside_only_where_that_does_not_raise_the_peak(given_: Any, mode: Mode) -> None:
    state, request, name, found, _ = given_
    done, chosen, _ = treated((state, request, name, found, mode))
    hot = confirmed_hot_spot(found)
    if done.kind == "none":
        return
    assert hot is not None
    holders = {state.ids.index(holder) for holder in hot.instances}
    assert done.instance not in holders
    batches = [running + waiting for running, waiting in zip(state.running, state.waiting, strict=True)]
    assert batches[done.instance] + 1 <= max(batches)
    loads = [load for i, load in enumerate(product_indicators(state, request)) if i not in holders]
    tokens, batch = mine = product_indicators(state, request)[done.instance]
    assert not [load for load in loads if load != mine and load[0] <= tokens and load[1] <= batch]
    if mode is Mode.REPLICATE:
        assert hot.evidence["copies_missing"] > 0
        assert chosen in holders


@given(HOT_SPOTS, st.sampled_from([Mode.FILTER, Mode.REPLICATE]))
def test_a_confirmed_hot_spot_is_treated_where_that_helps(given_: Any, mode: Mode) -> None:
    state, request, name, found, _ = given_
    done, chosen, _ = treated((state, request, name, found, mode))
    hot = confirmed_hot_spot(found)
    if hot is None:
        assert done.kind == "none"
        return
    holders = {state.ids.index(holder) for holder in hot.instances}
    batches = [running + waiting for running, waiting in zip(state.running, state.waiting, strict=True)]
    helps = min((batches[i] for i in range(len(state)) if i not in holders), default=max(batches)) < max(batches)
    if mode is Mode.REPLICATE:
        helps = helps and hot.evidence["copies_missing"] > 0 and chosen in holders
    assert (done.kind != "none") is helps


@given(HOT_SPOTS, st.data())
def test_a_starved_instance_is_probed_up_to_its_fair_share(given_: Any, data: st.DataObject) -> None:
    state, request, name, found, _ = given_
    recent = data.draw(st.lists(st.integers(0, 20), min_size=len(state), max_size=len(state)))
    done, _, _ = treated((state, request, name, found, Mode.PROBE_COLD), recent=recent)
    starved = found.found(Kind.COLD_INSTANCE_STARVATION)
    if starved is None:
        assert done.kind == "none"
        return
    first = state.ids.index(starved.instances[0])
    below = recent[first] * len(state) < sum(recent)
    assert (done.kind == "probe_cold") is below
    assert done.instance == first if below else done.kind == "none"


@given(TROUBLED | HOT_SPOTS)
def test_auto_takes_no_instance_without_progress_while_there_are_others(given_: Any) -> None:
    state, request, name, found, _ = given_
    done, _, _ = treated((state, request, name, found, Mode.AUTO))
    silent = found.found(Kind.PROGRESS_STALLED)
    if silent is not None and len(silent.instances) < len(state):
        assert state.ids[done.instance] not in silent.instances


@given(HOT_SPOTS)
def test_auto_leaves_rules_alone_that_do_not_follow_the_cache(given_: Any) -> None:
    state, request, _, found, _ = given_
    assume(found.found(Kind.PROGRESS_STALLED) is None)
    taken = decide(policy("linear"), state, request)[0].instance
    done = mitigate(state, request, found, policy="linear", chosen=taken)
    assert (done.kind, done.instance) == ("none", taken)


@given(TROUBLED)
def test_auto_changes_nothing_in_a_calm_state(given_: Any) -> None:
    state, request, name, _, _ = given_
    done, chosen, _ = treated((state, request, name, Detection(safe=True, findings=()), Mode.AUTO), chosen=None)
    assert done.kind == "least_load"  # nobody said what the rule takes
    calm = mitigate(state, request, Detection(safe=True, findings=()), policy=name, chosen=chosen)
    assert (calm.kind, calm.instance) == ("none", chosen)
