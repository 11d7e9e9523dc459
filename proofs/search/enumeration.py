"""Bounded enumeration: every state up to a size, by increasing size, where the solver cannot read a rule or gives up.

All states of a size are arrays; the rules read them at once in the world STATES, by the same lines as the solver.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from proofs.search.conditions import Reading, any_of, pairs, read_rules, shows
from proofs.search.question import Found, Question
from proofs.search.replaying import replayed
from proofs.search.situation import NotFixed, Variable, consistent, recalled_at_start, situation, size, variables
from proofs.search.solver import Budget
from proofs.search.worlds import STATES

#: States of one bound that are looked at, at most.
STATES_MAX = 400_000
#: The same for rules whose memory must be asked about each state.
STATES_MAX_ASKED = 20_000
#: Fractions are tried at these shares of their range only.
_SHARES = (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class Enumerated:
    """What enumeration found.

    Args:
        states: confirmed states; the smallest, or the worst first.
        size: every state of this size or less was looked at (fractions at 0, one half and 1 of their range only).
        count: how many that were.
    """

    states: tuple[Found, ...]
    size: int
    count: int


def can_enumerate(question: Question) -> bool:
    """True if the states of this question can be listed: one state each, knobs as they are."""
    return question.kind != "noise" and not question.free


def enumerate_states(budget: Budget, question: Question, *, stop_at_first: bool = True) -> Enumerated:
    """Look at every state by increasing size.

    Args:
        budget: of time.
        question: what is wanted.
        stop_at_first: True for the smallest state; False for the greatest regret among all that were looked at.
    """
    asked = any(_is_asked(policy, question.instances) for policy in question.policies)
    limit = STATES_MAX_ASKED if asked else STATES_MAX
    done, count, best = 0, 0, None
    largest = int(size(question, {v.name: v.high for v in variables(question)}))
    for bound in range(1, min(largest, question.max_size or largest) + 1):
        if budget.left_s() <= 0:
            break
        rows = states_of_size(question, bound, limit)
        if rows is None:
            break
        budget.tell(f"enumerating {len(rows)} states of size {bound}")
        for found in _confirmed(budget, question, rows, asked, None if stop_at_first else best):
            if stop_at_first:
                return Enumerated((found,), bound - 1, count + len(rows))
            best = found
        if asked and budget.left_s() <= 0:  # perhaps not all of this size
            break
        done, count = bound, count + len(rows)
    return Enumerated((best,) if best is not None else (), done, count)


def _is_asked(policy: Any, count: int) -> bool:
    try:
        recalled_at_start(policy, count, 1)
    except NotFixed:
        return True
    return False


def states_of_size(question: Question, bound: int, limit: int) -> Any:
    """All states of exactly this size as rows of whole numbers in the order of the variables; None if too many."""
    names = variables(question)
    rows = np.zeros((1, 0), dtype=np.int64)
    used = np.zeros(1, dtype=np.int64)
    last = max(index for index, v in enumerate(names) if v.counted)
    for index, v in enumerate(names):
        rows, used = _joined(v, rows, used, bound, exactly=index == last)
        keep = _fitting(names, rows)
        rows, used = rows[keep], used[keep]
        if len(rows) > limit:
            return None
    return rows


def _joined(v: Variable, rows: Any, used: Any, bound: int, *, exactly: bool) -> tuple[Any, Any]:
    """Every row with every value of one more variable that still fits the size."""
    step = int(v.step) if v.counted else 0
    values = np.asarray(sorted({round(v.low + share * (v.high - v.low)) for share in _SHARES}))
    if v.counted:
        values = np.arange(v.low, min(v.high, bound // step) + 1)
    wide = np.repeat(rows, len(values), axis=0)
    column = np.tile(values, len(rows))
    total = np.repeat(used, len(values)) + column * step
    keep = total == bound if exactly else total <= bound
    return np.column_stack([wide, column])[keep], total[keep]


def _fitting(names: list[Variable], rows: Any) -> Any:
    """Rows whose last number does not contradict those before it; the full check comes at the end."""
    place = {v.name: index for index, v in enumerate(names[: rows.shape[1]])}
    column, _, index = names[rows.shape[1] - 1].name.rpartition("_")
    last = rows[:, -1]
    if column == "hit_tokens":
        return last * int(names[rows.shape[1] - 1].step) <= rows[:, place["prompt_tokens"]]
    if column == "queued_prefill_tokens":
        return (last == 0) | (rows[:, place[f"waiting_{index}"]] > 0)
    return np.ones(len(rows), dtype=bool)


def _confirmed(budget: Budget, question: Question, rows: Any, asked: bool, best: Found | None) -> Iterator[Found]:
    """States among the rows that the shipped rules confirm; for ``worst`` those with more regret than ``best``."""
    names = variables(question)
    seen = situation(STATES, question, {v.name: rows[:, i].astype(np.float64) for i, v in enumerate(names)})
    held = np.ones(len(rows), dtype=bool)
    for condition in consistent(STATES, question, seen):
        held &= condition
    order = np.flatnonzero(held)
    if not asked:  # else the memories are asked when the state is replayed
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            reading = read_rules(STATES, question, seen, as_shipped=True)
            held &= any_of(STATES, [shows(question, reading, *pair) for pair in pairs(question)])
        order = np.flatnonzero(held)
        if question.objective == "worst":
            regrets = _regrets(question, reading)[order]
            order = order[np.argsort(-regrets, kind="stable")]
    for row in rows[order]:
        if asked and budget.left_s() <= 0:
            return
        found = replayed(question, {v.name: Fraction(int(value)) for v, value in zip(names, row, strict=True)})
        if found is None:
            continue
        if question.objective != "worst":
            yield found
        elif found.regret is not None and (best is None or best.regret is None or found.regret > best.regret):
            best = found
            yield found
        if not asked:  # the first that is confirmed is the best of these
            return


def _regrets(question: Question, reading: Reading) -> Any:
    """The greatest regret that the choice of any pair would have, for sorting; the replay has the last word."""
    costs = np.vstack(np.broadcast_arrays(*reading.costs))
    taken = costs[[pair[0] for pair in pairs(question)]].max(axis=0)
    least = costs.min(axis=0)
    return taken - least if question.regret == "difference" else taken / np.maximum(least, 1e-300)
