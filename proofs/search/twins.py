"""The safe twin of a state: the nearest one in which nothing is wrong, by the sum of changes of its whole numbers.

What "nothing is wrong" means is the kind's own: the two rules agree; the choice is not dominated; the cold instance
gets the request; no noise within eps can flip the choice. Where speeds are told, they are equal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import z3

from proofs.search.conditions import Reading, all_of, any_of, dominates, is_idle, takes
from proofs.search.guarding import running
from proofs.search.origin import model_of
from proofs.search.question import Found, Question
from proofs.search.replaying import choice, exact_reading, whole_values
from proofs.search.situation import NotFixed, state_file
from proofs.search.solver import Budget, Interrupted, Reply, Terms, ask, terms_of
from scheduler.formulas import noise_factor
from scheduler.state_json import StateFile

_FIRST = 1
_FARTHEST = 2**24


def is_safe(question: Question, r: Reading, found: Found) -> Any:
    """The condition that nothing is wrong, over Ops."""
    return any_of(r.ops, [_safe_at(question, r, found, index) for index in range(len(r.instances))])


def _safe_at(question: Question, r: Reading, found: Found, index: int) -> Any:
    ops, (keys, eligible) = r.ops, r.rules[0]
    taken = [takes(ops, keys, eligible, index)]
    others = [other for other in range(len(r.instances)) if other != index]
    if r.against is not None:
        taken.append(takes(ops, *r.against, index))
    if question.kind == "dominated":
        taken += [ops.not_(dominates(ops, r.instances[other], r.instances[index])) for other in others]
    elif question.kind == "starvation":
        cold = r.instances[index]
        taken += [is_idle(cold), cold.hit_tokens <= 0, index == found.other]
    elif question.kind == "noise":
        eps = Fraction(repr(question.eps))
        factor = noise_factor(eps, eps)
        parts, times = factor.denominator, factor.numerator
        taken += [parts * keys[other][0] > times * keys[index][0] for other in others]
    speeds = [x.prefill_s_per_token for x in r.instances]
    if speeds[0] is not None:
        taken += [ops.eq(speed, speeds[0]) for speed in speeds[1:]]
    return all_of(ops, taken)


def safe_twin(budget: Budget, question: Question, found: Found) -> StateFile | None:
    """The nearest safe state, or None if the solver finds none in time.

    It is the nearest that the solver found; that it is the nearest of all is not promised.

    Raises:
        Interrupted: by the user.
        BadInput: if a rule of one's own cannot be run.
    """
    with running(question.policies, passing=(Interrupted,)):
        return _nearest(budget, question, found)


def _nearest(budget: Budget, question: Question, found: Found) -> StateFile | None:
    fixed = _fixed(question, found)
    try:
        terms = terms_of(fixed)
    except NotFixed:
        return None
    origin = model_of(fixed, found)
    safe = is_safe(fixed, terms.reading, found)
    distance = z3.Sum([_apart(terms.values[v.name], int(origin[v.name])) for v in terms.names])
    best, below, bound = None, 0, _FIRST
    while bound <= _FARTHEST and budget.left_s() > 0:
        reply = _near(budget, terms, origin, [safe, distance <= bound], bound)
        if isinstance(reply, dict):
            best = _confirmed(fixed, found, reply)
            break
        below, bound = bound, bound * 2
    while best is not None and below + 1 < bound and budget.left_s() > 0:
        middle = (below + bound) // 2
        reply = _near(budget, terms, origin, [safe, distance <= middle], middle)
        twin = _confirmed(fixed, found, reply) if isinstance(reply, dict) else None
        if twin is None:
            below = middle
        else:
            best, bound = twin, middle
    return best


def _fixed(question: Question, found: Found) -> Question:
    """The question with the knobs of the state that was found, without limits on its size and regret."""
    return dataclasses.replace(question, rule=found.rule, free=(), objective="smallest", min_regret=None, max_size=None)


def _apart(term: Any, value: int) -> Any:
    return z3.If(term >= value, term - value, value - term)


def _near(
    budget: Budget, terms: Terms, origin: Mapping[str, Fraction], wanted: list[Any], bound: int
) -> dict[str, Fraction] | Reply:
    budget.tell(f"is there a safe state within {bound}?")
    box = [
        z3.And(terms.values[v.name] <= origin[v.name] + bound, terms.values[v.name] >= origin[v.name] - bound)
        for v in terms.names
    ]
    return ask(budget, terms, [*wanted, *box], limit_s=3)


def _confirmed(question: Question, found: Found, model: Mapping[str, Fraction]) -> StateFile | None:
    """The twin as a state, if the shipped rules agree that it is safe."""
    values = whole_values(question, model)
    plain = {**{name: Fraction(value) for name, value in values.items()}}
    plain |= {f"true_{name}": Fraction(value) for name, value in values.items()}
    reading = exact_reading(question, plain)
    file = state_file(question, values, found.policy)
    if reading is None or not is_safe(question, reading, found):
        return None
    taken = choice(found.rule, file)
    if taken is None or (question.against is not None and choice(question.against, file) != taken):
        return None
    return file
