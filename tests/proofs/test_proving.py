"""The proof helper: three ways to fail, none of them a pass."""

from fractions import Fraction

import pytest
import z3

from proofs.proving import ProofFailed, Refuted, Undecided, Vacuous, prove, satisfy
from proofs.theorem import (
    Theorem,
    check_claim,
    check_fault_is_caught,
    check_is_reached,
    check_premise_is_needed,
    check_theorem,
)

X, Y = z3.Reals("X Y")
POSITIVE = {"X is positive": X > 0}
#: Nonlinear over whole numbers, and with no answer: the solver has to give up.
M, N, K = z3.Ints("M N K")
HARD = z3.And(M > 1, N > 1, K > 1, M * M * M + N * N * N == K * K * K)


def test_a_true_claim_is_proved() -> None:
    prove(X + 1 > X)


def test_a_false_claim_is_refuted_with_a_state() -> None:
    with pytest.raises(Refuted) as found:
        prove(X > Y, given=[Y == 3])
    assert found.value.model["Y"] == 3
    assert isinstance(found.value.model["X"], Fraction)
    assert found.value.model["X"] <= 3


def test_premises_that_exclude_each_other_are_vacuous() -> None:
    with pytest.raises(Vacuous, match="exclude each other"):
        prove(X > Y, given=[X > 0, X < 0])


def test_a_timeout_is_undecided_and_never_a_proof() -> None:
    with pytest.raises(Undecided, match="not decided within 50 ms"):
        prove(z3.Not(HARD), timeout_ms=50)
    with pytest.raises(Vacuous, match="not shown satisfiable"):
        prove(X > 0, given=[HARD], timeout_ms=50)


def test_no_state_is_none() -> None:
    assert satisfy([X > 0, X < 0]) is None


def test_a_theorem_with_an_idle_premise_fails() -> None:
    stated = Theorem(claim=X * X >= 0, given=POSITIVE, faults={"strict": X * X > 1})
    check_claim(stated)
    with pytest.raises(ProofFailed, match="not needed"):
        check_premise_is_needed(stated, "X is positive")


def test_a_fault_that_passes_is_a_failure() -> None:
    stated = Theorem(claim=X > -1, given=POSITIVE, faults={"weaker": X > -2})
    with pytest.raises(ProofFailed, match="'weaker' passes"):
        check_fault_is_caught(stated, "weaker")


def test_a_bound_that_nothing_reaches_is_a_failure() -> None:
    stated = Theorem(claim=X > -1, given=POSITIVE, reached={"the bound": X == -1})
    with pytest.raises(ProofFailed, match="no state reaches"):
        check_is_reached(stated, "the bound")


def test_a_theorem_without_faults_is_a_failure() -> None:
    with pytest.raises(ProofFailed, match="no seeded fault"):
        check_theorem(Theorem(claim=X * X >= 0))


def test_a_given_state_must_show_that_the_premise_is_needed() -> None:
    shows = Theorem(claim=X * Y >= 0, given={"X": X >= 0, "Y": Y >= 0}, without={"X": {"X": -1, "Y": 1}})
    check_premise_is_needed(shows, "X")
    does_not = Theorem(claim=X * Y >= 0, given={"X": X >= 0, "Y": Y >= 0}, without={"X": {"X": 1, "Y": 1}})
    with pytest.raises(ProofFailed, match="does not show"):
        check_premise_is_needed(does_not, "X")


def test_a_refutation_needs_a_state() -> None:
    check_claim(Theorem(claim=X > 0, refuted=True))
    with pytest.raises(ProofFailed, match="no state refutes"):
        check_claim(Theorem(claim=X * X >= 0, refuted=True))
