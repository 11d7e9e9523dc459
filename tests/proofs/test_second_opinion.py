"""Theorems as SMT-LIB, and what a second solver says of them.

cvc5 shares no code with Z3. A contradiction fails; where cvc5 does not know, the test is skipped and says so, because
that is no agreement.
"""

from collections.abc import Iterator

import pytest
import z3

from proofs import smtlib
from proofs.smtlib import export, has_second_solver, logic_of, second_opinion
from proofs.theorem import Theorem, all_theorems
from scheduler.errors import BadInput

PLACES = sorted(all_theorems())
#: The default run asks of every eighth theorem, `pytest -m slow` of all.
SAMPLE = PLACES[::16]
TIMEOUT_MS = 1_500
needs_cvc5 = pytest.mark.skipif(
    not has_second_solver(), reason="cvc5 is not installed: pip install 'argprod[second-opinion]'"
)


def expected(text: str) -> str:
    return "unsat" if "(set-info :status unsat)" in text else "sat"


def questions(place: str) -> Iterator[tuple[str, str]]:
    """Each question of a theorem with its name."""
    yield from export(all_theorems()[place]()).items()


def small(claim: z3.BoolRef, **fields: object) -> Theorem:
    return Theorem(claim=claim, **fields)  # type: ignore[arg-type]


@needs_cvc5
@pytest.mark.parametrize("place", SAMPLE)
def test_a_second_solver_agrees_with_a_sample_of_the_proofs(place: str) -> None:
    answers = {name: (expected(text), second_opinion(text, TIMEOUT_MS)) for name, text in questions(place)}
    contradicted = {name: pair for name, pair in answers.items() if pair[1] not in (pair[0], "unknown")}
    assert contradicted == {}
    undecided = [name for name, (_, answer) in answers.items() if answer == "unknown"]
    if undecided:
        pytest.skip(f"cvc5 does not know of {place}: {', '.join(undecided)}")


@pytest.mark.slow
@needs_cvc5
def test_a_second_solver_agrees_with_the_proofs_that_it_decides() -> None:
    answers = {
        (place, name): (expected(text), second_opinion(text, TIMEOUT_MS))
        for place in PLACES
        for name, text in questions(place)
    }
    contradicted = {key: pair for key, pair in answers.items() if pair[1] not in (pair[0], "unknown")}
    assert contradicted == {}
    claims = [answer for (_, name), (_, answer) in answers.items() if name == "claim"]
    faults = [answer for (_, name), (_, answer) in answers.items() if name != "claim"]
    assert claims.count("unknown") <= 0.2 * len(claims)
    assert faults.count("unknown") <= 0.1 * len(faults)


@needs_cvc5
def test_a_false_proof_would_be_contradicted() -> None:
    x = z3.Real("x")
    wrong = export(small(x * x > 0))["claim"]  # as if Z3 had said that it is proved
    assert (expected(wrong), second_opinion(wrong)) == ("unsat", "sat")


@needs_cvc5
def test_what_takes_too_long_is_unknown() -> None:
    a, b, c = z3.Ints("a b c")
    fermat = small(a * a * a + b * b * b != c * c * c, given={"positive": z3.And(a > 0, b > 0, c > 0)})
    assert second_opinion(export(fermat)["claim"], timeout_ms=200) == "unknown"


@needs_cvc5
@pytest.mark.parametrize("text", ["(assert", "(set-logic QF_NRA)", "(check-sat)(check-sat)"])
def test_a_text_that_asks_nothing_readable_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="SMT-LIB text"):
        second_opinion(text)


def test_without_a_second_solver_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtlib, "has_second_solver", lambda: False)
    with pytest.raises(BadInput, match=r"second opinion.*second-opinion"):
        second_opinion("(check-sat)")


def test_a_time_that_is_no_time_is_refused() -> None:
    with pytest.raises(BadInput, match="timeout_ms"):
        second_opinion("(check-sat)", timeout_ms=0)


@pytest.mark.parametrize("place", SAMPLE)
def test_z3_reads_back_what_is_written(place: str) -> None:
    for name, text in questions(place):
        solver = z3.Solver()
        solver.set("timeout", 10_000)
        solver.from_string(text)
        assert str(solver.check()) in (expected(text), "unknown"), name


def test_a_refuted_theorem_is_expected_to_have_a_state() -> None:
    x = z3.Real("x")
    texts = export(small(x > 0, refuted=True))
    assert list(texts) == ["claim"]
    assert expected(texts["claim"]) == "sat"


def test_every_text_has_one_logic_one_status_and_one_question() -> None:
    x = z3.Real("x")
    stated = small(x * x >= 0, given={"x is small": x < 1}, faults={"A <wrong> sign!": x * x < 0, "b/c": x > 0})
    texts = export(stated)
    assert list(texts) == ["claim", "fault_1_a_wrong_sign", "fault_2_b_c"]
    for text in texts.values():
        assert [text.count(part) for part in ("(set-logic ", "(set-info :status ", "(check-sat)")] == [1, 1, 1]
        assert "; premise: x is small" in text


def test_the_logic_is_as_wide_as_the_formulas_need() -> None:
    x, f = z3.Real("x"), z3.Function("f", z3.RealSort(), z3.RealSort())
    assert logic_of([x > 0]) == "QF_NRA"
    assert logic_of([z3.ToReal(z3.ToInt(x)) == x]) == "QF_NIRA"
    assert logic_of([f(x) > 0]) == "QF_UFNRA"
    assert logic_of([z3.ForAll([x], f(x) > z3.ToReal(z3.ToInt(x)))]) == "UFNIRA"


def test_powers_are_written_as_products() -> None:
    x = z3.Real("x")
    text = export(small(x**2 + x**1 >= x, faults={"wrong": x**2 < 0}))["claim"]
    assert "^" not in text
    solver = z3.Solver()
    solver.from_string(text)
    assert solver.check() == z3.unsat


@needs_cvc5
def test_what_only_z3_reads_is_written_for_all() -> None:
    named_abs = z3.Real("abs")
    one = z3.Sum([z3.Sum([named_abs])])
    text = export(small(one * one >= 0))["claim"]
    assert "(+ " not in text
    assert second_opinion(text) == "unsat"
