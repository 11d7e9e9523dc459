"""Confirming a state by the shipped rules: floats, :func:`scheduler.decide`, nothing of the solver.

A state that does not replay is never reported; the search says how many it dropped.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from proofs.search.conditions import Reading, exact_where_numbers, read_rules, regions, shows
from proofs.search.knobs import value_at
from proofs.search.question import Found, Question
from proofs.search.situation import consistent, situation, size, state_file, variables
from scheduler.errors import BadInput
from scheduler.ops import SCALAR
from scheduler.policies.choosing import decide, observe
from scheduler.policies.reading import Key, read
from scheduler.policies.rule import Policy
from scheduler.state_json import StateFile

Values = Mapping[str, Fraction]


def whole_values(question: Question, model: Values, prefix: str = "") -> dict[str, int]:
    """The whole numbers of a state from a model; with a prefix, those that differ in the true state."""
    return {v.name: int(model.get(prefix + v.name, model[v.name])) for v in variables(question)}


def settled(question: Question, model: Values) -> Policy:
    """The rule with the knobs that the model sets; a knob it must hold at every value of keeps its low end."""
    values: dict[str, Any] = {}
    for free in question.free:
        if free.every:
            values[free.name] = free.low
            continue
        values[free.name] = value_at(question, free, int(model[f"knob_{free.name}"]))
    return Policy(question.rule.rule, {**question.rule.values, **values})


def choice(policy: Policy, file: StateFile, seed: int = 0) -> int | None:
    """What the shipped rule takes, or None if other instances are as good."""
    decision, _ = decide(policy, file.state, file.request, rng=random.Random(seed))
    return decision.instance if decision.ties == (decision.instance,) else None


def replayed(question: Question, model: Values) -> Found | None:
    """The state as the shipped rules see it, or None if they do not confirm it.

    Confirmed means: the numbers lie in their domains and within the size asked for, the choices of
    :func:`scheduler.decide` are unique and are those the kind asks for, and the kind's condition holds on exact
    numbers.
    """
    values = whole_values(question, model)
    if question.max_size is not None and size(question, values) > question.max_size:
        return None
    rules = _settings(question, model)
    try:
        file = state_file(question, values, rules[0].label)
        chosen = choice(rules[0], file)
        other = None if question.against is None else choice(question.against, file)
    except BadInput:
        return None
    truth = None
    if question.kind == "noise":
        truth = state_file(question, whole_values(question, model, "true_"))
        other = choice(rules[0], truth)
    reading = exact_reading(question, model, rules)
    if chosen is None or reading is None or any(choice(rule, file) != chosen for rule in rules):
        return None
    shown = [pair for pair in _pairs(question, chosen, other) if shows(question, reading, *pair)]
    if not shown:
        return None
    costs = tuple(_exact(cost) for cost in reading.costs)
    return Found(
        file=file,
        policy=rules[0].label,
        against=None if question.against is None else question.against.label,
        chosen=chosen,
        other=shown[0][1],
        size=int(size(question, values)),
        costs=costs,
        regret=regret_of(question, costs, chosen),
        rule=rules[0],
        regions={name: bool(held) for name, held in regions(reading, *shown[0]).items()},
        truth=truth,
    )


def _settings(question: Question, model: Values) -> list[Policy]:
    """The rule as it must be asked: once, or at both ends of a knob that may have every value."""
    rule = settled(question, model)
    both = [free for free in question.free if free.every]
    ends = [Policy(rule.rule, {**rule.values, free.name: end}) for free in both for end in (free.low, free.high)]
    return ends or [rule]


def _pairs(question: Question, chosen: int, other: int | None) -> Sequence[tuple[int, int]]:
    if other is not None:
        return [(chosen, other)] if other != chosen else []
    return [(chosen, index) for index in range(question.instances) if index != chosen]


def exact_reading(question: Question, model: Values, rules: Sequence[Policy] | None = None) -> Reading | None:
    """Every rule on exact numbers; None if the numbers do not belong together.

    The memories of the rules are asked for what they recall of the concrete state, so this needs no assumption on them.
    """
    values = {name: Fraction(value) for name, value in whole_values(question, model).items()}
    seen = situation(SCALAR, question, values)
    if not all(consistent(SCALAR, question, seen)):
        return None
    file = state_file(question, whole_values(question, model))
    truth = None
    if question.kind == "noise":
        true = {name: Fraction(value) for name, value in whole_values(question, model, "true_").items()}
        truth = situation(SCALAR, question, true)
        if not all(consistent(SCALAR, question, truth)):
            return None
    settings = rules or _settings(question, model)
    recalled = {policy.label: _recalled(policy, file) for policy in (*settings, *question.policies)}
    return read_rules(SCALAR, question, seen, settings=settings, recalled=recalled, truth=truth)


def _recalled(policy: Policy, file: StateFile) -> list[dict[str, Fraction]]:
    memory = policy.rule.memory
    if memory is None:
        return [{}] * len(file.state)
    start = memory.start(len(file.state), policy.knobs)
    told = memory.recall(start, file.request, file.state, policy.knobs, random.Random(0))
    return [{name: Fraction(column[i]) for name, column in told.items()} for i in range(len(file.state))]


def scores_of(policy: Policy, file: StateFile) -> tuple[list[Key], list[bool]]:
    """Keys and eligibility of every instance, from the state as it was saved; exact where its numbers are whole."""
    recalled = _recalled(policy, file)
    columns = {name: [entry[name] for entry in recalled] for name in (recalled[0] if recalled else {})}
    return read(exact_where_numbers(policy), SCALAR, observe(file.state, file.request, columns))


def costs_of(cost: Policy, file: StateFile) -> tuple[Fraction, ...]:
    """The cost of every instance: see :func:`scores_of`."""
    return tuple(_exact(key[0]) for key in scores_of(cost, file)[0])


def _exact(value: Any) -> Fraction:
    return Fraction(repr(value)) if isinstance(value, float) else Fraction(value)


def regret_of(question: Question, costs: Sequence[Fraction], chosen: int) -> Fraction | None:
    """Cost of the choice over the least cost, or less it; None for a ratio if a cost is not > 0."""
    least = min(costs)
    if question.regret == "difference":
        return costs[chosen] - least
    return costs[chosen] / least if least > 0 else None
