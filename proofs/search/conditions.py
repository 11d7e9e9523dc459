"""What each kind of question asks of a state, over Ops: solver, exact numbers and arrays read the same lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from typing import Any

from proofs.search.question import Question
from proofs.search.situation import Situation, indicators, is_symmetric
from scheduler import formulas
from scheduler.errors import BadInput
from scheduler.indicators import Indicators, indicators_of
from scheduler.ops import Number, Ops
from scheduler.policies.reading import Key, chosen, exact, read
from scheduler.policies.rule import Policy


@dataclass(frozen=True)
class Reading:
    """The rules of a question read on one state.

    Args:
        ops: the world.
        instances: indicators without any rule's memory.
        rules: keys and eligibility of the rule, once for each setting of its knobs at which the kind must hold.
        against: keys and eligibility of the other rule, or None.
        costs: of every instance.
        truth: for ``noise``, the same of the true state: its instances and the rule's keys on them.
    """

    ops: Ops
    instances: Sequence[Indicators]
    rules: Sequence[tuple[Sequence[Key], Sequence[Any]]]
    against: tuple[Sequence[Key], Sequence[Any]] | None
    costs: Sequence[Number]
    truth: tuple[Sequence[Indicators], tuple[Sequence[Key], Sequence[Any]]] | None = None


def takes(ops: Ops, keys: Sequence[Key], eligible: Sequence[Any], index: int) -> Any:
    """The instance is strictly the best: the shipped choice with the instance moved to the end of the list."""
    order = [*(other for other in range(len(keys)) if other != index), index]
    return chosen(ops, [keys[i] for i in order], [eligible[i] for i in order], len(keys) - 1)


def all_of(ops: Ops, conditions: Sequence[Any]) -> Any:
    """All conditions hold."""
    return reduce(ops.and_, conditions)


def any_of(ops: Ops, conditions: Sequence[Any]) -> Any:
    """At least one condition holds."""
    return reduce(ops.or_, conditions)


def dominates(ops: Ops, a: Indicators, b: Indicators) -> Any:
    """P-token and batch size of a are both no greater, and one is less."""
    return formulas.dominates(ops, a.p_token, a.batch_size, b.p_token, b.batch_size)


def is_idle(x: Indicators) -> Any:
    """Nothing runs or waits."""
    return x.batch_size <= 1


def read_rules(
    ops: Ops,
    question: Question,
    seen: Situation,
    *,
    settings: Sequence[Policy] | None = None,
    recalled: Mapping[str, Any] | None = None,
    truth: Situation | None = None,
    as_shipped: bool = False,
) -> Reading:
    """Read every rule of the question on a state.

    Args:
        ops: the world.
        question: names the rules.
        seen: the state; for ``noise`` what is observed.
        settings: the rule with its knobs set; the rule of the question if None.
        recalled: memories by label of the rule, where they are not constant.
        truth: for ``noise``, the true state.
        as_shipped: True reads float knobs as floats, as the scheduler does; False as exact decimals.

    Raises:
        BadInput: if the score of the cost is not one number.
    """
    recalled = recalled or {}

    def keys(policy: Policy, state: Situation) -> tuple[Sequence[Key], Sequence[Any]]:
        known = indicators(ops, policy, state, recalled.get(policy.label) if recalled else None)
        return read(policy if as_shipped else exact_where_numbers(policy), ops, known)

    costs, _ = keys(question.cost, seen)
    if len(costs[0]) > 1:
        raise BadInput("cost", question.cost.label, "a rule whose score is one number")
    plain = [indicators_free(ops, columns, seen) for columns in seen.columns]
    return Reading(
        ops=ops,
        instances=plain,
        rules=[keys(policy, seen) for policy in settings or (question.rule,)],
        against=None if question.against is None else keys(question.against, seen),
        costs=[key[0] for key in costs],
        truth=None
        if truth is None
        else ([indicators_free(ops, columns, truth) for columns in truth.columns], keys(question.rule, truth)),
    )


def indicators_free(ops: Ops, columns: Mapping[str, Number], seen: Situation) -> Indicators:
    """Indicators of one instance without a rule's memory."""
    return indicators_of(ops, **columns, **seen.request)


