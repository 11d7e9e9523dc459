"""Rules that remember or draw: what they promise over many decisions, and that old memories stay what they were."""

import copy
import itertools
import pickle
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.policies.catalogue import CATALOGUE, policy
from scheduler.policies.choosing import Chooser, decide
from scheduler.policies.preble import fitted_prefill_s
from scheduler.policies.window import added, expired, opened
from scheduler.state import REQUIRED_COLUMNS, ClusterState, Request
from scheduler.testing.strategies import situations


def idle(count: int, **columns: tuple[Any, ...]) -> ClusterState:
    zeros = dict.fromkeys(REQUIRED_COLUMNS, (0,) * count)
    given_or_zero: dict[str, Any] = {**zeros, "kv_used_fraction": (0.0,) * count, **columns}
    ids = tuple(f"i{index}" for index in range(count))
    return ClusterState(ids=ids, **given_or_zero)


def request(arrival_s: float = 0.0, prompt_tokens: int = 160) -> Request:
    return Request(id=0, arrival_s=arrival_s, prompt_tokens=prompt_tokens, block_tokens=16)


def choices(text: str, state: ClusterState, count: int, seed: int = 0) -> list[int]:
    chosen, memory, rng = [], None, random.Random(seed)
    for _ in range(count):
        decision, memory = decide(policy(text), state, request(), memory=memory, rng=rng)
        chosen.append(decision.instance)
    return chosen


@pytest.mark.parametrize("text", ["round_robin", "vllm_v1_2026"])
def test_turns_go_round(text: str) -> None:
    assert choices(text, idle(3), 7) == [0, 1, 2, 0, 1, 2, 0]


def test_a_turn_does_not_outweigh_load() -> None:
    assert choices("vllm_v1_2026", idle(3, running=(0, 1, 0)), 4) == [0, 2, 2, 0]


def test_sglang_sends_equal_load_to_the_fewest_processed() -> None:
    assert choices("sglang_cache_aware", idle(3), 5) == [0, 1, 2, 0, 1]


@given(situations(3, 6), st.integers(0, 1000))
def test_power_of_two_never_takes_the_only_greatest_load(drawn: tuple[ClusterState, Request], seed: int) -> None:
    state, one = drawn
    load = [running + waiting for running, waiting in zip(state.running, state.waiting, strict=True)]
    decision, _ = decide(policy("power_of_two"), state, one, rng=random.Random(seed))
    assert load.count(max(load)) > 1 or load[decision.instance] < max(load)


def test_power_of_two_gives_ties_to_the_first_drawn() -> None:
    for seed in range(50):
        first = int(random.Random(seed).random() * 4)
        assert choices("power_of_two", idle(4), 1, seed) == [first]


def test_power_of_two_draws_every_ordered_pair_alike() -> None:
    rule, rng = CATALOGUE["power_of_two"], random.Random(5)
    assert rule.memory is not None
    pairs: Counter[tuple[int, ...]] = Counter()
    for _ in range(6000):
        order = list(rule.memory.recall(None, request(), idle(3), None, rng)["order"])
        pairs[order.index(0), order.index(1)] += 1
    assert set(pairs) == set(itertools.permutations(range(3), 2))
    # Binomial, n = 6000, p = 1/6: standard deviation 29; five of them.
    assert all(abs(count - 1000) < 145 for count in pairs.values())


def test_power_of_two_knows_a_single_instance() -> None:
    assert choices("power_of_two", idle(1), 2) == [0, 0]


def test_random_takes_every_instance_alike() -> None:
    counts = Counter(choices("random", idle(4), 4000, seed=1))
    # Binomial, n = 4000, p = 1/4: standard deviation 27; five of them.
    assert all(abs(counts[index] - 1000) < 137 for index in range(4))


def test_bailian_draws_in_proportion_to_its_weights() -> None:
    state = idle(2, hit_tokens=(128, 0), running=(3, 0), context_tokens=(1000, 0))
    decision, _ = decide(policy("bailian"), state, request(), rng=random.Random(0))
    assert decision.scores == pytest.approx((0.7, 0.3))
    # Binomial, n = 4000, p = 0.7: standard deviation 29; five of them.
    assert abs(choices("bailian", state, 4000, seed=2).count(0) - 2800) < 145


