"""Which rules take an instance that another beats in P-token and batch size: the shipped rules on states."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import formulas
from scheduler.domains import REQUESTS_MAX
from scheduler.ops import SCALAR
from scheduler.policies.catalogue import CATALOGUE, policy
from scheduler.policies.choosing import decide
from scheduler.policies.reading import best
from scheduler.policies.rule import Policy
from scheduler.policies.sglang import Sent
from scheduler.state import ClusterState, Request
from scheduler.testing.laws import choice_is_never_dominated, decide_by, product_indicators
from scheduler.testing.strategies import situations
from tests.theory.pairs import REQUEST, Pair, choice, line_at, pairs, rates, state_of

Drawn = tuple[ClusterState, Request]
FILTERS = ("dynamo_two_tier", "sglang_cache_aware", "aibrix_prefix_cache", "llm_d_affinity")
PROMPT = Request(id=0, arrival_s=0.0, prompt_tokens=1000, block_tokens=1)


def state(loads: Pair, queues: Pair, hits: Pair) -> ClusterState:
    waiting = tuple(int(q > 0) for q in queues)
    running = tuple(load - w for load, w in zip(loads, waiting, strict=True))
    return ClusterState(ids=("i", "j"), running=running, waiting=waiting, queued_prefill_tokens=queues, hit_tokens=hits)


#: The second has nothing queued and less load, so it beats the first in both; the first holds most of the prompt.
DOMINATED = state(loads=(4, 2), queues=(3000, 0), hits=(900, 0))
#: The same, the queue on both.
SAFE_TWIN = state(loads=(4, 2), queues=(3000, 3000), hits=(900, 0))


def beaten_in_both(rule: Policy, where: ClusterState, request: Request = PROMPT) -> bool:
    taken = decide_by(rule)(where, request).instance
    rows = product_indicators(where, request)
    return any(p < rows[taken][0] and b < rows[taken][1] for p, b in rows)


def products(drawn: list[Pair]) -> list[tuple[int]]:
    return [(score,) for score in decide(policy("lmetric"), state_of(drawn), REQUEST)[0].scores]


@given(pairs(max_size=6), rates())
def test_product_and_line_are_never_dominated(drawn: list[Pair], rate: Fraction) -> None:
    for rule in (policy("lmetric"), line_at(rate)):
        choice_is_never_dominated(decide_by(rule), state_of(drawn), REQUEST)


def test_weight_one_and_batch_alone_are_dominated_on_ties() -> None:
    drawn = [(8, 3), (8, 1)]
    for text, where in (("linear:form=p_token,weight=1", drawn), ("join_shortest_queue", [(3, 8), (1, 8)])):
        with pytest.raises(AssertionError, match="chose 0 with"):
            choice_is_never_dominated(decide_by(policy(text)), state_of(where), REQUEST)


@given(pairs(max_size=6), st.lists(st.booleans(), min_size=6, max_size=6))
def test_a_filter_breaks_the_law_only_by_removing_who_dominates(drawn: list[Pair], keeps: list[bool]) -> None:
    kept = keeps[: len(drawn)]
    taken = best(products(drawn), kept)[0]
    above = [j for j, pair in enumerate(drawn) if formulas.dominates(SCALAR, *pair, *drawn[taken])]
    assert not any(kept[j] for j in above) if any(kept) else not above


@given(pairs(max_size=6), st.integers(1, 30))
def test_a_cap_on_the_batch_keeps_the_law(drawn: list[Pair], cap: int) -> None:
    taken = best(products(drawn), [b <= cap for _, b in drawn])[0]
    assert not any(formulas.dominates(SCALAR, *pair, *drawn[taken]) for pair in drawn)


@given(situations(2, 6, loose=True), st.integers(0, 20))
def test_aibrix_is_never_dominated_in_match_and_load(drawn: Drawn, imbalance: int) -> None:
    where, request = drawn
    taken = decide_by(policy(f"aibrix_prefix_cache:imbalance={imbalance}"))(where, request).instance
    rows = [(-hit, r + w) for hit, r, w in zip(where.hit_tokens, where.running, where.waiting, strict=True)]
    assert not any(formulas.dominates(SCALAR, *row, *rows[taken]) for row in rows)


@pytest.mark.parametrize("name", ["dynamo_two_tier", "sglang_cache_aware"])
@given(drawn=situations(2, 6), data=st.data())
def test_two_tier_rules_are_never_beaten_in_load_by_a_match_as_long(
    name: str, drawn: Drawn, data: st.DataObject
) -> None:
    where, request = drawn
    gap, cache = data.draw(st.integers(0, 40)), data.draw(st.sampled_from([0.1, 0.5, 0.9]))
    rule = policy(f"{name}:abs_threshold={gap},cache_threshold={cache}")
    taken = decide_by(rule)(where, request).instance
    rows = [(hit, r + w) for hit, r, w in zip(where.hit_tokens, where.running, where.waiting, strict=True)]
    assert not any(hit >= rows[taken][0] and load < rows[taken][1] for hit, load in rows)


#: Nothing is cached anywhere; the second has less load, the first the smaller tree.
TREES = Sent(processed=(0, 0), tree_tokens=(0, 1))
BY_TREE = "sglang_cache_aware:fallback=smallest_tree"


def taken_with_trees(text: str, where: ClusterState, trees: Sent = TREES) -> int:
    return decide(policy(text), where, PROMPT, memory=trees)[0].instance


def test_sglang_by_tree_size_is_beaten_in_load() -> None:
    where = state(loads=(5, 1), queues=(0, 0), hits=(0, 0))
    assert taken_with_trees(BY_TREE, where) == 0
    assert taken_with_trees("sglang_cache_aware", where) == 1
    # With equal queues, too, and by a longer match, which is below the cache threshold: beaten in both.
    where = state(loads=(5, 1), queues=(100, 100), hits=(0, 200))
    assert taken_with_trees(BY_TREE, where) == 0
    assert taken_with_trees("sglang_cache_aware", where) == 1
    taken, other = product_indicators(where, PROMPT)
    assert other[0] < taken[0]
    assert other[1] < taken[1]


def test_sglang_by_tree_size_is_beaten_in_both_at_a_cache_threshold_of_one() -> None:
    where, request = state(loads=(5, 1), queues=(100, 0), hits=(0, 0)), Request(id=0, arrival_s=0.0, prompt_tokens=400)
    assert product_indicators(where, request) == [(500, 6), (400, 2)]
    assert decide(policy(f"{BY_TREE},cache_threshold=1"), where, request, memory=TREES)[0].instance == 0


@pytest.mark.parametrize("cache", [0, 0.3, 1])
@pytest.mark.parametrize(
    ("gap", "ratio", "beaten"), [(1, 1.0, True), (0, 1.25, True), (0, 1.2499999, False), (0, 1.0, False)]
)
def test_sglang_by_tree_size_is_dominated_at_any_cache_threshold(
    cache: float, gap: int, ratio: float, beaten: bool
) -> None:
    where = state(loads=(5, 4), queues=(100, 0), hits=(0, 0))
    knobs = f"cache_threshold={cache},abs_threshold={gap},rel_threshold={ratio}"
    assert (taken_with_trees(f"{BY_TREE},{knobs}", where) == 0) == beaten
    # The least loaded is taken if the tree's size is not asked.
    assert taken_with_trees(f"sglang_cache_aware:{knobs}", where) == 1


@given(situations(2, 6), st.lists(st.integers(0, 5), min_size=6, max_size=6), st.sampled_from([0, 0.3, 1]))
def test_sglang_by_tree_size_is_not_beaten_in_load_if_every_gap_decides(
    drawn: Drawn, trees: list[int], cache: float
) -> None:
    where, request = drawn
    sent = Sent(processed=(0,) * len(where), tree_tokens=tuple(trees[: len(where)]))
    rule = policy(f"{BY_TREE},cache_threshold={cache},abs_threshold=0,rel_threshold=1")
    taken = decide(rule, where, request, memory=sent)[0].instance
    loads = [r + w for r, w in zip(where.running, where.waiting, strict=True)]
    assert loads[taken] == min(loads)


def test_two_tier_takes_the_shorter_match_at_equal_loads() -> None:
    where = state(loads=(0, 0), queues=(0, 0), hits=(0, 400))  # 400 of 1000 is below the cache threshold
    assert decide_by(policy("dynamo_two_tier"))(where, PROMPT).instance == 0


@pytest.mark.parametrize("text", [*FILTERS, "sglang_cache_aware:fallback=smallest_tree"])
def test_published_filters_take_a_dominated_instance(text: str) -> None:
    rule = policy(text)
    with pytest.raises(AssertionError, match="chose 0 with"):
        choice_is_never_dominated(decide_by(rule), DOMINATED, PROMPT)
    assert beaten_in_both(rule, DOMINATED)
    assert not beaten_in_both(rule, SAFE_TWIN)
    for other in (policy("lmetric"), line_at(Fraction(256))):
        choice_is_never_dominated(decide_by(other), DOMINATED, PROMPT)


@pytest.mark.parametrize("name", ["dynamo_two_tier", "sglang_cache_aware"])
@pytest.mark.parametrize(
    ("cache", "gap", "ratio", "loads", "beaten"),
    [
        (0.99, 1, 1.0, (3, 2), True),
        (0.0, 0, 1.5, (3, 2), True),  # 3/2 is not above 1.5
        (0.0, 0, 1.1, (11, 10), True),
        (0.99, 64, 1.5, (66, 2), True),
        (0.99, 63, 1.5, (66, 2), False),
        (1.0, 64, 1.5, (3, 2), False),
        (0.0, 0, 1.0, (3, 2), False),
        (0.0, 0, 1.0, (1000, 999), False),
    ],
)
def test_cache_first_rules_are_dominated_exactly_at_these_thresholds(
    name: str, cache: float, gap: int, ratio: float, loads: Pair, beaten: bool
) -> None:
    rule = policy(f"{name}:cache_threshold={cache},abs_threshold={gap},rel_threshold={ratio}")
    where = state(loads=loads, queues=(1000, 0), hits=(1000, 0))
    assert beaten_in_both(rule, where) == beaten


@pytest.mark.parametrize(
    ("imbalance", "sigmas", "beaten"), [(2, 0.0, True), (8, 1.0, True), (1, 1.0, False), (0, 1.0, False)]
)
def test_aibrix_is_dominated_at_these_thresholds(imbalance: int, sigmas: float, beaten: bool) -> None:
    rule = policy(f"aibrix_prefix_cache:imbalance={imbalance},sigmas={sigmas}")
    where = ClusterState(
        ids=("i", "j", "l"),
        running=(2, 2, 4),
        waiting=(1, 0, 0),
        queued_prefill_tokens=(1000, 0, 0),
        hit_tokens=(1000, 0, 0),
    )
    assert beaten_in_both(rule, where) == beaten


@pytest.mark.parametrize("name", ["dynamo_two_tier", "sglang_cache_aware"])
def test_the_least_ratio_that_lets_a_gap_pass_is_that_of_the_greatest_loads(name: str) -> None:
    most = 2 * REQUESTS_MAX
    where = ClusterState(
        ids=("i", "j"),
        running=(REQUESTS_MAX, REQUESTS_MAX),
        waiting=(REQUESTS_MAX, REQUESTS_MAX - 1),
        queued_prefill_tokens=(1000, 0),
        hit_tokens=(1000, 0),
    )
    least = most / (most - 1)
    for ratio, beaten in ((least, True), (math.nextafter(least, 1), False), (1 + 2**-22, False)):
        rule = policy(f"{name}:cache_threshold=0.5,abs_threshold=0,rel_threshold={ratio!r}")
        assert beaten_in_both(rule, where) == beaten


@given(
    situations(2, 6),
    st.sampled_from(
        ["cache_threshold=1", "abs_threshold=0,rel_threshold=1", "abs_threshold=0,rel_threshold=1.0000004"]
    ),
)
def test_cache_first_rules_are_not_beaten_where_load_alone_decides(drawn: Drawn, knobs: str) -> None:
    for name in ("dynamo_two_tier", "sglang_cache_aware"):
        assert not beaten_in_both(policy(f"{name}:{knobs}"), *drawn)


@pytest.mark.parametrize(
    ("affinity", "penalty_ms", "beaten"),
    [(0.01, 18_000, True), (1.0, 18_000, True), (0.0, 18_000, False), (0.8, 1001, True), (0.8, 1000, False)],
)
def test_llm_d_affinity_is_dominated_exactly_at_these_thresholds(
    affinity: float, penalty_ms: int, beaten: bool
) -> None:
    rate = 1000  # a delay of 1001 ms is the queue of 1001 tokens
    rule = policy(f"llm_d_affinity:affinity={affinity},max_penalty_ms={penalty_ms},prefill_tokens_per_s={rate}")
    where = state(loads=(3, 2), queues=(1001, 0), hits=(1000, 0))
    assert beaten_in_both(rule, where) == beaten


@pytest.mark.parametrize("name", FILTERS)
@given(drawn=situations(2, 6), queue=st.integers(0, 5000), seed=st.integers(0, 20))
def test_filters_with_equal_queues_are_not_beaten_in_both(name: str, drawn: Drawn, queue: int, seed: int) -> None:
    loaded, request = drawn
    count = len(loaded)
    where = ClusterState(
        ids=loaded.ids,
        running=loaded.running,
        waiting=loaded.waiting,
        queued_prefill_tokens=(queue,) * count,
        hit_tokens=loaded.hit_tokens,
    )
    taken = decide_by(policy(name), seed)(where, request).instance
    rows = product_indicators(where, request)
    assert not any(p < rows[taken][0] and b < rows[taken][1] for p, b in rows)
    if name == "llm_d_affinity":
        assert rows[taken][0] == min(p for p, _ in rows)


def test_every_filter_here_is_of_the_catalogue() -> None:
    assert set(FILTERS) <= {name for name, rule in CATALOGUE.items() if rule.eligible is not None}
    assert choice(policy("lmetric"), [(4, 2), (2, 2)]) == 1
