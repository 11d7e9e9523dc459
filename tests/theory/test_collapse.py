"""Where a product is zero: the shipped deviations of the product on saturated, idle and fully cached instances."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import formulas
from scheduler.domains import REQUESTS_MAX, TOKENS_MAX
from scheduler.policies.catalogue import policy
from scheduler.policies.choosing import decide
from scheduler.state import ClusterState, Decision, Request
from scheduler.testing.laws import idle_instances_are_told_apart_by_cache, product_indicators
from scheduler.testing.strategies import situations
from tests.theory.pairs import Pair

Drawn = tuple[ClusterState, Request]


def decided(text: str, where: ClusterState, request: Request) -> Decision:
    return decide(policy(text), where, request)[0]


def prompt(tokens: int) -> Request:
    return Request(id=0, arrival_s=0.0, prompt_tokens=tokens)


def state(running: Pair, hits: Pair, queues: Pair = (0, 0), waiting: Pair = (0, 0)) -> ClusterState:
    return ClusterState(ids=("i", "j"), running=running, waiting=waiting, queued_prefill_tokens=queues, hit_tokens=hits)


@given(st.integers(0, REQUESTS_MAX), st.integers(0, REQUESTS_MAX), st.integers(1, TOKENS_MAX))
def test_without_floor_a_saturated_instance_beats_an_idle_one(running: int, waiting: int, tokens: int) -> None:
    for places in ((0, 1), (1, 0)):
        columns = [(running, 0), (tokens, 0), (0, 0), (waiting, 0)]
        where = state(*((column[places[0]], column[places[1]]) for column in columns))
        assert decided("lmetric_paper", where, prompt(tokens)).id == where.ids[places[0]]


@given(st.integers(1, REQUESTS_MAX), st.integers(1, TOKENS_MAX))
def test_with_floor_it_does_so_up_to_the_prompts_length(running: int, tokens: int) -> None:
    where, request = state((running, 0), (tokens, 0)), prompt(tokens)
    most = formulas.batch_taken_at_most(1, tokens, 1)
    assert (decided("lmetric", where, request).instance == 0) == (running + 1 <= most)


@given(situations(2, 6, loose=True))
def test_without_floor_a_score_is_zero_exactly_if_nothing_is_to_prefill(drawn: Drawn) -> None:
    where, request = drawn
    nothing = [
        q == 0 and hit == request.prompt_tokens
        for q, hit in zip(where.queued_prefill_tokens, where.hit_tokens, strict=True)
    ]
    decision = decided("lmetric_paper", where, request)
    assert [score == 0 for score in decision.scores] == nothing
    if any(nothing):
        assert decision.instance == nothing.index(True)
    assert all(score > 0 for score in decided("lmetric", where, request).scores)


def test_without_floor_two_zeros_tie_by_index_whatever_their_batches() -> None:
    where, request = state((250, 0), (1088, 1088)), prompt(1088)
    assert decided("lmetric_paper", where, request).ties == (0, 1)
    assert decided("lmetric_paper", where, request).instance == 0
    assert decided("lmetric", where, request).instance == 1


@given(situations(2, 6, loose=True))
def test_with_floor_the_batch_always_counts(drawn: Drawn) -> None:
    rows = product_indicators(*drawn)
    tokens, batch = rows[decided("lmetric", *drawn).instance]
    for other_tokens, other_batch in rows:
        assert batch * tokens <= other_tokens * other_batch
        assert batch <= formulas.batch_taken_at_most(tokens, other_tokens, other_batch) * (1 + 1e-12)
        assert batch <= formulas.batch_taken_at_most(1, other_tokens, other_batch)


@given(st.integers(1, 10**6), st.integers(1, TOKENS_MAX))
def test_without_queue_any_queue_is_let_pass(queue: int, tokens: int) -> None:
    where = state((0, 0), (tokens, 0), queues=(queue, 0))
    assert decided("lmetric_no_queue", where, prompt(tokens)).instance == 0
    assert (decided("lmetric", where, prompt(tokens)).instance == 0) == (queue + 1 <= tokens)


@given(st.integers(0, 10**6), st.integers(1, TOKENS_MAX), st.integers(0, REQUESTS_MAX), st.integers(0, 300))
def test_without_queue_a_cached_instance_is_taken_up_to_a_batch(
    queue: int, tokens: int, running: int, other: int
) -> None:
    where = state((running, other), (tokens, 0), queues=(queue, 7))
    first = decided("lmetric_no_queue", where, prompt(tokens)).instance == 0
    assert first == (running + 1 <= formulas.batch_taken_at_most(1, tokens, other + 1))


def test_without_queue_a_saturated_cached_instance_is_not_taken() -> None:
    assert decided("lmetric_no_queue", state((1200, 0), (1000, 0)), prompt(1000)).instance == 1
    assert decided("lmetric_no_queue", state((999, 0), (1000, 0)), prompt(1000)).instance == 0
    # Both hold the prompt: the emptier one.
    assert decided("lmetric_no_queue", state((1, 0), (1000, 1000), (0, 10**6)), prompt(1000)).instance == 1


@given(situations(2, 6))
def test_without_self_an_idle_instance_beats_every_busy_one(drawn: Drawn) -> None:
    where, request = drawn
    loads = [r + w for r, w in zip(where.running, where.waiting, strict=True)]
    decision = decided("lmetric_no_self", where, request)
    assert [score == 0 for score in decision.scores] == [load == 0 for load in loads]
    if 0 in loads:
        assert decision.ties == tuple(i for i, load in enumerate(loads) if load == 0)
        rows = product_indicators(where, request)
        tokens, batch = rows[decision.instance]
        busy = [p * b for (p, b), load in zip(rows, loads, strict=True) if load]
        assert batch == 1
        assert all(tokens * batch <= formulas.idle_regret(tokens) * product for product in busy)


@pytest.mark.parametrize("tokens", [2, 64, 131_072])
def test_an_idle_choice_costs_half_its_tokens_times_the_best(tokens: int) -> None:
    where = state((0, 1), (0, tokens))
    taken, other = product_indicators(where, prompt(tokens))
    assert decided("lmetric_no_self", where, prompt(tokens)).instance == 0
    assert taken[0] * taken[1] == formulas.idle_regret(tokens) * other[0] * other[1]
    assert decided("lmetric", where, prompt(tokens)).instance == (0 if tokens == 2 else 1)


@given(situations(2, 6))
def test_without_self_idle_instances_tie_whatever_their_cache(drawn: Drawn) -> None:
    where, request = drawn
    count = len(where)
    idle = ClusterState(
        ids=where.ids,
        running=(0,) * count,
        waiting=(0,) * count,
        queued_prefill_tokens=(0,) * count,
        hit_tokens=where.hit_tokens,
    )
    decision = decided("lmetric_no_self", idle, request)
    assert (decision.instance, decision.ties) == (0, tuple(range(count)))
    idle_instances_are_told_apart_by_cache(lambda *inputs: decided("lmetric", *inputs), where, request)


def test_a_law_tells_the_rule_that_does_not_count_the_request() -> None:
    where, request = state((0, 0), (0, 1024)), prompt(1088)
    with pytest.raises(AssertionError, match="chose 0 with 1088 tokens to compute"):
        idle_instances_are_told_apart_by_cache(lambda *inputs: decided("lmetric_no_self", *inputs), where, request)
