"""Every saved state does what its provenance says, under the shipped rules; its safe twin does not."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import msgspec
import pytest

from proofs.search import Counterexample, SequenceQuestion, counterexamples, read_counterexample, rule_named
from proofs.search.arrivals import Step, run_steps
from proofs.search.replaying import choice, costs_of
from scheduler import BadInput, StateFile, decide, read_state, write_state
from scheduler.testing.laws import product_indicators

SAVED = {saved.name: saved for saved in counterexamples()}
DECISIONS = [name for name, saved in SAVED.items() if saved.provenance["kind"] != "sequence"]
SEQUENCES = [name for name in SAVED if name not in DECISIONS]
KINDS = {"disagree", "dominated", "zero_collapse", "idle_collapse", "starvation", "noise", "sequence"}
FINDINGS = {
    "zero_collapse",
    "idle_collapse",
    "cold_instance_starvation",
    "contested",
    "queue_cross_term",
    "unequal_speeds",
    "hot_spot",
}


def place(saved: Counterexample, field: str) -> int:
    """An instance that the provenance names, as an index."""
    return saved.state.state.ids.index(saved.provenance[field])


def shipped(rule: str, file: StateFile, seed: int = 0) -> int:
    """What the scheduler takes."""
    decision, _ = decide(rule_named(rule), file.state, file.request, rng=random.Random(seed))
    return decision.instance


def dominated_by(file: StateFile, taken: int) -> list[int]:
    """Instances with P-token and batch size both no greater than those of one, and one less."""
    found = product_indicators(file.state, file.request)
    return [
        i
        for i, pair in enumerate(found)
        if pair != found[taken] and all(a <= b for a, b in zip(pair, found[taken], strict=True))
    ]


def regret_of(kind: str, costs: tuple[Fraction, ...], taken: int) -> Fraction:
    """Cost of the choice over the least, or less it."""
    return costs[taken] / min(costs) if kind == "ratio" else costs[taken] - min(costs)


def test_every_kind_and_every_finding_is_there() -> None:
    assert len(SAVED) >= 14
    assert {saved.provenance["kind"] for saved in SAVED.values()} == KINDS
    assert {name for saved in SAVED.values() for name in saved.expected_findings} == FINDINGS
    assert len({write_state(saved.state) for saved in SAVED.values()}) == len(SAVED)


@pytest.mark.parametrize("name", DECISIONS)
def test_the_rule_takes_what_the_provenance_says(name: str) -> None:
    saved = SAVED[name]
    assert {shipped(saved.policy, saved.state, seed) for seed in range(5)} == {place(saved, "chosen")}
    against = saved.provenance.get("against")
    if against:
        assert {shipped(against, saved.state, seed) for seed in range(5)} == {place(saved, "other")}
        assert place(saved, "chosen") != place(saved, "other")


@pytest.mark.parametrize("name", DECISIONS)
def test_the_regret_is_the_recorded_one(name: str) -> None:
    saved = SAVED[name]
    [(kind, recorded)] = saved.provenance["regret"].items()
    costs = costs_of(rule_named(saved.provenance["cost"]), saved.state)
    assert regret_of(kind, costs, place(saved, "chosen")) == Fraction(recorded)


@pytest.mark.parametrize("name", DECISIONS)
def test_the_state_shows_its_kind_and_the_twin_does_not(name: str) -> None:
    saved, kind = SAVED[name], SAVED[name].provenance["kind"]
    taken, other, twin = place(saved, "chosen"), place(saved, "other"), saved.safe_twin
    state = saved.state.state
    in_twin = choice(rule_named(saved.policy), twin)
    assert in_twin is not None
    if saved.provenance.get("against"):
        assert choice(rule_named(saved.provenance["against"]), twin) == in_twin
    if kind == "dominated":
        assert other in dominated_by(saved.state, taken)
        assert dominated_by(twin, in_twin) == []
    if kind == "zero_collapse":
        assert state.hit_tokens[taken] == saved.state.request.prompt_tokens
        assert state.running[taken] + state.waiting[taken] > 0 == state.running[other] + state.waiting[other]
    if kind == "idle_collapse":
        assert state.running[taken] + state.waiting[taken] == 0 < state.running[other] + state.waiting[other]
        assert state.hit_tokens[other] > state.hit_tokens[taken]
    if kind == "starvation":
        assert state.running[other] + state.waiting[other] == state.hit_tokens[other] == 0
        assert in_twin == other
    if kind == "noise":
        check_noise(saved)


def check_noise(saved: Counterexample) -> None:
    """What is observed is within eps of the truth and flips the choice; in the twin the margin is too wide."""
    eps = Fraction(repr(saved.provenance["eps"]))
    truth = read_state(msgspec.json.encode(saved.provenance["truth"]))
    assert shipped(saved.policy, truth) == place(saved, "other")
    seen, true = (product_indicators(file.state, file.request) for file in (saved.state, truth))
    for observed, real in zip(seen, true, strict=True):
        for a, b in zip(observed, real, strict=True):
            assert (1 - eps) * b <= a <= (1 + eps) * b
    twin = saved.safe_twin
    products = sorted(tokens * batch for tokens, batch in product_indicators(twin.state, twin.request))
    assert products[1] > ((1 + eps) / (1 - eps)) ** 2 * products[0]


@pytest.mark.parametrize("name", [name for name in DECISIONS if SAVED[name].provenance.get("every")])
def test_a_state_for_every_weight_disagrees_at_each(name: str) -> None:
    saved = SAVED[name]
    [interval] = saved.provenance["every"]
    for step in range(101):
        weight = interval["low"] + (interval["high"] - interval["low"]) * step / 100
        rule = rule_named(f"linear:form=p_token,weight={weight}")
        assert choice(rule, saved.state) not in (None, place(saved, "other"))


@pytest.mark.parametrize("name", SEQUENCES)
def test_the_arrivals_lead_to_the_state_and_with_other_pauses_to_the_twin(name: str) -> None:
    saved = SAVED[name]
    gap, ids = saved.provenance["gap"], saved.state.state.ids
    question = SequenceQuestion(rule_named(saved.policy), len(ids), gap=gap, **saved.provenance["lengths"])
    rows: list[dict[str, Any]] = saved.provenance["arrivals"]
    steps = [Step(row["caught_up"], row["hot"], ids.index(row["instance"])) for row in rows]
    found = run_steps(question, steps)
    assert found is not None
    assert (found.file.state, found.file.traffic) == (saved.state.state, saved.state.traffic)
    for file, wide in ((saved.state, True), (saved.safe_twin, False)):
        loads = [r + w for r, w in zip(file.state.running, file.state.waiting, strict=True)]
        assert (max(loads) - min(loads) >= gap) is wide
        assert sum(loads) == len(steps)


@pytest.mark.parametrize("name", list(SAVED))
def test_states_and_twins_survive_reading_and_writing(name: str) -> None:
    for file in (SAVED[name].state, SAVED[name].safe_twin):
        assert write_state(read_state(write_state(file))) == write_state(file)
        assert file.policy == SAVED[name].policy
    assert write_state(SAVED[name].state) != write_state(SAVED[name].safe_twin)
    assert {"query", "solver", "how", "date", "size", "kind"} <= set(SAVED[name].provenance)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"state": 1}'])
def test_a_broken_file_is_named(text: str, tmp_path: Any) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"broken\.json"):
        read_counterexample(path)


@pytest.mark.parametrize("name", list(SAVED))
def test_what_belongs_together_fits_together(name: str) -> None:
    aligned = "--any-hits" not in SAVED[name].provenance["query"]
    for file in (SAVED[name].state, SAVED[name].safe_twin):
        state, request = file.state, file.request
        for index, waiting in enumerate(state.waiting):
            load = waiting + state.running[index]
            assert load + 1 <= 256
            assert waiting > 0 or state.queued_prefill_tokens[index] == 0
            assert state.hit_tokens[index] <= request.prompt_tokens
            assert not aligned or state.hit_tokens[index] % request.block_tokens == 0
            for column in (state.context_tokens, state.kv_used_fraction, state.active_blocks):
                assert column is None or load > 0 or column[index] == 0
            assert state.active_blocks is None or (state.active_blocks[index] > 0) is (load > 0)
