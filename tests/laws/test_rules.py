"""The laws of routing, for every rule of the catalogue that they concern."""

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler import formulas
from scheduler.domains import INSTANCE_DOMAINS, REQUEST_DOMAINS, Domain
from scheduler.errors import BadInput
from scheduler.ops import SCALAR
from scheduler.policies.catalogue import CATALOGUE, policy
from scheduler.policies.choosing import decide
from scheduler.policies.reading import chosen
from scheduler.policies.rule import Pick, Policy, no_aggregates
from scheduler.state import ClusterState, Request, checked_request
from scheduler.testing import laws
from scheduler.testing.strategies import from_domain, policies, requests, situations

NAMES = list(CATALOGUE)
LINES = [f"linear:form=p_token,weight={weight}" for weight in (0.05, 0.3, 0.7, 0.95, 1.0)]
PRODUCTS = ["lmetric", "marginal_delay", "marginal_delay_offset:kappa=64", "join_shortest_queue", "least_p_token"]
#: These choose by the place of an instance in the list, or draw by it.
BY_PLACE = {"round_robin", "vllm_v1_2026", "power_of_two", "bailian", "polyserve"}
Drawn = tuple[ClusterState, Request]


def fixed(text: str) -> laws.Decide:
    return laws.decide_by(policy(text))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25)
@given(drawn=situations(loose=True), data=st.data(), seed=st.integers(0, 100))
def test_choice_is_one_of_the_instances(name: str, drawn: Drawn, data: st.DataObject, seed: int) -> None:
    laws.choice_is_one_of_the_instances(laws.decide_by(data.draw(policies(names=(name,))), seed), *drawn)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15)
@given(drawn=situations(), data=st.data())
def test_equal_inputs_give_equal_choices(name: str, drawn: Drawn, data: st.DataObject) -> None:
    laws.equal_inputs_give_equal_choices(laws.decide_by(data.draw(policies(names=(name,)))), *drawn)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in BY_PLACE])
@settings(max_examples=25)
@given(drawn=situations(2, 6), data=st.data())
def test_permuting_instances_permutes_the_choice(name: str, drawn: Drawn, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(drawn[0]))))
    laws.permuting_instances_permutes_the_choice(fixed(name), *drawn, order)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25)
@given(drawn=situations(loose=True), data=st.data())
def test_columns_a_rule_does_not_read_do_not_matter(name: str, drawn: Drawn, data: st.DataObject) -> None:
    rule = data.draw(policies(names=(name,)))
    laws.columns_it_does_not_read_do_not_matter(laws.decide_by(rule), *drawn, rule.needs)


@pytest.mark.parametrize("text", ["lmetric", "marginal_delay", "marginal_delay_offset:kappa=64"])
@given(drawn=situations(2, 6, loose=True))
def test_product_and_least_harm_are_never_dominated(text: str, drawn: Drawn) -> None:
    if text != "lmetric" and any(drawn[0].queued_prefill_tokens):
        # least harm weighs queue and new tokens apart, so a smaller P-token may do more harm
        drawn = msgspec.structs.replace(drawn[0], queued_prefill_tokens=(0,) * len(drawn[0])), drawn[1]
    laws.choice_is_never_dominated(fixed(text), *drawn)


@pytest.mark.parametrize("text", LINES[:-1])
@given(drawn=situations(2, 6, loose=True))
def test_lines_are_never_dominated(text: str, drawn: Drawn) -> None:
    laws.choice_is_never_dominated(fixed(text), *drawn)


@pytest.mark.parametrize("text", ["lmetric", *LINES[:-1]])
@given(drawn=situations(2, 6, loose=True))
def test_product_and_lines_choose_on_the_lower_hull(text: str, drawn: Drawn) -> None:
    laws.choice_is_supported_by_a_line(fixed(text), *drawn)


@settings(max_examples=50)
@given(drawn=situations(2, 6, loose=True))
def test_the_product_keeps_all_its_laws(drawn: Drawn) -> None:
    laws.check(fixed("lmetric"), *drawn, laws.PRODUCT)