def test_dynamo_with_temperature_spreads_and_without_does_not() -> None:
    state = idle(2, active_blocks=(0, 10), added_blocks=(10, 10))
    assert set(choices("dynamo", state, 50)) == {0}
    # p = 1/(1 + e^-1) = 0.731 for the better of two costs scaled to 0 and 1; n = 4000, standard deviation 28.
    assert abs(choices("dynamo:temperature=1", state, 4000, seed=3).count(0) - 2924) < 140


def test_preble_charges_what_was_missed_for_three_minutes() -> None:
    rule = policy("preble")
    _, memory = decide(rule, idle(2), request(0.0, 1000))
    assert decide(rule, idle(2), request(180.0, 1000), memory=memory)[0].instance == 1
    assert decide(rule, idle(2), request(180.001, 1000), memory=memory)[0].instance == 0
    scores = decide(rule, idle(2), request(1.0, 1000), memory=memory)[0].scores
    assert scores == pytest.approx((2 * fitted_prefill_s(1000), fitted_prefill_s(1000)))


def test_conductor_remembers_the_mean_prefill_of_an_instance() -> None:
    rule = policy("aibrix_conductor")
    fallback = 0.001 * 512**1.5 + 5
    decision, memory = decide(rule, idle(2, running=(1, 2)), request(0.0, 8000))
    assert decision.scores[1] - decision.scores[0] == pytest.approx(fallback)
    decision, _ = decide(rule, idle(2, running=(1, 1)), request(0.0, 8000), memory=memory)
    assert decision.scores[0] - decision.scores[1] == pytest.approx(0.001 * 8000**1.5 + 5 - fallback)


def test_conductor_takes_the_mean_of_all_that_it_sent() -> None:
    rule = policy("aibrix_conductor")
    memory: Any = None
    for _ in range(3):
        _, memory = decide(rule, idle(2, running=(0, 9)), request(0.0, 8000), memory=memory)
    assert (memory.counts, memory.totals_ms) == ((3, 0), (pytest.approx(3 * (0.001 * 8000**1.5 + 5)), 0.0))


@pytest.mark.parametrize(("tokens", "ms"), [(0, 0), (100, 22), (384, 45.8452776), (1000, 112.63551)])
def test_preble_prefill_time_is_the_published_fit(tokens: int, ms: float) -> None:
    assert fitted_prefill_s(tokens) == pytest.approx(ms / 900, rel=1e-6)


def test_preble_prefill_time_is_never_below_that_of_a_short_prompt() -> None:
    for tokens in range(192, 384):
        published = (-118 + 1.25 * tokens - 2.56e-3 * tokens**2) / 900
        assert fitted_prefill_s(tokens) == pytest.approx(max(0.022 / 0.9, published))
    assert fitted_prefill_s(244) == pytest.approx(0.034587840 / 0.9)
    assert all(fitted_prefill_s(tokens) > 0 for tokens in range(1, 5000))


def test_preble_adds_attention_from_4096_tokens_on() -> None:
    linear = 0.10842571 * 4096 + 4.2098
    attention = -7.37 + 3.86e-3 * 4096 + 2.16e-6 * 4096**2
    assert fitted_prefill_s(4095) == pytest.approx((0.10842571 * 4095 + 4.2098) / 900)
    assert fitted_prefill_s(4096) == pytest.approx((linear + attention) / 900)


def test_preble_is_not_drawn_to_an_instance_because_it_was_used() -> None:
    _, memory = decide(policy("preble"), idle(2), request(0.0, 367))
    assert decide(policy("preble"), idle(2), request(1.0, 367), memory=memory)[0].instance == 1


def test_conductor_queues_are_not_free_after_fully_cached_prompts() -> None:
    rule, cached = policy("aibrix_conductor"), idle(2, hit_tokens=(160, 160))
    memory: Any = None
    for _ in range(4):
        _, memory = decide(rule, cached, request(), memory=memory)
    decision, _ = decide(rule, idle(2, hit_tokens=(160, 160), running=(9, 0)), request(), memory=memory)
    assert decision.instance == 1
    assert decision.scores[0] - decision.scores[1] == pytest.approx(9 * (0.001 * 512**1.5 + 5))


