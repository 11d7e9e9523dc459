"""What the search finds is real, smallest is smallest, worst is worst, and what it does not know it does not claim."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from fractions import Fraction
from itertools import product
from typing import Any

import pytest

from proofs.ops import Z3
from proofs.search import FreeKnob, Question, Ranges, Verdict, rule_named, safe_twin, search
from proofs.search import smallest as smallest_module
from proofs.search import solver as solver_module
from proofs.search.conditions import exact_where_numbers, pairs, takes
from proofs.search.enumeration import enumerate_states, states_of_size
from proofs.search.question import Found
from proofs.search.replaying import choice, costs_of
from proofs.search.situation import Situation, consistent, indicators, situation, variables
from proofs.search.solver import Budget, Terms, terms_of
from scheduler.ops import SCALAR, Ops
from scheduler.policies.choosing import decide
from scheduler.policies.reading import read
from scheduler.testing.laws import product_indicators

RULES = (
    "linear",
    "linear:weight=0.55",
    "linear:form=p_token",
    "dynamo",
    "dynamo_two_tier",
    "aibrix_prefix_cache",
    "sglang_cache_aware",
    "vllm_v1",
    "llm_d_default",
    "load_aware",
    "join_shortest_queue",
)
TINY = Ranges(prompt_tokens_max=4, batch_size_max=3, queued_prefill_tokens_max=3, block_tokens=2)
TINIER = Ranges(prompt_tokens_max=2, batch_size_max=2, queued_prefill_tokens_max=2, block_tokens=2)


def question(rule: str, **changes: object) -> Question:
    """A question about a rule by its name."""
    return Question(rule_named(rule), **changes)  # type: ignore[arg-type]


def shipped_choice(rule: str, found: Found) -> int:
    """What the scheduler takes, whatever its draw."""
    taken = {
        decide(rule_named(rule), found.file.state, found.file.request, rng=random.Random(seed))[0].instance
        for seed in range(5)
    }
    assert len(taken) == 1, "the choice is not unique"
    return taken.pop()


@pytest.mark.parametrize("rule", RULES)
def test_a_smallest_state_replays_and_enumeration_finds_none_smaller(rule: str) -> None:
    asked = question(rule)
    answer = search(asked, time_limit_s=60)
    assert (answer.verdict, answer.how.partition(";")[0]) == (Verdict.FOUND, "solver: optimal")
    found = answer.best
    assert shipped_choice(rule, found) == found.chosen
    assert shipped_choice("lmetric", found) == found.other != found.chosen
    listed = enumerate_states(Budget(60), dataclasses.replace(asked, max_size=found.size))
    assert listed.states[0].size == found.size
    assert listed.size == found.size - 1


@pytest.mark.parametrize(
    ("rule", "regret"),
    [("aibrix_prefix_cache", "ratio"), pytest.param("join_shortest_queue", "difference", marks=pytest.mark.slow)],
)
def test_the_worst_state_of_a_small_range_is_the_worst_of_all(rule: str, regret: str) -> None:
    cost = rule_named("marginal_delay")
    asked = question(rule, objective="worst", ranges=TINY, cost=cost, regret=regret)
    answer = search(asked, time_limit_s=60)
    listed = enumerate_states(Budget(60), asked, stop_at_first=False)
    assert answer.how.partition(";")[0] == "solver: optimal"
    assert answer.best.regret == listed.states[0].regret == answer.bound
    assert costs_of(cost, answer.best.file) == answer.best.costs


def test_the_smallest_state_with_a_regret_is_the_first_that_enumeration_finds() -> None:
    asked = question("linear", min_regret=1.5, ranges=dataclasses.replace(TINY, queued_prefill_tokens_max=0))
    found = search(asked).best
    assert found.regret >= Fraction(3, 2)
    assert enumerate_states(Budget(60), asked).states[0].size == found.size


def test_the_three_worlds_agree_on_who_is_taken() -> None:
    asked = question("aibrix_prefix_cache", ranges=TINY)
    terms = terms_of(asked)
    model = solver_module.ask(Budget(10), terms, [smallest_module.wanted(terms)])
    assert isinstance(model, dict)
    seen = situation(SCALAR, asked, model)
    assert all(consistent(SCALAR, asked, seen))
    for policy, place in ((asked.rule, 0), (asked.against, 1)):
        assert policy is not None
        keys, eligible = read(exact_where_numbers(policy), SCALAR, indicators(SCALAR, policy, seen))
        assert takes(SCALAR, keys, eligible, place)
        assert not takes(SCALAR, keys, eligible, 1 - place)


@pytest.mark.parametrize("rule", ["lmetric", "linear:form=p_token", "least_p_token"])
def test_the_solver_proves_that_these_never_take_a_dominated_instance(rule: str) -> None:
    answer = search(question(rule, kind="dominated", instances=3), time_limit_s=30)
    assert (answer.verdict, answer.states) == (Verdict.NONE, ())
    assert "proved" in answer.how


def test_the_floor_rules_zero_collapse_out() -> None:
    answer = search(question("marginal_delay", kind="zero_collapse"))
    assert answer.verdict is Verdict.NONE or answer.best.costs[answer.best.chosen] > 0
    paper = search(question("lmetric_paper", kind="zero_collapse")).best
    assert paper.file.state.hit_tokens[paper.chosen] == paper.file.request.prompt_tokens
    assert shipped_choice("lmetric", paper) == paper.other


@pytest.mark.parametrize("rule", ["aibrix_prefix_cache", "dynamo_two_tier", "sglang_cache_aware"])
def test_filters_take_dominated_instances(rule: str) -> None:
    found = search(question(rule, kind="dominated")).best
    indicators_of = product_indicators(found.file.state, found.file.request)
    (tokens, batch), (other_tokens, other_batch) = indicators_of[found.chosen], indicators_of[found.other]
    assert other_tokens <= tokens
    assert other_batch <= batch
    assert (tokens, batch) != (other_tokens, other_batch)


def test_the_thresholds_that_are_told_are_those_at_which_it_happens() -> None:
    asked = question("dynamo_two_tier", kind="dominated", free=(FreeKnob("cache_threshold", 0.1, 0.99),))
    found = search(asked).best
    low, high = found.knobs["cache_threshold"]
    for value in (low, high, (low + high) / 2):
        rule = rule_named(f"dynamo_two_tier:cache_threshold={value}")
        assert choice(rule, found.file) == found.chosen


def test_a_state_for_every_weight_disagrees_at_each_of_them() -> None:
    asked = question("linear:form=p_token", free=(FreeKnob("weight", 0.2, 0.95, every=True),), instances=3)
    found = search(asked).best
    for step in range(20, 96):
        rule = rule_named(f"linear:form=p_token,weight={step / 100}")
        assert choice(rule, found.file) not in (None, found.other)
    assert choice(rule_named("lmetric"), found.file) == found.other


@pytest.mark.slow
def test_noise_within_eps_flips_the_choice() -> None:
    asked = question("lmetric", kind="noise", eps=0.25)
    found = search(asked, time_limit_s=20).best
    assert choice(found.rule, found.file) == found.chosen != choice(found.rule, found.truth) == found.other
    seen, true = (product_indicators(file.state, file.request) for file in (found.file, found.truth))
    for one, other in zip(seen, true, strict=True):
        for a, b in zip(one, other, strict=True):
            assert Fraction(3, 4) * b <= a <= Fraction(5, 4) * b


def test_a_cold_instance_starves_while_every_other_one_is_busy() -> None:
    found = search(question("lmetric", kind="starvation", instances=3)).best
    state = found.file.state
    assert state.running[found.other] + state.waiting[found.other] == state.hit_tokens[found.other] == 0
    assert all(state.running[i] + state.waiting[i] > 0 < state.hit_tokens[i] for i in range(3) if i != found.other)
    assert shipped_choice("lmetric", found) == found.chosen != found.other


def test_diverse_states_come_from_different_regions() -> None:
    answer = search(question("dynamo", objective="diverse", count=4))
    assert len({tuple(sorted(found.regions.items())) for found in answer.states}) == 4
    assert all(shipped_choice("dynamo", found) != shipped_choice("lmetric", found) for found in answer.states)


@pytest.mark.parametrize("kind", ["disagree", "dominated", "zero_collapse", "idle_collapse", "starvation"])
def test_nothing_is_wrong_with_a_safe_twin(kind: str) -> None:
    rule = {"zero_collapse": "lmetric_paper", "idle_collapse": "lmetric_no_self", "starvation": "lmetric"}.get(kind)
    asked = question(rule or "aibrix_prefix_cache", kind=kind)
    found = search(asked).best
    twin = safe_twin(Budget(20), asked, found)
    assert twin is not None
    taken = choice(found.rule, twin)
    assert taken is not None
    if asked.against is not None:
        assert choice(asked.against, twin) == taken
    if kind == "starvation":
        assert taken == found.other
    if kind == "dominated":
        tokens, batch = product_indicators(twin.state, twin.request)[taken]
        for pair in product_indicators(twin.state, twin.request):
            assert not (pair[0] <= tokens and pair[1] <= batch and pair != (tokens, batch))


def test_a_wrong_binding_of_terms_is_noticed_by_the_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    def swapped(ops: Ops, asked: Question, values: Mapping[str, Any], **more: Any) -> Situation:
        other = {"running": "waiting", "waiting": "running"}
        names = {name: other.get(name[:7], name[:7]) + name[7:] for name in values}
        return situation(ops, asked, {name: values[names[name]] for name in values}, **more)

    monkeypatch.setattr(solver_module, "situation", swapped)
    answer = search(question("vllm_v1"), time_limit_s=20)
    assert "did not replay" in answer.how
    assert all(shipped_choice("vllm_v1", found) == found.chosen for found in answer.states)


def test_an_interrupt_keeps_what_was_found() -> None:
    asked: list[str] = []

    def stop_late(what: str) -> None:
        asked.append(what)
        if what.startswith("whole numbers"):
            raise KeyboardInterrupt

    answer = search(question("aibrix_prefix_cache", objective="worst"), on_progress=stop_late)
    assert answer.interrupted
    assert answer.how == "interrupted"
    assert len(answer.states) == 1


def test_without_time_nothing_is_claimed() -> None:
    seconds = iter(range(0, 10**9, 1000))
    answer = search(question("linear"), time_limit_s=1, clock=lambda: float(next(seconds)))
    assert (answer.verdict, answer.states) == (Verdict.UNDECIDED, ())
    assert answer.how.startswith("undecided")


def test_a_rule_whose_memory_only_its_code_knows_is_enumerated() -> None:
    answer = search(question("preble"))
    assert answer.how.startswith("enumeration: the smallest, every state up to size")
    assert shipped_choice("preble", answer.best) == answer.best.chosen != shipped_choice("lmetric", answer.best)


def test_the_worst_that_enumeration_came_across_leaves_the_question_undecided() -> None:
    answer = search(question("aibrix_conductor", objective="worst", max_size=8))
    assert answer.verdict is Verdict.UNDECIDED
    assert "up to size 8 is shown" in answer.how
    assert shipped_choice("aibrix_conductor", answer.best) == answer.best.chosen
    assert answer.best.regret > 1


def test_enumeration_looks_at_every_state_of_a_size() -> None:
    asked = question("linear", ranges=TINIER)
    names = [v.name for v in variables(asked)]
    sizes = [range(v.low, v.high + 1) for v in variables(asked)]
    wanted = set()
    for row in product(*sizes):
        values = dict(zip(names, map(Fraction, row), strict=True))
        seen = situation(SCALAR, asked, values)
        total = sum(row) + sum(value for name, value in zip(names, row, strict=True) if name.startswith("hit_"))
        if total == 5 and all(consistent(SCALAR, asked, seen)):
            wanted.add(row)
    rows = {tuple(map(int, row)) for row in states_of_size(asked, 5, 10**6)}
    assert wanted <= rows
    assert len(wanted) > 10


def test_places_matter_only_to_rules_that_read_them() -> None:
    assert pairs(question("dynamo")) == [(0, 1)]
    assert pairs(question("round_robin")) == [(0, 1), (1, 0)]
    assert isinstance(terms_of(question("round_robin")), Terms)
    assert Z3.name == "z3"
