"""Smallest states, and several of them from different regions.

The bound on the size grows until a state fits, then the least bound is found by halving: under a small bound every
quantity is small, and the solver decides in hundredths of a second what takes it minutes without one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import z3

from proofs.ops import Z3
from proofs.search.conditions import any_of, pairs, regions, shows
from proofs.search.question import Found, Question
from proofs.search.replaying import replayed
from proofs.search.situation import size, variables
from proofs.search.solver import Budget, Interrupted, Reply, Terms, ask, terms_of

#: How many states that do not replay are set aside before the solver is given up.
DROPPED_MAX = 5
_FIRST_BOUND = 4
#: Time for asking whether there is any state at all [s].
_EXISTS_S = 3.0
#: Least time for each region, where there is as much [s].
_REGION_S = 10.0
#: Time for each bound on the size [s].
_BOUND_S = 5.0


@dataclass
class Progress:
    """What a search has so far; it survives an interrupt.

    Args:
        states: found and confirmed.
        none: True if no state exists (proved).
        optimal: True if the first state is the best there is (proved).
        below: no state is as small as this or smaller (proved).
        undecided: True if the states are only the best of those that were looked at.
        cheapest: True if in no state the choice costs as much as another instance of positive cost, or any for a
            difference (proved).
        dropped: states of the solver that the shipped rules did not confirm.
    """

    states: list[Found] = field(default_factory=list)
    none: bool = False
    optimal: bool = False
    below: int = 0
    undecided: bool = False
    cheapest: bool = False
    dropped: int = 0
    bound: Fraction | None = None
    interrupted: bool = False


def wanted(terms: Terms) -> Any:
    """The condition of the question on terms, for any of the pairs that need looking at."""
    return any_of(Z3, [shows(terms.question, terms.reading, *pair) for pair in pairs(terms.question)])


def confirmed(
    budget: Budget, terms: Terms, conditions: list[Any], progress: Progress, *, limit_s: float
) -> Found | Reply:
    """A state that the shipped rules confirm; those they do not are set aside, by adding them to ``conditions``."""
    while True:
        model = ask(budget, terms, conditions, limit_s=limit_s)
        if isinstance(model, Reply):
            return model
        found = replayed(terms.question, model)
        if found is not None:
            return found
        progress.dropped += 1
        if progress.dropped > DROPPED_MAX:
            return Reply.UNKNOWN
        conditions.append(z3.Or([terms.values[name] != int(value) for name, value in model.items()]))


def exists(budget: Budget, question: Question) -> bool | None:
    """False if no state exists, shown on a superset over the real numbers; None if that does not settle it."""
    budget.tell("asking whether there is any state")
    terms = terms_of(question, whole=False)
    reply = ask(budget, terms, [wanted(terms)], limit_s=min(budget.left_s() / 5, _EXISTS_S))
    return False if reply is Reply.NONE else None


def smallest(budget: Budget, question: Question, progress: Progress, extra: Sequence[Any] = ()) -> None:
    """Find the smallest state; what is known is kept in ``progress``.

    Args:
        budget: of time.
        question: what is wanted.
        progress: is filled.
        extra: further conditions on the terms of ``terms_of(question)``, which are the same terms each time.

    Raises:
        Interrupted: by the user.
    """
    terms = terms_of(question)
    conditions = [wanted(terms), *extra]
    largest = int(size(question, {v.name: v.high for v in variables(question)}))
    largest = min(largest, question.max_size) if question.max_size is not None else largest
    below, bound, found, known = 0, min(_FIRST_BOUND, largest), None, True
    while found is None:
        reply = _within(budget, terms, conditions, bound, progress)
        if isinstance(reply, Found):
            found = reply
            progress.states = [found]
            continue
        known = known and reply is Reply.NONE  # a larger bound may be easier again, but then proves nothing below it
        below = bound if known else below
        progress.below = below
        if bound >= largest or budget.left_s() <= 0:
            progress.none = known and bound >= largest
            return
        bound = min(2 * bound, largest)
    low = below
    while low + 1 < found.size and budget.left_s() > 0:
        bound = (low + found.size) // 2
        reply = _within(budget, terms, conditions, bound, progress)
        if isinstance(reply, Found):
            found = reply
            progress.states = [found]
            continue
        low = bound
        known = known and reply is Reply.NONE  # not known: look above it, but claim nothing
        below = bound if known else below
    progress.below, progress.optimal = below, below + 1 == found.size


def _within(budget: Budget, terms: Terms, conditions: list[Any], bound: int, progress: Progress) -> Found | Reply:
    """A state of at most this size; every quantity is bounded by it too, which the solver does not infer by itself."""
    budget.tell(f"is there a state of size {bound} or less?")
    small = [terms.values[v.name] * int(v.step) <= bound for v in terms.names if v.counted]
    asked = [*conditions, terms.size <= bound, *small]
    before = len(asked)
    reply = confirmed(budget, terms, asked, progress, limit_s=_BOUND_S)
    conditions += asked[before:]
    return reply


def diverse(budget: Budget, question: Question, progress: Progress) -> None:
    """Smallest states of several regions, each region asked for once.

    Raises:
        Interrupted: by the user; what was found is in ``progress``.
    """
    kept: list[Found] = []
    blocked: list[Any] = []
    optimal = True
    while len(kept) < question.count:
        one = Progress()
        try:
            _region(budget, question, one, _again(question, blocked), question.count - len(kept))
        except Interrupted:
            progress.states = kept + one.states
            raise
        progress.dropped += one.dropped
        if not one.states:
            progress.none = one.none and not kept
            progress.optimal = optimal and one.none
            break
        optimal = optimal and one.optimal
        kept += one.states
        blocked.append((one.states[0].chosen, one.states[0].other, one.states[0].regions))
        progress.states, progress.optimal = list(kept), optimal


def _region(budget: Budget, question: Question, one: Progress, extra: Sequence[Any], left: int) -> None:
    """The smallest state of one more region of ``left``: a share of the time, and all of it if that does not do."""
    share = max(1 / left, min(1.0, _REGION_S / max(budget.left_s(), _REGION_S)))
    smallest(budget.part(share), question, one, extra)
    if not one.states and not one.none and share < 1 and budget.left_s() > 0:
        smallest(budget, question, one, extra)


def _again(question: Question, blocked: Sequence[Any]) -> list[Any]:
    """Conditions that keep a new state out of the regions already shown.

    Constants of one name are one constant to the solver, so terms made anew speak of the same state.
    """
    terms = terms_of(question)
    found = []
    for taken, other, shown in blocked:
        here = regions(terms.reading, taken, other)
        found.append(z3.Or([z3.Not(_bool(here[name])) if held else _bool(here[name]) for name, held in shown.items()]))
    return found


def _bool(condition: Any) -> Any:
    return condition if isinstance(condition, z3.ExprRef) else z3.BoolVal(bool(condition))
