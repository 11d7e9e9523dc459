"""One decision in any world: from whole numbers, each of a stated range, to what the rules read.

The same lines serve the solver (integer terms), exact numbers, and arrays over many states. :func:`consistent` says
what belongs together: an idle instance has nothing queued, no hit is longer than the prompt, and so on.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from proofs.search.question import Question, Ranges
from scheduler.indicators import Indicators, indicators_of
from scheduler.ops import Number, Ops
from scheduler.policies.catalogue import CATALOGUE
from scheduler.policies.common import FULL_BLOCKS
from scheduler.policies.rule import Policy
from scheduler.state import REQUIRED_COLUMNS, ClusterState, Request
from scheduler.state_json import StateFile


@dataclass(frozen=True)
class Variable:
    """A whole number ``low..high``; the quantity is ``step`` times it.

    Args:
        name: of the quantity, with the index of the instance.
        low, high: range of the whole number.
        step: what one is worth, in the unit of the quantity.
        counted: True if it belongs to the size: tokens, requests, blocks.
    """

    name: str
    low: int
    high: int
    step: Fraction = Fraction(1)
    counted: bool = True


@dataclass(frozen=True)
class Situation:
    """What is known of every instance and of the request, in some world.

    Args:
        columns: one mapping an instance, by name of the column.
        request: by name of the field.
        full_block_tokens: tokens in the full blocks of the prompt, at least 1.
    """

    columns: tuple[Mapping[str, Number], ...]
    request: Mapping[str, Number]
    full_block_tokens: Number


class NotFixed(Exception):
    """A rule's memory depends on the state in a way that only its own code knows."""


def needs_of(policies: Sequence[Policy]) -> tuple[str, ...]:
    """The optional columns that any of the rules reads."""
    return tuple(dict.fromkeys(name for policy in policies for name in policy.needs))


def variables(question: Question) -> list[Variable]:
    """Every whole number of a state, the request's first."""
    ranges, needs = question.ranges, needs_of(question.policies)
    found = [Variable("prompt_tokens", 1, ranges.prompt_tokens_max)]
    if "expected_output_tokens" in needs:
        found.append(Variable("expected_output_tokens", 1, 4096))
    for index in range(question.instances):
        found += [
            column for column in _columns(ranges, f"_{index}") if _base(column.name) in (*REQUIRED_COLUMNS, *needs)
        ]
    return found


def _base(name: str) -> str:
    return name.rpartition("_")[0]


