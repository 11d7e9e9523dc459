"""Questions to the solver: terms for a state, three possible replies, and a budget of time.

Two forms of a state. *Whole*: every quantity is an integer, as in a real state. *Relaxed*: real numbers in the same
ranges, a superset; what no relaxed state shows, no whole one does, and the solver decides it far more often.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from typing import Any

import z3

from proofs.ops import Z3
from proofs.proving import value_of
from proofs.search.conditions import Reading, read_rules
from proofs.search.knobs import scale_of
from proofs.search.question import FreeKnob, Question
from proofs.search.situation import Situation, Variable, consistent, situation, size, variables
from proofs.terms import number
from scheduler.policies.rule import Policy

#: The longest that one question may take [s]; a search goes on with another one.
QUESTION_S = 10.0

#: ``on_progress(what)`` is told what is being asked.
OnProgress = Callable[[str], None]


class Interrupted(Exception):
    """The user stopped the solver."""


class Reply(Enum):
    """What the solver says where it gives no state."""

    NONE = "no state"
    UNKNOWN = "unknown"


@dataclass
class Budget:
    """How much time is left.

    Args:
        limit_s: for the whole search [s].
        clock: gives the time [s].
        on_progress: is told what is being done.
    """

    limit_s: float
    clock: Callable[[], float] = time.monotonic
    on_progress: OnProgress | None = None
    started_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.started_s = self.clock()

    def spent_s(self) -> float:
        """Time since the start [s]."""
        return self.clock() - self.started_s

    def left_s(self) -> float:
        """Time that is left, 0 if none is [s]."""
        return max(0.0, self.limit_s - self.spent_s())

    def part(self, share: float) -> Budget:
        """A budget of a share of the time that is left."""
        return Budget(share * self.left_s(), self.clock, self.on_progress)

    def tell(self, what: str) -> None:
        """Report progress."""
        if self.on_progress is not None:
            self.on_progress(what)


@dataclass(frozen=True)
class Terms:
    """A state as solver terms.

    Args:
        values: the whole number behind each quantity, by name of the variable (and knobs that are free).
        given: ranges and what belongs together.
        size: tokens, requests and blocks in total; at most ``max_size`` of the question.
        reading: the rules read on it.
        question: whose state it is.
        names: the variables of the state, without knobs and without the true state of ``noise``.
        whole: False for real numbers.
    """

    values: Mapping[str, Any]
    given: Sequence[Any]
    size: Any
    reading: Reading
    question: Question
    names: Sequence[Variable]
    whole: bool


def terms_of(question: Question, *, whole: bool = True) -> Terms:
    """A state, and for ``noise`` the true one beside it, as terms of integers or of real numbers."""
    names = variables(question)
    values = {v.name: _term(v.name, whole) for v in names}
    given = _in_range(names, values, whole)
    seen = _seen(question, values, given, whole)
    truth = None
    if question.kind == "noise":
        moved = [v for v in names if v.name.startswith(("running_", "queued_prefill_tokens_"))]
        true_values = {**values, **{v.name: _term(f"true_{v.name}", whole) for v in moved}}
        given += _in_range(moved, true_values, whole)
        truth = _seen(question, true_values, given, whole)
        values = {**values, **{f"true_{v.name}": true_values[v.name] for v in moved}}
    settings, knobs = _settings(question, given, whole)
    reading = read_rules(Z3, question, seen, settings=settings, truth=truth)
    total = z3.Sum([_counted(values[v.name], v) for v in names if v.counted])
    if question.max_size is not None:
        given.append(total <= question.max_size)
    return Terms({**values, **knobs}, given, total, reading, question, names, whole)


def _counted(term: Any, variable: Variable) -> Any:
    return term if variable.step == 1 else term * int(variable.step)


def _term(name: str, whole: bool) -> Any:
    return z3.Int(name) if whole else z3.Real(name)


def _in_range(names: Sequence[Variable], values: Mapping[str, Any], whole: bool) -> list[Any]:
    del whole  # both sorts are bounded alike
    return [bound for v in names for bound in (values[v.name] >= v.low, values[v.name] <= v.high)]


def _seen(question: Question, values: Mapping[str, Any], given: list[Any], whole: bool) -> Situation:
    """The situation on terms of sort Real; adds its premises to ``given``."""
    reals = {name: z3.ToReal(term) if whole else term for name, term in values.items()}
    full = None
    if not whole:
        full, block, prompt = z3.Real("full_block_tokens"), question.ranges.block_tokens, reals["prompt_tokens"]
        given += [full >= 1, full <= prompt, full >= prompt - (block - 1)]
    seen = situation(Z3, question, _exact_steps(question, reals), full_block_tokens=full)
    given += consistent(Z3, question, seen, relaxed=not whole)
    return Situation(
        seen.columns, {**seen.request, "block_tokens": number(question.ranges.block_tokens)}, seen.full_block_tokens
    )


def _exact_steps(question: Question, reals: Mapping[str, Any]) -> Mapping[str, Any]:
    return {v.name: _Scaled(reals[v.name]) if v.step != 1 else reals[v.name] for v in variables(question)}


class _Scaled:
    """A term that can be multiplied by a Fraction, which Z3's own numbers cannot."""

    def __init__(self, term: Any) -> None:
        self.term = term

    def __mul__(self, step: Fraction) -> Any:
        return self.term * number(step)


