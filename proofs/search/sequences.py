"""Bounded model check: up to k arrivals from which a rule reaches an imbalance, with the accounting as transition.

The model. Each arrival is *hot* (its prompt starts with the shared prefix) or *cold* (nothing of it is cached). The
rule routes it; the accounting books it: one more waiting, its uncached tokens queued. Before an arrival the cluster may
*catch up*: all prefill is done, so nothing waits or is queued, and who got a hot request now holds the prefix. Nothing
completes. Arrivals and pauses are free; the rule's choices are those of the shipped rule on solver terms. Whatever is
found is run again with :class:`scheduler.Accounting` and :func:`scheduler.decide`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import z3

from proofs.ops import Z3
from proofs.search.arrivals import SequenceQuestion, Step, last_state, run_steps
from proofs.search.conditions import exact_where_numbers
from proofs.search.question import Answer, Found, Verdict
from proofs.search.solver import Budget, Interrupted, solver_name
from proofs.terms import number
from scheduler.indicators import indicators_of
from scheduler.policies.reading import chosen, read
from scheduler.policies.rule import Pick
from scheduler.state_json import StateFile


@dataclass(frozen=True)
class _Instance:
    running: Any
    waiting: Any
    queued: Any
    holds: Any
    pending: Any


def search_sequence(budget: Budget, question: SequenceQuestion) -> Answer:
    """The fewest arrivals that reach the imbalance; see :func:`proofs.search.search`."""
    found, interrupted, how, verdict = None, False, "", Verdict.UNDECIDED
    done = 0
    try:
        for count in range(1, question.arrivals + 1):
            budget.tell(f"can {count} arrivals do it?")
            steps = _ask(budget, question, count)
            if steps is None:
                done = count
                continue
            if not steps:
                how = f"undecided: the solver gave up at {count} arrivals; none of up to {done} do it (proved)"
                break
            found = run_steps(question, steps)
            if found is None:
                how = f"undecided: a sequence of {count} arrivals did not replay"
                break
            verdict, how = Verdict.FOUND, f"solver: optimal, {count} arrivals; none of up to {done} do it"
            break
        else:
            verdict, how = Verdict.NONE, f"no sequence of up to {done} arrivals does it (proved within the model)"
    except (Interrupted, KeyboardInterrupt):
        interrupted, how = True, f"interrupted; none of up to {done} arrivals does it"
    states = () if found is None else (found,)
    return Answer(verdict, how, states, None, budget.spent_s(), interrupted, solver_name())


def sequence_twin(budget: Budget, question: SequenceQuestion, found: Found) -> StateFile | None:
    """The same arrivals with other pauses after which the loads are level and every instance holds the prefix.

    Returns:
        The state after the last arrival; None if no pauses do it, or the solver gave up.

    Raises:
        Interrupted: by the user.
    """
    steps = _ask(budget, question, len(found.steps), level=[hot for _, hot, _ in found.steps])
    return None if not steps else last_state(question, steps)


def _ask(
    budget: Budget, question: SequenceQuestion, count: int, *, level: Sequence[bool] | None = None
) -> list[Step] | None:
    """Steps that reach the imbalance, or for given arrivals (hot or cold) steps that leave the loads level.

    Returns:
        None if there are none; an empty list if the solver gave up.
    """
    if budget.left_s() <= 0:
        return []
    choices = [z3.Int(f"choice_{step}") for step in range(count)]
    hot = [z3.Bool(f"hot_{step}") for step in range(count)]
    caught = [z3.Bool(f"caught_up_{step}") for step in range(count)]
    given: list[Any] = [z3.Not(caught[0])]
    zero, no = number(0), z3.BoolVal(False)
    now = [_Instance(zero, zero, zero, no, no) for _ in range(question.instances)]
    for step in range(count):
        now = [_after_pause(x, caught[step]) for x in now]
        given.append(_routed(question, now, hot[step], choices[step]))
        now = [_dispatched(question, x, hot[step], choices[step] == index) for index, x in enumerate(now)]
        if step:  # by symmetry the first goes to instance 0, with every rule that does not read the place
            continue
        given.append(choices[0] == 0)
    if level is None:
        given += _imbalanced(question, now)
    else:
        given += [term == told for term, told in zip(hot, level, strict=True)]
        loads = [x.running + x.waiting for x in now]
        given += [Z3.most(loads) - Z3.least(loads) <= 1, *(x.holds for x in now)]
    solver = z3.Solver()
    solver.set("timeout", max(1, int(1000 * budget.left_s())))
    solver.add(*given)
    answer = solver.check()
    if answer == z3.unsat:
        return None
    if answer == z3.unknown:
        if "interrupted" in solver.reason_unknown():
            raise Interrupted
        return []
    model = solver.model()
    return [
        Step(
            _is_true(model, caught[i]), _is_true(model, hot[i]), model.eval(choices[i], model_completion=True).as_long()
        )
        for i in range(count)
    ]


def _is_true(model: Any, term: Any) -> bool:
    return bool(z3.is_true(model.eval(term, model_completion=True)))


def _after_pause(x: _Instance, caught: Any) -> _Instance:
    """As after ``first_token`` of every request that waits."""
    return _Instance(
        running=z3.If(caught, x.running + x.waiting, x.running),
        waiting=z3.If(caught, number(0), x.waiting),
        queued=z3.If(caught, number(0), x.queued),
        holds=z3.Or(x.holds, z3.And(caught, x.pending)),
        pending=z3.And(x.pending, z3.Not(caught)),
    )


def _seen(question: SequenceQuestion, now: Sequence[_Instance], hot: Any) -> list[Any]:
    prompt = z3.If(hot, number(question.hot_tokens), number(question.cold_tokens))
    return [
        indicators_of(
            Z3,
            running=x.running,
            waiting=x.waiting,
            queued_prefill_tokens=x.queued,
            hit_tokens=z3.If(z3.And(hot, x.holds), number(question.prefix_tokens), number(0)),
            prompt_tokens=prompt,
            block_tokens=number(question.block_tokens),
        )
        for x in now
    ]


def _routed(question: SequenceQuestion, now: Sequence[_Instance], hot: Any, choice: Any) -> Any:
    """The rule's choice by its own tie rule; where ties are drawn, any of them may be."""
    keys, eligible = read(exact_where_numbers(question.rule), Z3, _seen(question, now, hot))
    found = [choice >= 0, choice < len(now)]
    for index in range(len(now)):
        order = list(range(len(now)))
        if question.rule.pick is not Pick.FIRST:  # the shipped choice with the instance moved to the front
            order = [index, *(other for other in order if other != index)]
        taken = chosen(Z3, [keys[i] for i in order], [eligible[i] for i in order], order.index(index))
        found.append(z3.Implies(choice == index, taken))
    return z3.And(found)


def _dispatched(question: SequenceQuestion, x: _Instance, hot: Any, here: Any) -> _Instance:
    """As after ``dispatched`` with the uncached tokens that the indicators say."""
    [indicators] = _seen(question, [x], hot)
    return _Instance(
        running=x.running,
        waiting=x.waiting + z3.If(here, number(1), number(0)),
        queued=x.queued + z3.If(here, indicators.new_prefill_tokens, number(0)),
        holds=x.holds,
        pending=z3.Or(x.pending, z3.And(here, hot)),
    )


def _imbalanced(question: SequenceQuestion, now: Sequence[_Instance]) -> list[Any]:
    loads = [x.running + x.waiting for x in now]
    mean = z3.Sum(loads) / len(loads)
    spread = Z3.most(loads) - Z3.least(loads)
    return [spread >= question.gap, z3.Or([load >= number(question.imbalance) * mean for load in loads])]