@pytest.mark.parametrize("text", ["lmetric", "marginal_delay", "least_p_token", "linear:form=p_token"])
@settings(max_examples=50)
@given(drawn=situations(2, 6))
def test_on_an_idle_cluster_the_cache_decides(text: str, drawn: Drawn) -> None:
    laws.idle_instances_are_told_apart_by_cache(fixed(text), *drawn)


@pytest.mark.parametrize("text", ["lmetric", "join_shortest_queue", "marginal_delay_offset:kappa=64"])
@pytest.mark.parametrize("count", [2, 5])
def test_every_instance_is_reached_within_its_leverage(text: str, count: int) -> None:
    state = ClusterState(
        ids=tuple("ABCDE"[:count]),
        running=(0,) * count,
        waiting=(0,) * count,
        queued_prefill_tokens=(0,) * count,
        hit_tokens=(1024, *(0,) * (count - 1)),
    )
    request = Request(id=0, arrival_s=0.0, prompt_tokens=1088)
    laws.every_instance_is_reached(fixed(text), state, request, 1088 * count)
    with pytest.raises(AssertionError, match="did not reach"):
        laws.every_instance_is_reached(fixed("most_hit:ties=first"), state, request, 1088 * count)


#: Rules that break a law of the product, with a state that shows it: (policy, law, hits, running).
BREAKERS = [
    ("lmetric_paper", laws.a_hit_buys_no_more_than_its_leverage, (160, 144), (200, 0)),
    ("lmetric_no_self", laws.idle_instances_are_told_apart_by_cache, (0, 128), (0, 0)),
    ("join_shortest_queue", laws.idle_instances_are_told_apart_by_cache, (0, 128), (0, 0)),
    ("most_hit", laws.a_hit_buys_no_more_than_its_leverage, (160, 144), (200, 0)),
    ("least_p_token", laws.a_hit_buys_no_more_than_its_leverage, (160, 144), (200, 0)),
    ("aibrix_prefix_cache", laws.choice_is_supported_by_a_line, (0, 16, 0, 0, 160), (2, 5, 3, 3, 10)),
]


@pytest.mark.parametrize(("text", "law", "hits", "running"), BREAKERS)
def test_a_law_is_broken_by_a_rule_that_lacks_it(
    text: str, law: laws.Law, hits: tuple[int, ...], running: tuple[int, ...]
) -> None:
    zeros = (0,) * len(hits)
    state = ClusterState(
        ids=tuple("ABCDE"[: len(hits)]), running=running, waiting=zeros, queued_prefill_tokens=zeros, hit_tokens=hits
    )
    request = Request(id=0, arrival_s=0.0, prompt_tokens=160, block_tokens=16)
    law(fixed("lmetric"), state, request)
    with pytest.raises(AssertionError, match=law.__name__):
        laws.check(fixed(text), state, request, [law])


@given(situations(2, 6, loose=True), st.integers(2, 9), st.integers(2, 9))
def test_product_is_scale_free(drawn: Drawn, token_factor: int, batch_factor: int) -> None:
    laws.rescaling_an_indicator_keeps_the_choice(fixed("lmetric"), *drawn, token_factor, batch_factor)


def test_a_line_is_not_scale_free() -> None:
    state = ClusterState(
        ids=("A", "B"), running=(3, 0), waiting=(0, 0), queued_prefill_tokens=(0, 900), hit_tokens=(0, 0)
    )
    request = Request(id=0, arrival_s=0.0, prompt_tokens=100)
    laws.rescaling_an_indicator_keeps_the_choice(fixed("lmetric"), state, request, 1, 9)
    with pytest.raises(AssertionError, match="after rescaling"):
        laws.rescaling_an_indicator_keeps_the_choice(fixed("linear:form=p_token,weight=0.5"), state, request, 1, 9)