@pytest.mark.parametrize(
    "text", ["sglang_cache_aware", "preble", "aibrix_conductor", "sglang_cache_aware:fallback=smallest_tree"]
)
def test_memory_takes_in_an_instance_that_joins(text: str) -> None:
    rule, memory = policy(text), None
    chooser = Chooser(rule, 2, random.Random(0))
    for _ in range(4):
        _, memory = decide(rule, idle(2), request(), memory=memory)
        chooser.choose(idle(2), request())
    grown, chosen = idle(3, running=(1, 1, 0)), []
    for _ in range(2):
        decision, memory = decide(rule, grown, request(), memory=memory)
        chosen.append(decision.instance)
        assert chooser.choose(grown, request()) == decision.instance
    assert chosen[0] == 2
    assert chooser.memory == memory


def test_sglang_may_fall_back_to_the_smallest_tree() -> None:
    small, rule = idle(2, running=(0, 3)), policy("sglang_cache_aware:fallback=smallest_tree")
    _, memory = decide(rule, small, request())
    # Least load would take the first again; its tree has 160 tokens.
    assert decide(rule, small, request(), memory=memory)[0].scores == ((160, 0, 1), (0, 3, 0))
    assert decide(rule, small, request(), memory=memory)[0].instance == 1
    matched = idle(2, running=(0, 3), hit_tokens=(160, 160))
    assert decide(rule, matched, request(), memory=memory)[0].scores == ((0, 0, 1), (0, 3, 0))
    uneven = idle(2, running=(0, 65))
    assert decide(rule, uneven, request(), memory=memory)[0].instance == 0
    assert decide(policy("sglang_cache_aware"), small, request(), memory=memory)[0].instance == 0


def test_a_tree_grows_by_what_was_missed() -> None:
    rule, memory = policy("sglang_cache_aware"), None
    _, memory = decide(rule, idle(2, hit_tokens=(112, 0)), request(), memory=memory)
    assert memory == ((1, 0), (48, 0))


def test_every_memory_can_be_stored_and_copied() -> None:
    window = opened(2)
    for time in range(3000):
        window = added(window, time, time % 2, 1)
    assert pickle.loads(pickle.dumps(window)) == copy.deepcopy(window) == window
    assert expired(window, 2900).totals == (50, 50)
    assert expired(window, 5000).totals == (0, 0)


EVENTS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2), st.integers(1, 50)), max_size=40) | st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(1, 50)), min_size=130, max_size=200
)


@given(EVENTS, st.integers(1, 60))
def test_window_sums_what_a_list_would(events: list[tuple[int, int, int]], length: int) -> None:
    window, now, seen = opened(3), 0, []
    for step, instance, amount in events:
        now += step
        window = added(expired(window, now - length), now, instance, amount)
        seen.append((now, instance, amount))
        kept = [(i, a) for time, i, a in seen if time >= now - length]
        assert window.totals == tuple(sum(a for i, a in kept if i == index) for index in range(3))


@given(EVENTS)
def test_old_windows_stay_what_they_were(events: list[tuple[int, int, int]]) -> None:
    window, now, past = opened(3), 0, []
    for step, instance, amount in events:
        now += step
        past.append((window, now, expired(window, now - 20).totals))
        window = added(expired(window, now - 20), now, instance, amount)
    for old, time, totals in past:
        assert expired(old, time - 20).totals == totals


@pytest.mark.parametrize("name", [name for name, rule in CATALOGUE.items() if rule.memory is not None])
@given(st.lists(situations(4, 4), min_size=2, max_size=5))
def test_old_memories_decide_as_they_did(name: str, drawn: list[tuple[ClusterState, Request]]) -> None:
    memory: Any = None
    trail = []
    for state, one in sorted(drawn, key=lambda pair: pair[1].arrival_s):
        before = memory
        decision, memory = decide(policy(name), state, one, memory=before, rng=random.Random(7))
        trail.append((before, state, one, decision))
    for before, state, one, decision in trail:
        assert decide(policy(name), state, one, memory=before, rng=random.Random(7))[0] == decision
