"""What an answer claims is what was asked and shown: sizes, knobs, the worst, regions and memories."""

from __future__ import annotations

import pytest

from proofs.search import FreeKnob, Question, Ranges, Verdict, rule_named, search
from proofs.search import smallest as smallest_module
from proofs.search.knobs import steps_told
from proofs.search.origin import model_of
from proofs.search.replaying import choice, replayed
from proofs.search.situation import NotFixed, recalled_at_start
from proofs.search.smallest import Progress, diverse
from proofs.search.solver import Budget
from scheduler import BadInput, Domain, Rule, policy
from scheduler.policies.rule import Memory


@pytest.mark.slow
def test_the_worst_state_is_within_the_size() -> None:
    ranges = Ranges(batch_size_max=8)
    answer = search(Question(policy("linear"), objective="worst", max_size=12, ranges=ranges), time_limit_s=30)
    assert answer.verdict is Verdict.FOUND
    assert answer.best.size <= 12
    assert answer.best.regret > 1


def test_a_larger_state_than_asked_for_does_not_replay() -> None:
    found = search(Question(policy("linear"))).best
    asked = Question(policy("linear"), max_size=found.size)
    model = model_of(asked, found)
    assert replayed(asked, model) is not None
    assert replayed(Question(policy("linear"), max_size=found.size - 1), model) is None


def test_a_regret_that_no_state_has_is_not_none() -> None:
    asked = Question(
        policy("dynamo"), against=policy("llm_d_default"), cost=policy("bailian_argmax"), objective="worst"
    )
    answer = search(asked, time_limit_s=20)
    assert answer.verdict is Verdict.FOUND
    assert answer.states
    assert "none exists" not in answer.how
    assert "in no state does the choice cost as much as another instance of positive cost" in answer.how


def test_a_narrow_interval_of_a_knob_is_searched_in_finer_steps() -> None:
    asked = Question(policy("linear"), free=(FreeKnob("weight", 0.0001, 0.0004),))
    found = search(asked).best
    low, high = found.knobs["weight"]
    assert 0.0001 <= low <= found.rule.values["weight"] <= high <= 0.0004
    assert steps_told(asked) == "; weight in steps of 1e-06"
    assert choice(rule_named("linear:weight=0.0002"), found.file) == found.chosen


@pytest.mark.parametrize("value", [0.5, 0.00025])
def test_an_interval_of_one_value_is_searched(value: float) -> None:
    found = search(Question(policy("linear"), free=(FreeKnob("weight", value, value),))).best
    assert found.rule.values["weight"] == value
    assert found.knobs["weight"] == (value, value)


def test_a_knob_has_one_interval() -> None:
    with pytest.raises(BadInput, match="each knob once"):
        Question(policy("linear"), free=(FreeKnob("weight", 0.1, 0.2), FreeKnob("weight", 0.3, 0.4)))


@pytest.mark.parametrize(
    ("rule", "kind", "free", "ends"),
    [
        ("aibrix_prefix_cache", "dominated", FreeKnob("imbalance", 0, 1_000_000), (None, 1_000_000)),
        ("dynamo", "disagree", FreeKnob("overlap_credit", 0, 50), (0, 50)),
        ("linear", "disagree", FreeKnob("weight", 0.01, 0.99), None),
        ("dynamo_two_tier", "dominated", FreeKnob("cache_threshold", 0.1, 0.99), None),
    ],
)
def test_one_step_beyond_the_ends_of_a_knob_it_is_over(
    rule: str, kind: str, free: FreeKnob, ends: tuple[float | None, float] | None
) -> None:
    asked = Question(policy(rule), kind=kind, free=(free,))
    found = search(asked).best
    low, high = found.knobs[free.name]
    name, model = f"knob_{free.name}", model_of(asked, found)
    scale = 1 if free.name == "imbalance" else 1000
    for end, limit, sign in ((low, free.low, -1), (high, free.high, 1)):
        step = round(end * scale)
        assert replayed(asked, {**model, name: step}) is not None
        if end != limit:
            assert replayed(asked, {**model, name: step + sign}) is None
    if ends is not None:
        assert high == ends[1]
        assert ends[0] is None or low == ends[0]


def test_every_region_has_time_and_one_that_is_not_known_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    monkeypatch.setattr(smallest_module, "smallest", lambda budget, *_: given.append(budget.limit_s))
    diverse(Budget(60, lambda: 0.0), Question(policy("linear"), objective="diverse", count=64), Progress())
    assert given == [10, 60]


def test_a_memory_of_ones_own_is_asked_about_each_state() -> None:
    memory = Memory(
        {"mood": Domain(0, 1)},
        lambda _count, _knobs: None,
        lambda _memory, request, view, _knobs, _rng: {"mood": [int(request.prompt_tokens == 3)] * len(view.running)},
        lambda *_: None,
        kept=False,
    )
    rule = Rule("moody", "a line", "own", lambda _o, x, _a, _k: x.batch_size * (1 - x.recalled["mood"]), memory=memory)
    with pytest.raises(NotFixed):
        recalled_at_start(rule.with_knobs(), 2, 1)
    answer = search(Question(rule.with_knobs(), ranges=Ranges(prompt_tokens_max=6, batch_size_max=3)), time_limit_s=20)
    assert answer.how.startswith("enumeration")
    assert choice(answer.best.rule, answer.best.file) == answer.best.chosen
