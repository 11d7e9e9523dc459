"""Own rules, and what cannot be searched: one message each that names the operation and the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from proofs.search import FreeKnob, Question, Ranges, Verdict, rule_named, search
from scheduler import BadInput, policy

MODULE = """
import math
from scheduler import Domain, Knob, Rule
from scheduler.policies.catalogue import CATALOGUE
from scheduler.policies.rule import Pick

def good(ops, x, aggregates, knobs):
    return x.p_token + 100 * x.running + x.active_blocks

def weighed(ops, x, aggregates, knobs):
    return x.p_token + knobs.price * x.batch_size

RULE = Rule("weighed", "a line", "own", weighed, knobs=(Knob("price", 8, "of a slot", Domain(0, 1000)),))
POLICY = RULE.with_knobs({"price": 9})
NUMBER = 7

def by_if(ops, x, aggregates, knobs):
    if x.running > 3:
        return 0
    return x.p_token

def by_exp(ops, x, aggregates, knobs):
    return math.exp(x.running)

def by_int(ops, x, aggregates, knobs):
    return int(x.p_token / 16)

def by_equals(ops, x, aggregates, knobs):
    return ops.where(x.running == 0, 0, 1)

def by_floor(ops, x, aggregates, knobs):
    return x.p_token // 16

def by_power(ops, x, aggregates, knobs):
    return x.p_token ** 2

def by_log(ops, x, aggregates, knobs):
    return ops.log(x.p_token)

def by_field(ops, x, aggregates, knobs):
    return x.ptoken

def by_arguments(x):
    return x

def short(ops, x):
    return x.batch_size

def my_rule(state, request):
    return state.waiting.index(min(state.waiting))

def by_unknown_name(ops, x):
    return x.running + offset

def by_key(ops, x):
    return {}["running"]

def by_condition(ops, x):
    return x.running > 3

def by_word(ops, x):
    return "first"

def constant(ops, x):
    return 7

def constant_in_disguise(ops, x, aggregates, knobs):
    return x.prompt_tokens + ops.min_(x.running, 0)

