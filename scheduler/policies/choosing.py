"""From a policy and a state to a decision.

:func:`decide` is the clear version: it reads the rule by Python numbers and explains itself in a :class:`Decision`.
:class:`Chooser` is the quick one for a service or a simulator: it runs the compiled rule and returns an index. A test
shows that they choose alike, draw for draw.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from scheduler.errors import BadInput
from scheduler.indicators import NOTHING, Indicators, indicators_of
from scheduler.ops import SCALAR, Number
from scheduler.policies.compiled import compile_keys
from scheduler.policies.reading import best, pick_index, read
from scheduler.policies.rule import Pick, Policy
from scheduler.state import (
    OPTIONAL_COLUMNS,
    REQUIRED_COLUMNS,
    ClusterState,
    Decision,
    Request,
    checked_hits,
    checked_request,
)


def observe(state: ClusterState, request: Request, recalled: Mapping[str, Sequence[Number]]) -> list[Indicators]:
    """The indicators of every instance, as Python numbers.

    Args:
        state: what is known of the cluster.
        request: the request at hand.
        recalled: columns from the rule's memory.
    """
    columns = {name: getattr(state, name) for name in (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS) if name != "updated_s"}
    return [
        indicators_of(
            SCALAR,
            recalled={name: column[i] for name, column in recalled.items()},
            prompt_tokens=request.prompt_tokens,
            expected_output_tokens=request.expected_output_tokens,
            block_tokens=request.block_tokens,
            **{name: None if column is None else column[i] for name, column in columns.items()},
        )
        for i in range(len(state))
    ]


def require(policy: Policy, state: Any, expected_output_tokens: Any) -> None:
    """Check that the state gives every optional column the rule reads.

    Args:
        policy: rule and knobs.
        state: a state, or anything with its columns as attributes.
        expected_output_tokens: what is believed of the request's output length, or None.

    Raises:
        BadInput: naming the missing field and the rule.
    """
    for name in policy.needs:
        of_request = name == "expected_output_tokens"
        if (expected_output_tokens if of_request else getattr(state, name, None)) is None:
            place = "request" if of_request else "instances[*]"
            raise BadInput(f"{place}.{name}", None, f"a value, because the rule {policy.rule.name} reads it")


class _NoRandom(random.Random):
    """Stands where no source of randomness was given; to draw from it is an error."""

    def __init__(self, rule: str) -> None:
        super().__init__(0)
        self._rule = rule

    def random(self) -> float:
        raise BadInput("rng", None, f"a random.Random, because the rule {self._rule} draws")


def _source(policy: Policy, rng: random.Random | None) -> random.Random:
    if rng is not None:
        return rng
    missing = _NoRandom(policy.rule.name)
    if policy.pick is not Pick.FIRST:
        missing.random()
    return missing


def decide(
    policy: Policy, state: ClusterState, request: Request, *, memory: Any = None, rng: random.Random | None = None
) -> tuple[Decision, Any]:
    """Choose an instance and say why.

    Args:
        policy: rule and knobs.
        state: what is known of the cluster; ``hit_tokens`` are those of this request.
        request: the request at hand.
        memory: what the last call returned; None at the start.
        rng: source of randomness; may be None only for rules that never draw. Use one for all calls: a fresh one of
            the same seed for each call would draw the same again and again.

    Returns:
        The decision and the rule's next memory (None for rules without memory).

    Raises:
        BadInput: if state or request lie outside their domains, if the state lacks a column the rule reads, or if the
            rule draws and there is no ``rng``.

    Example (160 x 1 against 32 x 4):
        >>> from scheduler.policies.catalogue import policy
        >>> state = ClusterState(ids=("A", "B"), running=(0, 3), waiting=(0, 0), queued_prefill_tokens=(0, 0),
        ...                      hit_tokens=(0, 128))
        >>> decision, _ = decide(policy("lmetric"), state, Request(id=0, arrival_s=0, prompt_tokens=160))
        >>> decision.id, decision.scores, decision.margin
        ('B', (160, 128), 0.25)
    """
    if not isinstance(policy, Policy):
        raise BadInput("policy", policy, "a Policy", "scheduler.policy(NAME) gives it")
    rule, knobs = policy.rule, policy.knobs
    state, request = state.checked(), checked_request(request)
    checked_hits(state, request)
    require(policy, state, request.expected_output_tokens)
    rng = _source(policy, rng)
    recalled: Mapping[str, Sequence[Number]] = {}
    if rule.memory is not None:
        memory = rule.memory.start(len(state), knobs) if memory is None else memory
        recalled = rule.memory.recall(memory, request, state, knobs, rng)
    keys, eligible = read(policy, SCALAR, observe(state, request, recalled))
    index = pick_index(policy, keys, eligible, rng)
    if rule.memory is not None:
        memory = rule.memory.remember(memory, request, state, index, knobs)
    shown = tuple(key[0] if len(key) == 1 else key for key in keys)
    ties = (index,) if policy.samples else tuple(best(keys, eligible))
    decision = Decision(
        instance=index,
        id=state.ids[index],
        scores=shown,
        eligible=tuple(bool(condition) for condition in eligible),
        ties=ties,
        margin=None if policy.samples else _margin(shown, eligible, index),
    )
    return decision, memory


def _margin(scores: Sequence[Any], eligible: Sequence[Any], index: int) -> float | None:
    none = not any(eligible)  # then all are candidates, as in `best`
    others = [s for i, s in enumerate(scores) if i != index and (none or eligible[i])]
    if not others or isinstance(scores[index], tuple) or scores[index] <= 0:
        return None
    return float(min(others) / scores[index] - 1)


class Chooser:
    """A compiled policy with its memory: ``choose(view, request)`` gives an index.

    Args:
        policy: rule and knobs.
        instance_count: number of instances, >= 1.
        rng: source of randomness for draws and random ties.

    The view is a :class:`ClusterState` or anything with its columns as attributes; lists will do.
    """

    def __init__(self, policy: Policy, instance_count: int, rng: random.Random) -> None:
        self.policy, self.rng = policy, rng
        self.label = policy.label
        self._keys = compile_keys(policy)
        self._knobs = policy.knobs
        self._memory_of = policy.rule.memory
        self._filtered = policy.rule.eligible is not None
        self._pick = policy.pick
        self._unchecked = True
        self._random = self._pick is Pick.RANDOM
        self._plain = self._pick in (Pick.FIRST, Pick.RANDOM)
        self.memory = None if self._memory_of is None else self._memory_of.start(instance_count, self._knobs)

    def choose(self, view: Any, request: Request, expected_output_tokens: Any = None) -> int:
        """Index of the chosen instance; updates the memory.

        Args:
            view: columns of the cluster, complete for what the rule needs; checked for that at the first call only.
            request: the request at hand.
            expected_output_tokens: what to believe of its output length [token]; None for what the request says.

        Raises:
            BadInput: at the first call, if a column the rule reads is missing.
        """
        index = self.take(self.keys(view, request, expected_output_tokens))
        if self._memory_of is not None:
            self.remember(view, request, index)
        return index

    def keys(self, view: Any, request: Request, expected_output_tokens: Any = None) -> list[Any]:
        """The key of every instance, as the compiled rule gives it; a filter is its first part.

        Arguments and errors as for :meth:`choose`, of which this is the first step.
        """
        if expected_output_tokens is None:
            expected_output_tokens = request.expected_output_tokens
        if self._unchecked:
            require(self.policy, view, expected_output_tokens)
            self._unchecked = False
        recalled: Mapping[str, Sequence[Number]] = NOTHING
        if self._memory_of is not None:
            recalled = self._memory_of.recall(self.memory, request, view, self._knobs, self.rng)
        return self._keys(view, request.prompt_tokens, expected_output_tokens, request.block_tokens, recalled)

    def take(self, keys: list[Any]) -> int:
        """The second step of :meth:`choose`: the index that the keys and the tie rule give."""
        if not self._plain:
            return self._draw(keys)
        least = min(keys)
        index = keys.index(least)
        if self._random:
            ties = keys.count(least)
            if ties > 1:
                index = [i for i, key in enumerate(keys) if key == least][int(self.rng.random() * ties)]
        return index

    def remember(self, view: Any, request: Request, index: int) -> None:
        """The third step of :meth:`choose`: the rule's memory learns where the request goes."""
        if self._memory_of is not None:
            self.memory = self._memory_of.remember(self.memory, request, view, index, self._knobs)

    def _draw(self, keys: list[Any]) -> int:
        if self._filtered:
            eligible = [key[0] == 0 for key in keys]
            parts = [key[1:] for key in keys]
        else:
            eligible = [True] * len(keys)
            parts = [key if isinstance(key, tuple) else (key,) for key in keys]
        return pick_index(self.policy, parts, eligible, self.rng)