@pytest.mark.parametrize("text", [*PRODUCTS, *LINES, "vllm_v1", "most_hit"])
@given(drawn=situations(2, 6), data=st.data())
def test_load_elsewhere_keeps_the_choice(text: str, drawn: Drawn, data: st.DataObject) -> None:
    extra = data.draw(st.lists(st.integers(0, 9), min_size=len(drawn[0]), max_size=len(drawn[0])))
    laws.load_elsewhere_keeps_the_choice(fixed(text), *drawn, extra)


@given(situations(1, 6))
def test_weight_one_leaves_p_token_alone(drawn: Drawn) -> None:
    one, other = (
        decide(policy(text), *drawn)[0].instance for text in ("linear:form=p_token,weight=1", "least_p_token")
    )
    assert one == other


@given(situations(1, 6))
def test_without_queues_product_and_least_harm_are_one_rule(drawn: Drawn) -> None:
    state, request = drawn
    if any(state.queued_prefill_tokens):
        return
    product, harm = (decide(policy(text), state, request)[0] for text in ("lmetric", "marginal_delay"))
    assert (product.instance, product.scores) == (harm.instance, harm.scores)


@given(st.floats(0.01, 1), st.integers(1, 10**5), st.integers(1, 10**5), st.integers(1, 500), st.integers(1, 500))
def test_exchange_rate_orders_as_the_weighted_sum(weight: float, p1: int, p2: int, b1: int, b2: int) -> None:
    rate = formulas.exchange_rate(weight, 8192, 32)
    sums = [weight * p / 8192 + (1 - weight) * b / 32 for p, b in ((p1, b1), (p2, b2))]
    lines = [formulas.line(p, b, rate) for p, b in ((p1, b1), (p2, b2))]
    for line, total in zip(lines, sums, strict=True):
        assert line * weight / 8192 == pytest.approx(total, rel=1e-9)


@given(st.lists(st.integers(0, 20), min_size=2, max_size=64))
def test_a_choice_is_made_pair_by_pair(keys: list[int]) -> None:
    everyone = [True] * len(keys)
    for index, key in enumerate(keys):
        pairs = [
            chosen(SCALAR, [(keys[min(index, other)],), (keys[max(index, other)],)], [True, True], int(other < index))
            for other in range(len(keys))
            if other != index
        ]
        assert chosen(SCALAR, [(k,) for k in keys], everyone, index) == all(pairs), (index, key)


def pair_of(state: ClusterState, first: int, second: int) -> ClusterState:
    """The state with two of its instances only, in this order."""
    columns = {"ids": state.ids} | {n: c for n in INSTANCE_DOMAINS if (c := getattr(state, n)) is not None}
    picked = {name: (column[first], column[second]) for name, column in columns.items()}
    return msgspec.structs.replace(state, **picked)


def taken_in_every_pair(text: str, state: ClusterState, request: Request) -> list[bool]:
    """Whether the rule takes each instance in the pairs with all others."""

    def beats(index: int, other: int) -> bool:
        place = int(other < index)
        pair = pair_of(state, min(index, other), max(index, other))
        return fixed(text)(pair, request).instance == place

    return [all(beats(index, other) for other in range(len(state)) if other != index) for index in range(len(state))]


WITHOUT_AGGREGATES = [name for name in PRODUCTS if policy(name).rule.aggregates is no_aggregates] + LINES


@pytest.mark.parametrize("text", WITHOUT_AGGREGATES)
@settings(max_examples=25)
@given(drawn=situations(2, 6, loose=True))
def test_a_rule_without_aggregates_chooses_pair_by_pair(text: str, drawn: Drawn) -> None:
    index = fixed(text)(*drawn).instance
    assert taken_in_every_pair(text, *drawn) == [other == index for other in range(len(drawn[0]))]


def test_a_rule_with_aggregates_need_not_choose_pair_by_pair() -> None:
    zeros = (0, 0, 0)
    state = ClusterState(
        ids=("A", "B", "C"), running=(9, 0, 99), waiting=zeros, queued_prefill_tokens=zeros, hit_tokens=(30, 0, 0)
    )
    request = Request(id=0, arrival_s=0.0, prompt_tokens=100)
    assert fixed("linear:weight=0.7")(state, request).instance == 0
    assert taken_in_every_pair("linear:weight=0.7", state, request) == [False, True, False]


