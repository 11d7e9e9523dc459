"""The checker of the registry notices every way in which registry, tree and evidence can part."""

from typing import Any

import msgspec
import pytest
import z3

from argprod import claims as checker
from argprod.claims import Checked, check_claims, registration_problems, run_evidence, run_properties
from proofs import theorem as theorems
from proofs.theorem import Theorem, all_theorems
from theory import derivation as derivations
from theory.derivation import Derivation, all_derivations
from theory.registry import Claim, Status, claims

GOOD = "pairwise_exchange_rate"


def good(**changes: Any) -> Claim:
    """A claim that holds, changed."""
    return msgspec.structs.replace(claims()[GOOD], **changes)


def problems_of(claim: Claim) -> str:
    return " | ".join(run_evidence(claim).problems)


def register(monkeypatch: pytest.MonkeyPatch, stated: Theorem, place: str = "proofs/theorems/exchange.py:new") -> str:
    monkeypatch.setattr(theorems, "THEOREMS", {**all_theorems(), place: lambda: stated})
    return place


def test_the_registry_and_the_tree_name_the_same_things() -> None:
    assert registration_problems(claims()) == {}


@pytest.mark.parametrize("claim", claims().values(), ids=lambda claim: claim.id)
def test_a_claim_lists_the_premises_and_the_bound_of_its_theorems(claim: Claim) -> None:
    assert list(checker._against_theorems(claim, [all_theorems()[place]() for place in claim.proof])) == []


def test_a_claim_that_holds_has_no_problems() -> None:
    found = run_evidence(good())
    assert (found.status, found.problems) == ("proved", ())


@pytest.mark.parametrize(
    "changes",
    [
        {"derivation": ("theory/derivations/exchange.py:no_such",)},
        {"proof": ("proofs/theorems/no_such.py:no_such",)},
        {"property": ("tests/theory/test_exchange.py::test_no_such",)},
        {"measurement": ("benchmarks/results/no_such.json",)},
    ],
)
def test_a_name_that_leads_nowhere_is_a_problem(changes: dict[str, Any]) -> None:
    assert "does not exist" in " ".join(registration_problems({**claims(), GOOD: good(**changes)})[GOOD])


def test_a_theorem_that_belongs_to_no_claim_is_a_problem() -> None:
    rest = {name: claim for name, claim in claims().items() if name != GOOD}
    text = " ".join(registration_problems(rest)[""])
    assert "the theorem proofs/theorems/exchange.py" in text
    assert "the derivation theory/derivations/exchange.py" in text


def test_a_property_test_that_does_not_run_is_a_problem() -> None:
    place = "tests/theory/test_exchange.py::test_no_such"
    assert run_properties([good(property=(place,))]) == {GOOD: [f"{place} did not run"]}


def test_premises_are_those_of_the_theorems() -> None:
    premises = claims()[GOOD].premises
    assert "'another' in the registry only" in problems_of(good(premises=(*premises, "another")))
    assert "in the theorems only" in problems_of(good(premises=premises[1:]))


def test_a_bounded_theorem_is_no_proof_for_all_values() -> None:
    found = problems_of(good(proof=claims()["unrolled_choice_is_pairwise"].proof, premises=()))
    assert "recorded as proved, but a theorem is bounded: up to 6 instances" in found


def test_a_bound_must_be_that_of_a_theorem() -> None:
    assert "is none of its theorems' bounds" in problems_of(good(status=Status.BOUNDED, bound="up to 9 instances"))


def test_a_refuted_claim_needs_a_theorem_that_refutes_it() -> None:
    assert "no theorem refutes it" in problems_of(good(status=Status.REFUTED))


def test_a_budget_is_kept() -> None:
    assert "times its budget" in problems_of(good(budget_s=1e-6))


def test_a_false_theorem_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    x = z3.Real("x")
    place = register(monkeypatch, Theorem(claim=x > 0, faults={"strict": x > 1}))
    found = run_evidence(good(proof=(place,), premises=()))
    assert found.status == "failed"
    assert "refuted by x = " in found.problems[0]


def test_a_timeout_is_undecided_and_never_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    m, n, k = z3.Ints("m n k")
    hard = z3.Not(z3.And(m > 1, n > 1, k > 1, m * m * m + n * n * n == k * k * k))
    place = register(monkeypatch, Theorem(claim=hard, faults={"none": m > 0}, timeout_ms=50))
    found = run_evidence(good(proof=(place,), premises=()))
    assert found.status == "undecided"
    assert "not decided within 50 ms" in found.problems[0]


def test_a_proof_that_cannot_fail_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    place = register(monkeypatch, Theorem(claim=z3.Real("x") * 0 == 0))
    assert "no seeded fault" in problems_of(good(proof=(place,), premises=()))


def test_a_refutation_is_no_proof() -> None:
    refuting = claims()["count_coverage_suffices"]
    found = problems_of(good(proof=refuting.proof, premises=refuting.premises))
    assert "recorded as proved, but a theorem of it refutes something" in found


@pytest.mark.parametrize("work", [None, Derivation("Nothing."), Derivation("A result alone.", result=1)])
def test_a_derivation_that_shows_nothing_is_a_problem(monkeypatch: pytest.MonkeyPatch, work: Any) -> None:
    [place, *_] = claims()[GOOD].derivation
    monkeypatch.setattr(derivations, "DERIVATIONS", {**all_derivations(), place: lambda: work})
    assert "shows nothing" in problems_of(good(derivation=(place,)))


def test_faults_that_hold_nowhere_are_no_slips(monkeypatch: pytest.MonkeyPatch) -> None:
    x = z3.Real("x")
    place = register(monkeypatch, Theorem(claim=x * x >= 0, faults={"nonsense": x * x < 0}))
    assert "caught whatever the claim says" in problems_of(good(proof=(place,), premises=()))


def test_a_claim_that_holds_nowhere_is_not_worth_refuting(monkeypatch: pytest.MonkeyPatch) -> None:
    x = z3.Real("x")
    place = register(monkeypatch, Theorem(claim=x * x < 0, refuted=True))
    assert "holds in no state" in problems_of(good(status=Status.REFUTED, proof=(place,), premises=()))


def test_a_premise_is_not_needed_for_the_sake_of_a_division_by_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    x = z3.Real("x")
    stated = Theorem(claim=x / x == 1, given={"x is not 0": x != 0}, faults={"two": x / x == 2 * x})
    place = register(monkeypatch, stated)
    assert "'x is not 0' is not needed" in problems_of(good(proof=(place,), premises=("x is not 0",)))


def test_a_theorem_names_its_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    def stray() -> Theorem:
        """It holds.

        Claim: coverage_law.
        """
        return Theorem(claim=z3.Real("x") >= 0, refuted=True)

    place = "proofs/theorems/exchange.py:stray"
    monkeypatch.setattr(theorems, "THEOREMS", {**all_theorems(), place: stray})
    found = registration_problems({**claims(), GOOD: good(proof=(*claims()[GOOD].proof, place))})
    assert f"{place} names it, the registry does not" in found["coverage_law"]
    assert f"{place} is listed, its docstring names another claim" in found[GOOD]


def test_problems_of_the_tree_come_last_and_only_for_the_whole_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checker, "registration_problems", lambda _claims: {"": ["a stray"], GOOD: ["a gap"]})
    one = {GOOD: good()}
    whole = check_claims(one, properties=False)
    assert whole[-1] == Checked("", "failed", 0.0, ("a stray",))
    assert whole[0].problems == ("a gap",)
    assert [found.id for found in check_claims(one, properties=False, whole=False)] == [GOOD]