def _columns(ranges: Ranges, suffix: str) -> list[Variable]:
    step = ranges.block_tokens if ranges.aligned_hits else 1
    blocks = -(-ranges.prompt_tokens_max // ranges.block_tokens)
    return [
        Variable(f"running{suffix}", 0, ranges.batch_size_max - 1),
        Variable(f"waiting{suffix}", 0, ranges.batch_size_max - 1),
        Variable(f"queued_prefill_tokens{suffix}", 0, ranges.queued_prefill_tokens_max),
        Variable(f"hit_tokens{suffix}", 0, ranges.prompt_tokens_max // step, Fraction(step)),
        Variable(f"context_tokens{suffix}", 0, ranges.context_tokens_max),
        Variable(f"kv_used_fraction{suffix}", 0, 100, Fraction(1, 100), counted=False),
        Variable(f"active_blocks{suffix}", 0, ranges.active_blocks_max),
        Variable(f"added_blocks{suffix}", 0, blocks),
        Variable(f"prefill_s_per_token{suffix}", 1, 100, Fraction(1, 100_000), counted=False),
        Variable(f"decode_s_per_request{suffix}", 0, 100, Fraction(1, 1_000_000), counted=False),
        Variable(f"base_s{suffix}", 0, 100, Fraction(1, 1_000), counted=False),
        Variable(f"kv_s_per_token{suffix}", 0, 100, Fraction(1, 1_000_000_000), counted=False),
        Variable(f"attention_s_per_pair{suffix}", 0, 100, Fraction(1, 1_000_000_000), counted=False),
    ]


def situation(
    ops: Ops, question: Question, values: Mapping[str, Number], *, full_block_tokens: Number | None = None
) -> Situation:
    """The quantities of a state.

    Args:
        ops: the world.
        question: for the ranges.
        values: the whole numbers by name of the variable.
        full_block_tokens: where rounding down cannot be read, a term that stands for it.
    """
    block = question.ranges.block_tokens
    scaled = {v.name: _quantity(ops, v, values[v.name]) for v in variables(question)}
    columns = tuple(
        {_base(name): value for name, value in scaled.items() if name.endswith(f"_{index}")}
        for index in range(question.instances)
    )
    request = {
        "prompt_tokens": scaled["prompt_tokens"],
        "block_tokens": Fraction(block) if ops.name != "states" else block,
    }
    if "expected_output_tokens" in scaled:
        request["expected_output_tokens"] = scaled["expected_output_tokens"]
    if full_block_tokens is None:
        full_block_tokens = ops.max_(1, ops.floor(request["prompt_tokens"] / block) * block)
    return Situation(columns, request, full_block_tokens)


def _quantity(ops: Ops, variable: Variable, value: Number) -> Number:
    """A whole number times its step; arrays are divided once, which rounds as reading the decimal does."""
    if variable.step == 1:
        return value
    if ops.name == "states":
        return value * variable.step.numerator / variable.step.denominator
    return value * variable.step


def indicators(
    ops: Ops, policy: Policy, seen: Situation, recalled: Sequence[Mapping[str, Number]] | None = None
) -> list[Indicators]:
    """What a rule reads of every instance.

    Args:
        ops: the world.
        policy: its memory is at its start.
        seen: the state.
        recalled: its columns, where they are not constant; see :func:`recalled_at_start`.
    """
    if recalled is None:
        recalled = recalled_at_start(policy, len(seen.columns), seen.full_block_tokens)
    return [
        indicators_of(ops, recalled=memory, **columns, **seen.request)
        for columns, memory in zip(seen.columns, recalled, strict=True)
    ]


def recalled_at_start(policy: Policy, count: int, full_block_tokens: Number) -> list[Mapping[str, Number]]:
    """What the rule's memory says of every instance before the first decision.

    A memory of the catalogue is asked about three states that differ in everything; if it says the same of all, it is
    constant. Of any other memory three answers prove nothing.

    Raises:
        NotFixed: if it depends on the state, or is not of the catalogue; then only the rule's own code can tell.
    """
    memory = policy.rule.memory
    if memory is None:
        return [{}] * count
    if memory is FULL_BLOCKS:
        return [{"full_block_tokens": full_block_tokens}] * count
    if all(rule.memory is not memory for rule in CATALOGUE.values()):
        raise NotFixed(policy.rule.name)
    told = [_recall(policy, count, probe) for probe in (0, 1, 2)]
    if any(other != told[0] for other in told[1:]):
        raise NotFixed(policy.rule.name)
    return [{name: Fraction(column[index]) for name, column in told[0].items()} for index in range(count)]


def _recall(policy: Policy, count: int, probe: int) -> dict[str, Any]:
    """What the memory recalls in one of several states that differ in everything."""
    memory = policy.rule.memory
    assert memory is not None
    length = 100 + 900 * probe
    view = ClusterState(
        ids=tuple(map(str, range(count))),
        running=tuple(probe * index for index in range(count)),
        waiting=(probe,) * count,
        queued_prefill_tokens=tuple(10 * probe + index for index in range(count)),
        hit_tokens=tuple(min(length, 300 * probe * index) for index in range(count)),
    )
    request = Request(id=probe, arrival_s=float(probe), prompt_tokens=length)
    told = memory.recall(memory.start(count, policy.knobs), request, view, policy.knobs, random.Random(0))
    return {name: tuple(column) for name, column in told.items()}


def is_symmetric(policies: Sequence[Policy], count: int) -> bool:
    """True if no rule tells the instances apart by their place, ties aside."""
    for policy in policies:
        try:
            recalled = recalled_at_start(policy, count, 1)
        except NotFixed:
            continue
        if any(entry != recalled[0] for entry in recalled):
            return False
    return True


def consistent(ops: Ops, question: Question, seen: Situation, *, relaxed: bool = False) -> list[Any]:
    """What belongs together in a state.

    Args:
        ops: the world.
        question: for the ranges.
        seen: the state.
        relaxed: True leaves out what only whole numbers can say; more states then pass.
    """
    prompt, block = seen.request["prompt_tokens"], question.ranges.block_tokens
    found: list[Any] = []
    for x in seen.columns:
        load = x["running"] + x["waiting"]
        found += [load + 1 <= question.ranges.batch_size_max, x["hit_tokens"] <= prompt]
        found.append(ops.or_(x["waiting"] >= 1, x["queued_prefill_tokens"] <= 0))
        for name in ("context_tokens", "kv_used_fraction", "active_blocks"):
            if name in x:
                found.append(ops.or_(load >= 1, x[name] <= 0))
        if "context_tokens" in x:
            found.append(x["context_tokens"] >= load)
        if "active_blocks" in x:  # requests may share blocks, but one at least is held
            found.append(ops.or_(load <= 0, x["active_blocks"] >= 1))
        if "added_blocks" in x:
            found += _blocks_to_add(ops, x, prompt, block, relaxed)
    return found


def _blocks_to_add(ops: Ops, x: Mapping[str, Number], prompt: Number, block: int, relaxed: bool) -> list[Any]:
    if relaxed:
        return [x["added_blocks"] <= prompt / block + 1, x["added_blocks"] >= (prompt - x["hit_tokens"]) / block]
    total = -ops.floor(-prompt / block)
    return [x["added_blocks"] <= total, x["added_blocks"] >= total - ops.floor(x["hit_tokens"] / block)]


def size(question: Question, values: Mapping[str, Number]) -> Number:
    """Sum of all tokens, requests and blocks of a state."""
    return sum(
        (values[v.name] if v.step == 1 else values[v.name] * int(v.step) for v in variables(question) if v.counted), 0
    )


def state_file(question: Question, values: Mapping[str, int], name: str | None = None) -> StateFile:
    """The state as the scheduler reads it: Python integers, and floats where a quantity is one."""
    exact = {v.name: values[v.name] * v.step for v in variables(question)}
    plain = {name: int(value) if value.denominator == 1 else float(value) for name, value in exact.items()}
    columns: dict[str, Any] = {
        column: tuple(plain[f"{column}_{index}"] for index in range(question.instances))
        for column in {_base(name): None for name in plain if name[-1].isdigit()}
    }
    request = Request(
        id=0,
        arrival_s=0.0,
        prompt_tokens=int(plain["prompt_tokens"]),
        block_tokens=question.ranges.block_tokens,
        expected_output_tokens=plain.get("expected_output_tokens"),
    )
    ids = tuple(chr(ord("a") + index) for index in range(question.instances))
    return StateFile(state=ClusterState(ids=ids, **columns), request=request, policy=name)