CONSTANT = Rule("constant", "a line", "own", constant_in_disguise, pick=Pick.RANDOM)
LINEAR = CATALOGUE["linear"]
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of one's own in the current folder."""
    (tmp_path / "own_rules_for_search.py").write_text(MODULE)
    (tmp_path / "broken_rules_for_search.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    return "own_rules_for_search"


def test_an_own_function_is_searched_and_its_columns_are_found_out(own: str) -> None:
    rule = rule_named(f"{own}:good")
    assert rule.needs == ("active_blocks",)
    found = search(Question(rule)).best
    assert found.file.state.active_blocks is not None
    assert found.chosen != found.other


def test_an_own_rule_may_be_data_with_knobs(own: str) -> None:
    assert rule_named(f"{own}:RULE").values["price"] == 8
    assert rule_named(f"{own}:RULE:price=20").values["price"] == 20
    assert rule_named(f"{own}:POLICY").values["price"] == 9
    answer = search(Question(rule_named(f"{own}:RULE"), free=(FreeKnob("price", 1, 9),)))
    assert answer.verdict is Verdict.FOUND


@pytest.mark.parametrize("tail", ["good", "short", "RULE", "RULE:price=20", "POLICY", "POLICY:price=20"])
def test_the_label_of_an_own_rule_reads_back(own: str, tail: str) -> None:
    rule = rule_named(f"{own}:{tail}")
    again = rule_named(rule.label)
    assert rule.rule.name == f"{own}:{tail.partition(':')[0]}"
    assert (again.rule.name, again.values) == (rule.rule.name, rule.values)
    assert ("20" in tail) is (rule.values.get("price") == 20)


def test_a_rule_of_the_catalogue_keeps_its_name_wherever_it_is_named(own: str) -> None:
    assert rule_named(f"{own}:LINEAR").label == "linear"


def test_operations_and_indicators_are_enough_for_a_key(own: str) -> None:
    answer = search(Question(rule_named(f"{own}:short"), against=policy("join_shortest_queue"), max_size=12))
    assert answer.verdict is Verdict.NONE
    assert "ties left out" in answer.how


@pytest.mark.parametrize("field", ["rule", "against", "cost"])
def test_a_search_refuses_a_rule_without_strict_choices(field: str) -> None:
    with pytest.raises(BadInput, match="follows from the state"):
        search(Question(**{"rule": policy("linear"), field: policy("random")}))  # type: ignore[arg-type]


def test_drawn_ties_are_said_to_be_left_out() -> None:
    drawn = search(Question(policy("join_shortest_queue:ties=random")))
    assert drawn.how == "solver: optimal; ties, which are drawn, are left out"
    assert search(Question(policy("join_shortest_queue"))).how == "solver: optimal"


@pytest.mark.parametrize(
    ("function", "parts"),
    [
        ("by_if", ["if x.running > 3", "ops.where", "`if`"]),
        ("by_exp", ["math.exp(x.running)", "real number"]),
        ("by_int", ["int(x.p_token / 16)", "int()"]),
        ("by_equals", ["x.running == 0", "ops.eq"]),
        ("by_floor", ["x.p_token // 16", "//"]),
        ("by_power", ["x.p_token ** 2", "**"]),
        ("by_log", ["ops.log(x.p_token)", "no logarithm"]),
        ("by_field", ["x.ptoken", "no attribute"]),
        ("by_arguments", ["f(ops, x, aggregates, knobs)", "by_arguments(x) is given"]),
        ("my_rule", ["f(ops, x, aggregates, knobs)", "my_rule(state, request)", "scheduler.testing.laws"]),
        ("by_unknown_name", ["x.running + offset", "'offset' is not defined"]),
        ("by_key", ["{}[", "plain arithmetic"]),
        ("by_condition", ["key", "a number", "ops.where"]),
        ("by_word", ["key", "a number", "first"]),
        ("NUMBER", ["a function or a Rule"]),
        ("nothing", ["a function or a Rule"]),
    ],
)
def test_what_no_solver_can_read_is_named_with_its_line(own: str, function: str, parts: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        rule_named(f"{own}:{function}")
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("lmetrik", ["policy", "nearest: lmetric"]),
        ("linear:weigth=1", ["knob of linear", "weigth", "weight"]),
        ("no_such_module:rule", ["module:function", "no_such_module"]),
        ("broken_rules_for_search:rule", ["can be imported", "ZeroDivisionError"]),
        ("bailian", ["takes the least key", "draws"]),
        ("dynamo:temperature=0.5", ["takes the least key"]),
        ("power_of_two", ["follows from the state", "power_of_two"]),
        ("random", ["follows from the state", "every choice is drawn"]),
        ("random:ties=first", ["follows from the state", "the first is always taken"]),
        ("own_rules_for_search:constant", ["follows from the state", "the first is always taken"]),
        ("own_rules_for_search:constant_in_disguise", ["follows from the state", "the first is always taken"]),
        ("own_rules_for_search:CONSTANT", ["follows from the state", "every choice is drawn"]),
    ],
)
def test_rules_that_cannot_be_searched_are_refused(own: str, text: str, parts: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        rule_named(text)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"kind": "disagre"}, ["kind", "nearest: disagree"]),
        ({"objective": "best"}, ["objective"]),
        ({"regret": "percent"}, ["regret"]),
        ({"instances": 1}, ["instances", ">= 2"]),
        ({"eps": 0}, ["eps"]),
        ({"count": 0}, ["count"]),
        ({"max_size": 0}, ["max_size"]),
        ({"min_regret": -1}, ["min_regret"]),
        ({"against": policy("linear")}, ["against", "another rule"]),
        ({"objective": "worst", "cost": policy("linear")}, ["cost", "another rule"]),
        ({"free": (FreeKnob("weight", 0.9, 0.1),)}, ["linear:weight", "empty"]),
        ({"free": (FreeKnob("weight", 0, 0.1),)}, ["linear:weight", "> 0"]),
        ({"free": (FreeKnob("form", 0, 1),)}, ["form", "a knob that is a number"]),
        ({"free": (FreeKnob("wait", 0, 1),)}, ["knob of linear", "wait"]),
    ],
)
def test_bad_questions_name_what_is_wrong(changes: dict[str, object], parts: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        Question(**{"rule": policy("linear"), **changes})  # type: ignore[arg-type]
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("prompt_tokens_max", 0), ("batch_size_max", 0), ("queued_prefill_tokens_max", -1), ("block_tokens", 0)],
)
def test_an_empty_range_is_refused(name: str, value: int) -> None:
    with pytest.raises(BadInput, match=name):
        Ranges(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_search_needs_time(seconds: float) -> None:
    with pytest.raises(BadInput, match="time_limit_s"):
        search(Question(policy("linear")), time_limit_s=seconds)


def test_a_cost_is_one_number() -> None:
    with pytest.raises(BadInput, match="cost"):
        search(Question(policy("linear"), cost=policy("sglang_cache_aware")))


def test_a_knob_at_every_value_is_for_scores_that_are_affine_in_it() -> None:
    with pytest.raises(BadInput, match="affine"):
        Question(policy("dynamo_two_tier"), free=(FreeKnob("abs_threshold", 1, 2, every=True),))
