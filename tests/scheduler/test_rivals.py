"""What the rules that predict, hash, follow sessions and keep trees promise beyond their golden cases."""

import random
from collections import Counter
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.cost import StepTime
from scheduler.indicators import Indicators
from scheduler.ops import SCALAR
from scheduler.policies import smetric
from scheduler.policies.catalogue import policy
from scheduler.policies.choosing import decide, observe
from scheduler.policies.dualmap import DOUBLINGS, Recent, candidates, hashed_name, prefix_names
from scheduler.policies.simulated_ttft import MODEL_NEEDS, predicted
from scheduler.policies.smetric import Sessions, with_session
from scheduler.router import Router
from scheduler.state import ClusterState, Request
from scheduler.testing.strategies import situations
from tests.scheduler.test_rule_memory import idle

TIMES = dict.fromkeys(MODEL_NEEDS, (0.0,) * 4)


def rolled(x: Indicators, budget_tokens: int, prefill_scale: float, decode_scale: float) -> tuple[int, float, float]:
    """The model step by step, a loop over chunks as an engine makes them: steps, time to first token, first decode."""
    model = StepTime(
        x.base_s,
        prefill_scale * x.prefill_s_per_token,
        decode_scale * x.decode_s_per_request,
        decode_scale * x.kv_s_per_token,
        prefill_scale * x.attention_s_per_pair,
    )
    queue, own, computed = x.queued_prefill_tokens, x.new_prefill_tokens, x.prompt_tokens - x.new_prefill_tokens
    read_tokens = max(0, x.context_tokens - x.queued_prefill_tokens)
    steps, elapsed_s = 0, 0.0
    while own:
        left = max(1, budget_tokens - x.running)
        before = min(queue, left)
        chunk = min(own, left - before)
        pairs = sum(computed + place for place in range(1, chunk + 1))
        elapsed_s += model.step_s(prefill_tokens=before + chunk, batch=x.running, kv_tokens=read_tokens, pairs=pairs)
        queue, own, computed = queue - before, own - chunk, computed + chunk
        read_tokens += x.running
        steps += 1
    kv_tokens = x.context_tokens + x.prompt_tokens + steps * x.running
    return steps, elapsed_s, model.step_s(batch=x.running + x.waiting + 1, kv_tokens=kv_tokens)


@given(
    situations(1, 2, loose=True),
    st.sampled_from([1, 30, 64, 512, 4096]) | st.integers(1, 9000),
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
)
def test_the_closed_form_is_the_rollout(
    drawn: tuple[ClusterState, Request], budget_tokens: int, prefill_scale: float, decode_scale: float
) -> None:
    state, request = drawn
    knobs = SimpleNamespace(budget_tokens=budget_tokens, prefill_scale=prefill_scale, decode_scale=decode_scale)
    for x in observe(state, request, {}):
        steps, ttft_s, decode_s = rolled(x, budget_tokens, prefill_scale, decode_scale)
        told = predicted(SCALAR, x, knobs)
        assert told.steps == steps
        # One side adds up to 60,000 steps, each rounded once: 1e-11 of the sum.
        assert told.ttft_s == pytest.approx(ttft_s, rel=1e-10, abs=1e-300)
        assert told.decode_s == pytest.approx(decode_s, rel=1e-12, abs=1e-300)


def test_a_prediction_counts_whole_steps() -> None:
    times = TIMES | {"base_s": (1.0,) * 4, "prefill_s_per_token": (1e-9,) * 4}
    state = idle(4, queued_prefill_tokens=(0, 3936, 3937, 8033), **times)
    decision, _ = decide(policy("simulated_ttft"), state, Request(id=0, arrival_s=0.0, prompt_tokens=160))
    assert [round(score) for score in decision.scores] == [1, 1, 2, 3]


def timed(count: int, **columns: Any) -> ClusterState:
    """Instances whose steps take 10 ms and 1 ms for each decode."""
    times = {"base_s": 0.01, "prefill_s_per_token": 1e-4, "decode_s_per_request": 1e-3}
    rest = dict.fromkeys(("context_tokens", "kv_s_per_token", "attention_s_per_pair"), 0)
    return idle(count, **({name: (value,) * count for name, value in (times | rest).items()} | columns))


def asked(number: int = 0, **fields: Any) -> Request:
    return Request(**{"id": number, "arrival_s": 0.0, "prompt_tokens": 160, "block_tokens": 16, **fields})


def test_polyserve_fills_one_instance_before_the_next() -> None:
    rule, running, rng = policy("polyserve:tpot_slo_s=0.02"), [0, 0, 0], random.Random(0)
    for _ in range(20):
        decision, _ = decide(rule, timed(3, running=tuple(running)), asked(), rng=rng)
        running[decision.instance] += 1
    # The decode step of the eleventh would take 21 ms.
    assert running == [10, 10, 0]