def exact_where_numbers(policy: Policy) -> Policy:
    """Numeric knobs as exact decimals; a knob that is a solver term stays."""
    terms = {name: value for name, value in policy.values.items() if hasattr(value, "sexpr")}
    plain = exact(Policy(policy.rule, {name: value for name, value in policy.values.items() if name not in terms}))
    return Policy(policy.rule, {**plain.values, **terms})


def pairs(question: Question) -> list[tuple[int, int]]:
    """Which instance is taken, and which one it is compared with: one pair if places do not matter, else all."""
    count = question.instances
    if is_symmetric(question.policies, count):
        return [(0, 1)]
    return [(taken, other) for taken in range(count) for other in range(count) if taken != other]


def shows(question: Question, r: Reading, taken: int, other: int) -> Any:
    """The condition of the kind, for a pair of instances."""
    ops, x, y = r.ops, r.instances[taken], r.instances[other]
    found = [takes(ops, keys, eligible, taken) for keys, eligible in r.rules]
    if r.against is not None:
        found.append(takes(ops, *r.against, other))
    if question.kind == "dominated":
        found.append(dominates(ops, y, x))
    elif question.kind == "zero_collapse":
        found += [x.hit_tokens >= x.prompt_tokens, x.queued_prefill_tokens <= 0, is_idle(y), x.batch_size >= 2]
    elif question.kind == "idle_collapse":
        found += [is_idle(x), y.batch_size >= 2, y.hit_tokens > x.hit_tokens]
    elif question.kind == "starvation":
        found += [is_idle(y), y.hit_tokens <= 0]
        warm = [instance for index, instance in enumerate(r.instances) if index != other]
        found += [condition for w in warm for condition in (w.hit_tokens > 0, w.batch_size >= 2)]
    elif question.kind == "noise":
        assert r.truth is not None
        true_instances, true_keys = r.truth
        found.append(takes(ops, *true_keys, other))
        found += _within(ops, question.eps, r.instances, true_instances)
    if question.min_regret is not None:
        found.append(regret_at_least(question, r, taken, Fraction(repr(question.min_regret))))
    return all_of(ops, found)


def _within(ops: Ops, eps: float, seen: Sequence[Indicators], true: Sequence[Indicators]) -> list[Any]:
    """P-token and batch size as observed are within ``1 +- eps`` of the truth; hits and prompt are known."""
    exact_eps = Fraction(repr(eps))
    parts, off = exact_eps.denominator, exact_eps.numerator
    found: list[Any] = []
    for a, b in zip(seen, true, strict=True):
        for observed, real in ((a.p_token, b.p_token), (a.batch_size, b.batch_size)):
            found.append(ops.and_((parts - off) * real <= parts * observed, parts * observed <= (parts + off) * real))
    return found


def regret_at_least(question: Question, r: Reading, taken: int, bound: Fraction, *, strictly: bool = False) -> Any:
    """The cost of the choice is at least ``bound`` times the least cost, or ``bound`` more than it.

    Multiplied out by the denominator: whole numbers are numbers in every world.
    """
    ops, parts = r.ops, bound.denominator
    chosen_cost = parts * r.costs[taken]
    found = []
    for index, cost in enumerate(r.costs):
        if index == taken:
            continue
        ratio = question.regret == "ratio"
        limit = bound.numerator * cost if ratio else parts * cost + bound.numerator
        more = chosen_cost > limit if strictly else chosen_cost >= limit
        found.append(ops.and_(more, cost > 0) if ratio else more)
    return any_of(ops, found)


def regions(r: Reading, taken: int, other: int) -> dict[str, Any]:
    """What tells states of one kind apart: which of two instances has what, and whether a filter decides."""
    ops, x, y = r.ops, r.instances[taken], r.instances[other]
    everywhere = all_of(ops, list(r.rules[0][1]))
    return {
        "the choice has the smaller batch": x.batch_size < y.batch_size,
        "the choice has the smaller P-token": x.p_token < y.p_token,
        "the choice holds more of the prompt": x.hit_tokens > y.hit_tokens,
        "prefill is queued on the choice": x.queued_prefill_tokens > 0,
        "prefill is queued on the other": y.queued_prefill_tokens > 0,
        "the filter keeps all": everywhere,
    }
