"""Whatever a rule does wrong, a search ends in one message that names the rule or the knob, and the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from proofs.search import FreeKnob, Question, rule_named, search
from proofs.search.guarding import running
from proofs.search.telling import plain, short
from scheduler import BadInput, policy

MODULE = """
import sys
from decimal import Decimal
from scheduler import Rule
from scheduler.policies.rule import Memory

def raises(ops, x):
    raise RuntimeError("no key")

def endless(ops, x):
    return endless(ops, x)

def imports(ops, x):
    import no_such_module

def leaves(ops, x):
    sys.exit(0)

def divides(ops, x):
    return x.p_token / x.hit_tokens

def decimal(ops, x):
    return x.p_token * Decimal("0.5")

def huge(ops, x):
    return 10**400 * x.batch_size

def forgets(*_):
    raise KeyError("gone")

def key(ops, x, aggregates, knobs):
    return x.p_token

FORGETFUL = Rule("forgetful", "a line", "own", key, memory=Memory({}, lambda n, k: None, forgets, forgets))
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of faulty rules in the current folder."""
    (tmp_path / "faulty_rules_for_search.py").write_text(MODULE)
    (tmp_path / "leaving_rules_for_search.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.chdir(tmp_path)
    return "faulty_rules_for_search"


@pytest.mark.parametrize(
    ("function", "parts"),
    [
        ("raises", ["RuntimeError: no key"]),
        ("endless", ["RecursionError", "return endless(ops, x)"]),
        ("imports", ["ModuleNotFoundError", "import no_such_module"]),
        ("leaves", ["SystemExit", "sys.exit(0)"]),
        ("divides", ["every state", "x.p_token / x.hit_tokens", "ZeroDivisionError"]),
        ("decimal", ["every state", 'x.p_token * Decimal("0.5")', "TypeError"]),
        ("FORGETFUL", ["a memory that can be asked", "KeyError"]),
    ],
)
def test_whatever_an_own_rule_raises_is_named_with_its_line(own: str, function: str, parts: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        search(Question(rule_named(f"{own}:{function}")), time_limit_s=20)
    for part in parts:
        assert part in str(caught.value)


def test_a_module_that_leaves_is_no_end_of_the_search(own: str) -> None:
    with pytest.raises(BadInput, match=r"can be imported.*SystemExit"):
        rule_named("leaving_rules_for_search:rule")


def test_a_fault_where_all_rules_are_shipped_stays_a_fault() -> None:
    with pytest.raises(RuntimeError, match="ours"), running([policy("linear")]):
        raise RuntimeError("ours")


@pytest.mark.parametrize(
    ("rule", "knob", "low", "high"),
    [
        ("dynamo", "overlap_credit_decay", 0, 1),
        ("llm_d_affinity", "max_penalty_ms", 0, 1),
        ("preble", "prefill_s_per_token", 0.001, 1),
    ],
)
def test_a_knob_that_cannot_vary_is_named(rule: str, knob: str, low: float, high: float) -> None:
    with pytest.raises(BadInput, match=f"{rule}:{knob}: expected a knob that is used in plain arithmetic only"):
        search(Question(policy(rule), free=(FreeKnob(knob, low, high),)))


def test_costs_beyond_floats_are_compared_and_told(own: str) -> None:
    cost = rule_named(f"{own}:huge")
    found = search(Question(policy("linear"), cost=cost, regret="difference")).best
    assert min(found.costs) >= 10**400
    assert short(max(found.costs), 2).endswith("e+400")
    assert str(plain(max(found.costs))).isdigit()
