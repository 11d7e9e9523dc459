"""A theorem as data: premises by name, the claim, the slips that must be caught, the states that reach its bound.

Checking one asks five things of the solver. The claim follows from the premises. Each premise is needed: without it
the claim is refuted. Each seeded fault (a flipped inequality, a wrong constant) is refuted; and at least one of them
holds somewhere, or it is no slip but nonsense. Each ``reached`` condition has a state, so that a bound is known to be
tight. A theorem whose faults pass proves nothing, so that is a failure too.

Division by zero has any value for Z3, so states that show a failure must keep every divisor from 0.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import z3

from proofs.proving import TIMEOUT_MS, ProofFailed, Refuted, Undecided, Vacuous, prove, satisfy
from proofs.terms import number

#: Values by name of the constant; numbers or truth values.
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Theorem:
    """What is proved, and what must fail.

    Args:
        claim: the conclusion.
        given: premises by name, as the registry lists them; every one must be needed.
        domain: conditions that make the formulas meaningful or that hold by construction (the range of an index, a
            definition); they are not dropped.
        faults: seeded faults by name; each is a claim that must be refuted under the same premises.
        reached: conditions by name that must be satisfiable with the premises; write the bound with equality here.
        without: for a premise, a state that shows it is needed (checked, not trusted), where the solver finds none.
        bound: empty if the theorem holds for all values, else the bound in words ("2 to 4 instances").
        refuted: True if the claim is false and the point is to show it: a state must be found, with all premises.
        timeout_ms: time for each question [ms].
    """

    claim: Any
    given: Mapping[str, Any] = field(default_factory=dict)
    domain: tuple[Any, ...] = ()
    faults: Mapping[str, Any] = field(default_factory=dict)
    reached: Mapping[str, Any] = field(default_factory=dict)
    without: Mapping[str, Values] = field(default_factory=dict)
    bound: str = ""
    refuted: bool = False
    timeout_ms: int = TIMEOUT_MS

    def premises(self, *, leave_out: str | None = None) -> list[Any]:
        """Domain and premises, one of them left out on request."""
        return [*self.domain, *(formula for name, formula in self.given.items() if name != leave_out)]


#: Every theorem of the tree by place, ``proofs/theorems/FILE.py:FUNCTION``.
THEOREMS: dict[str, Callable[[], Theorem]] = {}


def theorem(function: Callable[[], Theorem]) -> Callable[[], Theorem]:
    """Enter a function that states a theorem into :data:`THEOREMS`."""
    THEOREMS[f"{function.__module__.replace('.', '/')}.py:{function.__name__}"] = function
    return function


def all_theorems() -> Mapping[str, Callable[[], Theorem]]:
    """Every theorem by place, all files of ``proofs/theorems`` imported."""
    package = importlib.import_module("proofs.theorems")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"proofs.theorems.{module.name}")
    return THEOREMS


def check_claim(stated: Theorem) -> None:
    """Prove it; or, if the point is to refute it, find a state.

    Raises:
        ProofFailed: see :mod:`proofs.proving`.
    """
    if not stated.refuted:
        prove(stated.claim, given=stated.premises(), timeout_ms=stated.timeout_ms)
        return
    if satisfy([*stated.premises(), stated.claim], timeout_ms=stated.timeout_ms) is None:
        raise ProofFailed("the claim holds in no state at all, so to refute it says nothing")
    wanted = [*stated.premises(), z3.Not(stated.claim)]
    if satisfy([*wanted, *divisors_are_not_zero(wanted)], timeout_ms=stated.timeout_ms) is None:
        raise ProofFailed("no state refutes the claim: it is true under its premises")


def divisors_are_not_zero(formulas: Sequence[Any]) -> list[Any]:
    """The conditions that no divisor in the formulas is 0; under quantifiers nothing is added.

    Example:
        >>> x, y = z3.Reals("x y")
        >>> divisors_are_not_zero([x / y > 2, x / 3 > 1])
        [y != 0]
    """
    found: dict[int, Any] = {}
    seen: set[int] = set()
    stack = list(formulas)
    while stack:
        term = stack.pop()
        if not isinstance(term, z3.ExprRef) or term.get_id() in seen or z3.is_quantifier(term):
            continue
        seen.add(term.get_id())
        stack.extend(term.children())
        if z3.is_app_of(term, z3.Z3_OP_DIV) and not z3.is_rational_value(term.arg(1)):
            found[term.arg(1).get_id()] = term.arg(1) != 0
    return list(found.values())


def check_premise_is_needed(stated: Theorem, name: str) -> None:
    """Leave one premise out; the claim must then be refuted.

    Raises:
        ProofFailed: if it still holds or is undecided.
    """
    rest = stated.premises(leave_out=name)
    rest += divisors_are_not_zero([*rest, stated.claim])
    try:
        if name in stated.without:
            model = satisfy([*rest, z3.Not(stated.claim), *fixed(stated.without[name])], timeout_ms=stated.timeout_ms)
            if model is None:
                raise ProofFailed(f"the state given for the premise {name!r} does not show that it is needed")
            return
        prove(stated.claim, given=rest, timeout_ms=stated.timeout_ms)
    except Refuted:
        return
    except Undecided as fault:
        raise Undecided(f"whether the premise {name!r} is needed: {fault}") from None
    raise ProofFailed(f"the premise {name!r} is not needed: the claim holds without it")


def check_fault_is_caught(stated: Theorem, name: str) -> None:
    """A seeded fault must be refuted under the same premises.

    Raises:
        ProofFailed: if the faulty claim passes or is undecided.
    """
    premises = stated.premises()
    try:
        given = [*premises, *divisors_are_not_zero([*premises, stated.faults[name]])]
        prove(stated.faults[name], given=given, timeout_ms=stated.timeout_ms)
    except Refuted:
        return
    except Undecided as fault:
        raise Undecided(f"the seeded fault {name!r}: {fault}") from None
    raise ProofFailed(f"the seeded fault {name!r} passes")


def check_some_fault_is_a_slip(stated: Theorem) -> None:
    """At least one seeded fault holds in some state under the premises; one that holds nowhere is caught by any state.

    Raises:
        ProofFailed: if none does.
        Undecided: if none is shown to.
    """
    if stated.refuted:
        return
    if not stated.faults:
        raise ProofFailed("it has no seeded fault: a proof that cannot fail is a defect")
    undecided: Undecided | None = None
    for fault in stated.faults.values():
        try:
            if satisfy([*stated.premises(), fault], timeout_ms=stated.timeout_ms) is not None:
                return
        except Undecided as reason:  # perhaps another one
            undecided = reason
    if undecided is not None:
        raise Undecided(f"whether a seeded fault holds anywhere: {undecided}")
    raise ProofFailed("no seeded fault holds in any state: they are caught whatever the claim says")


def check_is_reached(stated: Theorem, name: str) -> None:
    """A state reaches the bound.

    Raises:
        ProofFailed: if there is none or the solver does not know.
    """
    try:
        wanted = [*stated.premises(), stated.reached[name]]
        model = satisfy([*wanted, *divisors_are_not_zero(wanted)], timeout_ms=stated.timeout_ms)
    except Undecided as fault:
        raise Undecided(f"whether {name!r} is reached: {fault}") from None
    if model is None:
        raise ProofFailed(f"no state reaches {name!r}")


def fixed(values: Values) -> list[Any]:
    """The conditions that real constants have these values."""
    return [z3.Real(name) == number(value) for name, value in values.items()]


def check_theorem(stated: Theorem) -> None:
    """Everything there is to check of one theorem.

    Raises:
        ProofFailed: at the first check that fails.
    """
    check_some_fault_is_a_slip(stated)
    check_claim(stated)
    for name in () if stated.refuted else stated.given:  # a state refutes the claim without a premise, too
        check_premise_is_needed(stated, name)
    for name in stated.faults:
        check_fault_is_caught(stated, name)
    for name in stated.reached:
        check_is_reached(stated, name)


@dataclass(frozen=True)
class Verdict:
    """What checking a theorem came to.

    Args:
        status: ``proved``, ``bounded`` or ``refuted`` if everything holds; else ``undecided``, ``vacuous``, ``failed``.
        problem: what is wrong, or empty.
    """

    status: str
    problem: str = ""


def verdict_of(stated: Theorem) -> Verdict:
    """Check a theorem; a failure is a value. A question that ran out of time is ``undecided``, never a proof."""
    try:
        check_theorem(stated)
    except Undecided as fault:
        return Verdict("undecided", str(fault))
    except Vacuous as fault:
        return Verdict("undecided" if fault.undecided else "vacuous", str(fault))
    except ProofFailed as fault:
        return Verdict("failed", str(fault))
    return Verdict("refuted" if stated.refuted else "bounded" if stated.bound else "proved")


__all__ = [
    "THEOREMS",
    "ProofFailed",
    "Refuted",
    "Theorem",
    "Undecided",
    "Verdict",
    "all_theorems",
    "check_claim",
    "check_fault_is_caught",
    "check_is_reached",
    "check_premise_is_needed",
    "check_some_fault_is_a_slip",
    "check_theorem",
    "theorem",
    "verdict_of",
]