def test_an_index_function_can_be_checked() -> None:
    state = ClusterState(
        ids=("A", "B"), running=(1, 0), waiting=(0, 0), queued_prefill_tokens=(0, 0), hit_tokens=(0, 0)
    )
    request = Request(id=0, arrival_s=0.0, prompt_tokens=100)
    first = laws.from_index(lambda _state, _request: 0)
    laws.choice_is_one_of_the_instances(first, state, request)
    with pytest.raises(AssertionError, match="chose 0 with"):
        laws.choice_is_never_dominated(first, state, request)
    with pytest.raises(AssertionError, match="permuted"):
        laws.permuting_instances_permutes_the_choice(first, state, request, [1, 0])


@given(situations(complete=False, loose=True))
def test_generated_states_lie_in_their_domains(drawn: Drawn) -> None:
    drawn[0].checked()
    checked_request(drawn[1])


@given(situations())
def test_generated_columns_agree(drawn: Drawn) -> None:
    state, request = drawn
    total = -(-request.prompt_tokens // request.block_tokens)
    assert state.added_blocks is not None
    assert all(hit <= request.prompt_tokens and hit % request.block_tokens == 0 for hit in state.hit_tokens)
    assert all(added <= total for added in state.added_blocks)


@given(requests(with_keys=True))
def test_generated_requests_have_a_key_for_each_block(request: Request) -> None:
    assert len(checked_request(request).block_keys) == -(-request.prompt_tokens // request.block_tokens)


DOMAINS = [
    *INSTANCE_DOMAINS.values(),
    *REQUEST_DOMAINS.values(),
    *(k.domain for r in CATALOGUE.values() for k in r.knobs),
]


@given(st.sampled_from([domain for domain in DOMAINS if domain is not None]), st.data())
def test_a_domain_contains_what_is_drawn_from_it(domain: Domain, data: st.DataObject) -> None:
    assert domain.contains(data.draw(from_domain(domain)))


@pytest.mark.parametrize("name", NAMES)
def test_defaults_and_sweeps_are_allowed_values(name: str) -> None:
    for knob in CATALOGUE[name].knobs:
        assert knob.sweep, f"{name}:{knob.name} has nothing to tune"
        assert knob.default in knob.sweep, f"{name}:{knob.name} is not tuned at its default"
        for value in knob.sweep:
            assert knob.read(name, value) == value


@given(policies())
def test_a_label_reads_back(rule: Policy) -> None:
    again = policy(rule.label)
    assert again.values == rule.values
    assert again.rule is rule.rule


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_column_is_named(name: str) -> None:
    state = ClusterState(ids=("A",), running=(0,), waiting=(0,), queued_prefill_tokens=(0,), hit_tokens=(0,))
    request = Request(id=0, arrival_s=0.0, prompt_tokens=100)
    rule = CATALOGUE[name].with_knobs()
    if not rule.needs:
        decide(rule, state, request, rng=random.Random(0))
        return
    with pytest.raises(BadInput, match=f"{rule.needs[0]}.*{name}"):
        decide(rule, state, request, rng=random.Random(0))


def test_a_given_kappa_needs_no_step_times() -> None:
    assert policy("marginal_delay_offset").needs
    assert policy("marginal_delay_offset:kappa=0").needs == ()


@pytest.mark.parametrize("name", NAMES)
@given(drawn=situations(2, 5), seed=st.integers(0, 50))
@settings(max_examples=15)
def test_random_ties_stay_among_the_ties(name: str, drawn: Drawn, seed: int) -> None:
    rule = CATALOGUE[name]
    if rule.pick not in (Pick.FIRST, Pick.RANDOM):
        return
    first, _ = decide(rule.with_knobs({"ties": "first"}), *drawn, rng=random.Random(seed))
    drawn_one, _ = decide(rule.with_knobs({"ties": "random"}), *drawn, rng=random.Random(seed))
    assert first.ties == drawn_one.ties
    assert first.instance == first.ties[0]
    assert drawn_one.instance in first.ties