def test_polyserve_draws_uniformly_if_no_instance_keeps_its_objective() -> None:
    rule, rng = policy("polyserve:ttft_slo_s=0.001"), random.Random(3)
    state = timed(4, running=(9, 0, 3, 1))
    counts = Counter(decide(rule, state, asked(), rng=rng)[0].instance for _ in range(4000))
    # Binomial, n = 4000, p = 1/4: standard deviation 27; five of them.
    assert all(abs(counts[index] - 1000) < 137 for index in range(4))


def test_polyserve_two_passes_over_the_last_three_choices() -> None:
    rule, memory, chosen = policy("polyserve:form=polyserve2"), None, []
    for _ in range(8):
        decision, memory = decide(rule, timed(5, running=(4, 3, 2, 1, 0)), asked(), memory=memory)
        chosen.append(decision.instance)
    assert chosen == [0, 1, 2, 3, 0, 1, 2, 3]
    assert memory == (1, 2, 3)


def test_polyserve_two_passes_over_nobody_if_nobody_else_is_left() -> None:
    rule, memory, chosen = policy("polyserve:form=polyserve2"), None, []
    for _ in range(5):
        decision, memory = decide(rule, timed(2, running=(1, 0)), asked(), memory=memory)
        chosen.append(decision.instance)
    assert chosen == [0, 1, 0, 0, 0]  # from the third on both are among the last three


def test_polyserve_two_takes_the_least_late_of_those_that_are_left() -> None:
    rule = policy("polyserve:form=polyserve2,ttft_slo_s=0.001")
    decision, memory = decide(rule, timed(3, running=(0, 5, 3)), asked())
    assert decision.instance == 0
    assert decide(rule, timed(3, running=(0, 5, 3)), asked(), memory=memory)[0].instance == 2


KEYS = tuple(range(100, 140))


def test_dualmap_keeps_a_prefix_on_two_instances() -> None:
    rule, memory, taken = policy("dualmap"), None, set()
    rng = random.Random(1)
    for number in range(400):
        shared = KEYS[:4] if number % 8 == 7 else range(9000 + number * 10, 9004 + number * 10)
        request = asked(block_keys=(*shared, 1000 + number), prompt_tokens=80)
        busy = tuple(rng.randrange(10) for _ in range(8))
        decision, memory = decide(rule, idle(8, queued_prefill_tokens=busy), request, memory=memory)
        assert sum(decision.eligible) == 2
        if number % 8 == 7:  # an eighth of the requests, less than 2/8
            taken.add(decision.instance)
    assert taken == set(candidates(KEYS[3], 8))
    assert len(taken) == 2


def test_dualmap_spreads_prefixes_evenly_over_both_places() -> None:
    firsts, seconds = Counter[int](), Counter[int]()
    for name in range(8000):
        first, second = candidates(name, 8)
        assert first != second
        firsts[first] += 1
        seconds[second] += 1
    # Binomial, n = 8000, p = 1/8: standard deviation 30; five of them.
    assert all(abs(counts[place] - 1000) < 150 for counts in (firsts, seconds) for place in range(8))
    pairs = Counter(candidates(name, 8) for name in range(8000))
    assert len(pairs) == 56  # the second does not follow from the first


def test_dualmap_takes_any_instance_for_a_prompt_without_keys() -> None:
    decision, _ = decide(policy("dualmap"), idle(4, queued_prefill_tokens=(3, 2, 1, 2)), asked())
    assert (decision.instance, decision.eligible) == (2, (True,) * 4)
    assert candidates(5, 1) == (0,)


def test_dualmap_names_a_prefix_at_twice_the_length_up_to_seven_times() -> None:
    keys = tuple(range(1, 1001))
    assert prefix_names(keys, 4) == (4, 8, 16, 32, 64, 128, 256, 512)
    assert len(prefix_names(keys, 4)) == DOUBLINGS + 1
    assert prefix_names(keys[:3], 4) == (3,)
    assert prefix_names(keys[:4], 4) == (4,)
    assert prefix_names(keys[:9], 4) == (4, 8, 9)


def test_dualmap_hashes_a_hot_prefix_longer() -> None:
    names, other = prefix_names(KEYS, 4), prefix_names(range(900, 910), 4)
    # Of 200 requests to 8 instances, more than 2/8 are hot.
    assert hashed_name(names, Recent((names,) * 50 + (other,) * 150), 8) == names[0]
    assert hashed_name(names, Recent((names,) * 51 + (other,) * 149), 8) == names[-1]
    siblings = tuple(prefix_names((*KEYS[:4], 7000 + number), 4) for number in range(200))
    assert hashed_name(names, Recent(siblings), 8) == names[1]
    assert hashed_name(names[:1], Recent(siblings), 8) == names[0]
    assert hashed_name(names, Recent((names,) * 200), 2) == names[0]  # no share is above 1
    assert hashed_name(names, Recent(), 8) == names[0]


