"""From a question to an answer: the solver first, enumeration where it gives up, and what the evidence is."""

from __future__ import annotations

import time
from collections.abc import Callable

from proofs.search.arrivals import SequenceQuestion
from proofs.search.enumeration import can_enumerate, enumerate_states
from proofs.search.guarding import running
from proofs.search.knobs import steps_told
from proofs.search.origin import with_knob_ranges
from proofs.search.question import Answer, Question, Verdict
from proofs.search.rules import check_free, checked
from proofs.search.sequences import search_sequence
from proofs.search.situation import NotFixed, variables
from proofs.search.smallest import Progress, diverse, exists, smallest
from proofs.search.solver import Budget, Interrupted, OnProgress, solver_name
from proofs.search.telling import short
from proofs.search.worst import worst
from scheduler.domains import Domain
from scheduler.policies.rule import Pick

#: Time of a search unless another is asked for [s].
TIME_LIMIT_S = 60.0
#: What is said where there is no state: a choice that is not strictly the best is none.
NONE_EXISTS = "none exists within the ranges, ties left out (proved)"
_TIME = Domain(0, 86_400, unit="s", low_open=True)


def search(
    question: Question | SequenceQuestion,
    *,
    time_limit_s: float = TIME_LIMIT_S,
    on_progress: OnProgress | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Answer:
    """Find states.

    Every state of the answer was confirmed by the shipped rules. Interrupted by the user, it returns what it has.

    Args:
        question: what is wanted.
        time_limit_s: time for the whole search, > 0 [s].
        on_progress: is told in words what is being done.
        clock: gives the time [s].

    Raises:
        BadInput: for a time limit outside its domain, or a rule that cannot be searched.

    Example:
        >>> from scheduler import policy
        >>> answer = search(Question(policy("join_shortest_queue")))
        >>> answer.verdict.value, answer.best.size, answer.how
        ('found', 5, 'solver: optimal')
    """
    _TIME.check("time_limit_s", time_limit_s)
    budget = Budget(time_limit_s, clock, on_progress)
    if isinstance(question, SequenceQuestion):
        with running([question.rule]):
            return search_sequence(budget, question)
    for policy in question.policies:
        checked(policy)
    for knob in question.free:
        check_free(question.rule, knob.name)
    with running(question.policies):
        return _answered(budget, question)


def _answered(budget: Budget, question: Question) -> Answer:
    progress = Progress()
    try:
        how = _run(budget, question, progress)
    except (Interrupted, KeyboardInterrupt):
        progress.interrupted = True
        how = "interrupted"
    verdict = Verdict.NONE if progress.none and not progress.states else Verdict.UNDECIDED
    if progress.states and not progress.undecided:
        verdict = Verdict.FOUND
    if progress.states and not progress.interrupted and draws_ties(question):
        how += "; ties, which are drawn, are left out"
    return Answer(
        verdict=verdict,
        how=how,
        states=tuple(with_knob_ranges(question, found) for found in progress.states),
        bound=progress.bound,
        seconds=budget.spent_s(),
        interrupted=progress.interrupted,
        solver=solver_name(),
    )


def draws_ties(question: Question) -> bool:
    """True if a rule whose choice the question is about draws among equal instances."""
    asked = [question.rule, *([question.against] if question.against is not None else [])]
    return any(policy.pick is not Pick.FIRST for policy in asked)


def _run(budget: Budget, question: Question, progress: Progress) -> str:
    """Fill ``progress``; returns how the result was obtained."""
    try:
        if exists(budget, question) is False:
            progress.none = True
            return NONE_EXISTS
        _solve(budget.part(0.7), question, progress)
    except NotFixed as rule:
        return _enumerate(budget, question, progress, f"the memory of {rule} may depend on the state")
    return _told(budget, question, progress)


def _solve(budget: Budget, question: Question, progress: Progress) -> None:
    if question.objective == "worst":
        worst(budget, question, progress)
    elif question.objective == "diverse":
        diverse(budget, question, progress)
    else:
        smallest(budget, question, progress)


def _told(budget: Budget, question: Question, progress: Progress) -> str:
    if progress.none:
        return NONE_EXISTS + steps_told(question)
    many = question.objective == "diverse"
    dropped = f"; {progress.dropped} states of the solver did not replay" if progress.dropped else ""
    if not progress.states:
        return _enumerate(budget, question, progress, "the solver gave up" + dropped)
    if progress.cheapest:
        return f"solver: found; {_priced(question)}{dropped}"
    if progress.optimal:
        return ("solver: each the smallest of its region" if many else "solver: optimal") + dropped
    if question.objective == "worst" and progress.bound is not None:
        known = f"; no state has a regret of {short(progress.bound)} or more (proved)"
    elif question.objective == "smallest":
        known = f"; none of size {progress.below} or less (proved)"
    else:
        known = ""
    return f"solver: found, optimality not shown{known}{dropped}"


def _priced(question: Question) -> str:
    positive = " of positive cost" if question.regret == "ratio" else ""
    another = f"another instance{positive} under {question.cost.label}"
    return f"in no state does the choice cost as much as {another} (proved)"


def _enumerate(budget: Budget, question: Question, progress: Progress, why: str) -> str:
    """Fall back on enumeration, and say how far it went.

    The first state by increasing size is the smallest there is; of the worst only the worst looked at is known,
    so that answer stays undecided.
    """
    if not can_enumerate(question):
        return f"undecided: {why}"
    first = question.objective != "worst"
    done = enumerate_states(budget, question, stop_at_first=first)
    progress.states = list(done.states)
    if not all(v.counted for v in variables(question)):
        why += "; fractions and speeds at the ends and the middle of their range only"
    if not done.states:
        return f"undecided: {why}; enumeration up to size {done.size} ({done.count} states) found none"
    if first:
        progress.optimal = question.objective == "smallest"
        return f"enumeration: the smallest, every state up to size {done.size} was tried ({why})"
    progress.undecided = True
    return f"undecided: {why}; the worst of all {done.count} states up to size {done.size} is shown"
