"""One helper states proofs: the claim positively, its premises, and three ways to fail.

ProofFailed
├── Refuted     the premises hold and the claim does not: a state shows it
├── Undecided   the solver gave up or ran out of time; never a pass
└── Vacuous     the premises exclude each other, or were not shown satisfiable
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import z3

#: Time for each question to the solver [ms].
TIMEOUT_MS = 10_000
#: Logics tried in turn, each with an even share of the time: the solver's own choice, then its nonlinear core.
_LOGICS = ("", "QF_NRA")

#: A state that the solver found: value by name of the constant.
Model = Mapping[str, Fraction | bool | str]


class ProofFailed(Exception):
    """The claim was not proved."""


class Refuted(ProofFailed):
    """The premises hold and the claim does not.

    Args:
        model: a state that shows it, by name of the constant.
    """

    def __init__(self, model: Model) -> None:
        shown = ", ".join(f"{name} = {value}" for name, value in sorted(model.items()))
        super().__init__(f"refuted by {shown or 'any state'}")
        self.model = model


class Undecided(ProofFailed):
    """The solver gave no answer; it says why."""


class Vacuous(ProofFailed):
    """No state was found in which all premises hold.

    Args:
        message: what is wrong.
        undecided: True if the solver did not know, False if it showed that there is none.
    """

    def __init__(self, message: str, *, undecided: bool = False) -> None:
        super().__init__(message)
        self.undecided = undecided


def value_of(term: Any) -> Fraction | bool | str:
    """A value of a model as a Python number; an irrational one as the text of its digits."""
    if z3.is_true(term) or z3.is_false(term):
        return bool(z3.is_true(term))
    if z3.is_int_value(term) or z3.is_rational_value(term):
        return Fraction(term.as_fraction()) if z3.is_rational_value(term) else Fraction(term.as_long())
    return str(term)


def satisfy(formulas: Sequence[Any], *, timeout_ms: int = TIMEOUT_MS) -> Model | None:
    """A state in which all formulas hold, or None if there is none.

    Args:
        formulas: Z3 conditions.
        timeout_ms: time for all tries together [ms].

    Raises:
        Undecided: if the solver does not know; its message says why.
        KeyboardInterrupt: if the user stopped it; the solver takes the signal and answers that it was interrupted.

    Example:
        >>> x = z3.Real("x")
        >>> satisfy([x * x == 4, x > 0]), satisfy([x * x < 0])
        ({'x': Fraction(2, 1)}, None)
    """
    try:
        return _satisfy(formulas, timeout_ms)
    except ctypes.ArgumentError as fault:  # the signal came while an argument was handed to the solver
        if "KeyboardInterrupt" in str(fault):
            raise KeyboardInterrupt from None
        raise


def _satisfy(formulas: Sequence[Any], timeout_ms: int) -> Model | None:
    reasons = []
    for logic in _LOGICS:
        solver = z3.SolverFor(logic) if logic else z3.Solver()
        solver.set("timeout", max(1, timeout_ms // len(_LOGICS)))
        solver.add(*formulas)
        try:
            answer = solver.check()
        except z3.Z3Exception as fault:  # this logic cannot read the formula
            reasons.append(str(fault))
            continue
        if answer == z3.sat:
            found = solver.model()
            return {name.name(): value_of(found[name]) for name in found.decls() if name.arity() == 0}
        if answer == z3.unsat:
            return None
        reasons.append(solver.reason_unknown())
        if "interrupted" in reasons[-1]:
            raise KeyboardInterrupt
    raise Undecided(f"not decided within {timeout_ms} ms: {'; '.join(dict.fromkeys(reasons))}")


def prove(claim: Any, *, given: Sequence[Any] = (), timeout_ms: int = TIMEOUT_MS) -> None:
    """Prove that ``given`` implies ``claim`` for all values of the free constants.

    Args:
        claim: a Z3 condition, stated positively; it is negated here.
        given: premises; they must be satisfiable together.
        timeout_ms: time for each of the two questions [ms].

    Raises:
        Vacuous: if the premises exclude each other, or could not be shown satisfiable.
        Refuted: with a state in which the premises hold and the claim does not.
        Undecided: if the solver does not know.

    Example:
        >>> x = z3.Real("x")
        >>> prove(x * x > 0, given=[x > 0])
        >>> prove(x * x > 0)
        Traceback (most recent call last):
        ...
        proofs.proving.Refuted: refuted by x = 0
    """
    try:
        if satisfy(given, timeout_ms=timeout_ms) is None:
            raise Vacuous("the premises exclude each other")
    except Undecided as fault:
        raise Vacuous(f"the premises were not shown satisfiable: {fault}", undecided=True) from None
    model = satisfy([*given, z3.Not(claim)], timeout_ms=timeout_ms)
    if model is not None:
        raise Refuted(model)