def _settings(question: Question, given: list[Any], whole: bool) -> tuple[list[Policy], dict[str, Any]]:
    """The rule with its free knobs as terms, or at both ends of an interval that it must hold over."""
    rule, knobs = question.rule, {}
    ends: list[tuple[FreeKnob, float]] = []
    for free in question.free:
        if free.every:
            ends += [(free, free.low), (free, free.high)]
            continue
        term, scale = _term(f"knob_{free.name}", whole), scale_of(question, free)
        given += [term >= number(Fraction(repr(free.low)) * scale), term <= number(Fraction(repr(free.high)) * scale)]
        knobs[f"knob_{free.name}"] = term
        real = z3.ToReal(term) if whole else term
        rule = Policy(rule.rule, {**rule.values, free.name: real if scale == 1 else real / scale})
    if not ends:
        return [rule], knobs
    return [Policy(rule.rule, {**rule.values, free.name: value}) for free, value in ends], knobs


def ask(
    budget: Budget, terms: Terms, wanted: Sequence[Any], *, limit_s: float = QUESTION_S
) -> dict[str, Fraction] | Reply:
    """A state in which everything wanted holds: whole numbers by name, or that there is none, or that it is unknown.

    Raises:
        Interrupted: if the user stopped the solver.
    """
    left_s = min(budget.left_s(), limit_s)
    if left_s <= 0:
        return Reply.UNKNOWN
    logics = ("",) if terms.whole else ("", "QF_NRA")
    for logic in logics:
        solver = z3.SolverFor(logic) if logic else z3.Solver()
        solver.set("timeout", max(1, int(1000 * left_s / len(logics))))
        solver.add(*terms.given, *wanted)
        answer = solver.check()
        if answer == z3.unsat:
            return Reply.NONE
        if answer == z3.sat:
            model = solver.model()
            return {name: _value(model.eval(term, model_completion=True)) for name, term in terms.values.items()}
        if "interrupted" in solver.reason_unknown():
            raise Interrupted
    return Reply.UNKNOWN


def _value(term: Any) -> Fraction:
    """A value of the model; an irrational one to twelve digits, as a hint where to look."""
    if z3.is_algebraic_value(term):
        term = term.approx(12)
    value = value_of(term)
    assert isinstance(value, Fraction), term
    return value


def solver_name() -> str:
    """Name and version, for provenance."""
    return f"z3 {z3.get_version_string()}"


__all__ = [
    "QUESTION_S",
    "Budget",
    "Interrupted",
    "OnProgress",
    "Reply",
    "Terms",
    "ask",
    "size",
    "solver_name",
    "terms_of",
]