def test_dualmap_remembers_as_many_requests_as_its_window() -> None:
    rule, memory = policy("dualmap:window=5"), None
    for number in range(9):
        _, memory = decide(rule, idle(3), asked(block_keys=(number,), prompt_tokens=16), memory=memory)
    assert memory == Recent(((4,), (5,), (6,), (7,), (8,)))
    _, memory = decide(rule, idle(3), asked(), memory=memory)
    assert memory.names[-1] == ()


def test_dualmap_spreads_what_follows_a_hot_prefix() -> None:
    rule, memory, taken = policy("dualmap:window=40"), None, []
    for number in range(240):
        shared = KEYS[:4] if number >= 40 else range(9000 + number * 10, 9004 + number * 10)
        request = asked(block_keys=(*shared, *range(number * 10 + 4, number * 10 + 8)), prompt_tokens=128)
        decision, memory = decide(rule, idle(8), request, memory=memory)
        taken.append(decision.instance)
    assert len(set(taken[40:51])) == 1  # up to ten of the last 40 had it, and idle instances give it to the first hash
    assert len(set(taken[80:])) == 8


TURN = {"prefill_s_per_token": (1e-4,) * 2, "attention_s_per_pair": (0.0,) * 2}


def test_smetric_knows_a_session_by_its_second_turn() -> None:
    rule, state = policy("smetric"), idle(2, running=(9, 0), hit_tokens=(64, 0), **TURN)
    first, memory = decide(rule, state, asked(session=7))
    assert (first.instance, memory) == (1, Sessions(newer=(7,)))
    assert decide(rule, state, asked(session=7), memory=memory)[0].instance == 0
    assert decide(rule, state, asked(session=8), memory=memory)[0].instance == 1
    assert decide(rule, state, asked(), memory=memory)[0].instance == 1
    assert decide(rule, state, asked(1, after=0))[0].instance == 0


def test_smetric_forgets_a_session_after_one_to_two_generations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smetric, "GENERATION", 3)
    seen = Sessions()
    for session in (5, 1, 9, 4):
        seen = with_session(seen, session)
    assert seen == Sessions((1, 5, 9), (4,))
    seen = with_session(seen, 9)  # asked again, it is new again
    assert with_session(with_session(seen, 2), 3) == Sessions((2, 4, 9), (3,))
    assert with_session(seen, 4) is seen


@given(st.lists(st.integers(0, 40), max_size=60))
def test_smetric_knows_every_recent_session(sessions: list[int]) -> None:
    seen = Sessions()
    for session in sessions:
        seen = with_session(seen, session)
    assert seen == Sessions((), tuple(sorted(set(sessions))))


def test_ray_fills_the_smallest_tree() -> None:
    rule, memory, chosen = policy("ray_prefix_affinity"), None, []
    for length in (300, 100, 100, 50, 400):
        decision, memory = decide(rule, idle(3), asked(prompt_tokens=length), memory=memory)
        chosen.append(decision.instance)
    # Trees: 300 0 0, 300 100 0, 300 100 100, 300 150 100, 300 150 500.
    assert chosen == [0, 1, 2, 1, 2]
    assert memory == (300, 150, 500)
    _, memory = decide(rule, idle(3, hit_tokens=(0, 64, 0)), asked(prompt_tokens=100), memory=memory)
    assert memory == (300, 186, 500)
    assert decide(rule, idle(4), asked(), memory=memory)[0].instance == 3


def test_ray_draws_two_when_queues_are_uneven() -> None:
    rule, rng = policy("ray_prefix_affinity:imbalanced_threshold=4"), random.Random(2)
    state = idle(3, running=(9, 0, 1), hit_tokens=(160, 0, 0))
    counts = Counter(decide(rule, state, asked(), rng=rng)[0].instance for _ in range(3000))
    # The shorter of two drawn: 1 in two of three pairs, 2 in the third; standard deviation 26, five of them.
    assert counts[0] == 0
    assert abs(counts[1] - 2000) < 130


@pytest.mark.parametrize("rule", ["simulated_ttft", "polyserve", "smetric"])
def test_a_router_tells_the_engine_times_that_a_rule_reads(rule: str) -> None:
    times = {"a": StepTime(0.01, 1e-4, 1e-5, 1e-8, 1e-9), "b": StepTime(0.02, 2e-4, 2e-5, 2e-8, 2e-9)}
    router = Router(["a", "b"], rule, step_times=times, clock=lambda: 0.0)
    state = router.route(Request(id=0, arrival_s=0.0, prompt_tokens=64), now_s=0.0).state
    for name in StepTime.__slots__:
        assert getattr(state, name) == tuple(getattr(time, name) for time in times.values())


@pytest.mark.parametrize("rule", ["dualmap", "smetric", "ray_prefix_affinity", "polyserve:form=polyserve2"])
def test_a_memory_comes_back_from_json(rule: str) -> None:
    memory: Any = None
    for number in range(6):
        request = asked(number, session=number, block_keys=KEYS[:10])
        _, memory = decide(policy(rule), timed(3), request, memory=memory)
    assert msgspec.json.decode(msgspec.json.encode(memory), type=type(memory)) == memory
