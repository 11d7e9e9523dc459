"""Sequences of arrivals as values, and running them with the shipped accounting and rule."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from proofs.search.question import Found
from proofs.search.rules import checked
from scheduler.accounting import Accounting
from scheduler.domains import REQUEST_DOMAINS, Domain
from scheduler.errors import BadInput
from scheduler.indicators import new_prefill_tokens
from scheduler.ops import SCALAR
from scheduler.policies.choosing import decide
from scheduler.policies.rule import Pick, Policy
from scheduler.state import ClusterState, Request
from scheduler.state_json import StateFile
from scheduler.traffic import ClassTraffic

_ARRIVALS = Domain(1, 40, integer=True, unit="request")
_INSTANCES = Domain(2, 8, integer=True, unit="instance")
_GAP = Domain(1, 40, integer=True, unit="request")
_GOAL = Domain(1, 1e6, unit="1")


@dataclass(frozen=True)
class SequenceQuestion:
    """From an empty cluster, which arrivals drive a rule to an imbalance?

    Args:
        rule: under examination; without a memory.
        instances: number of instances.
        arrivals: at most so many.
        gap: greatest less least number of residents that must be reached [request].
        imbalance: greatest over mean number of residents that must be reached too.
        hot_tokens: prompt length of a hot request [token].
        prefix_tokens: length of the shared prefix [token].
        cold_tokens: prompt length of a cold request [token].
        block_tokens: tokens in a KV block.
    """

    rule: Policy
    instances: int = 2
    arrivals: int = 12
    gap: int = 4
    imbalance: float = 1.0
    hot_tokens: int = 1088
    prefix_tokens: int = 1024
    cold_tokens: int = 1088
    block_tokens: int = 16

    def __post_init__(self) -> None:
        _INSTANCES.check("instances", self.instances)
        _ARRIVALS.check("arrivals", self.arrivals)
        _GAP.check("gap", self.gap)
        _GOAL.check("imbalance", self.imbalance)
        for name in ("hot_tokens", "prefix_tokens", "cold_tokens"):
            REQUEST_DOMAINS["prompt_tokens"].check(name, getattr(self, name))
        if self.prefix_tokens > self.hot_tokens:
            raise BadInput("prefix_tokens", self.prefix_tokens, f"at most hot_tokens, {self.hot_tokens}")
        if self.rule.rule.memory is not None or self.rule.needs:
            hint = "memories and optional columns are not modelled"
            raise BadInput("rule", self.rule.label, "a rule that reads the four required columns only", hint)
        checked(self.rule)


@dataclass(frozen=True)
class Step:
    """One arrival: whether the cluster caught up before it, whether it is hot, and where it went."""

    caught_up: bool
    hot: bool
    instance: int


def run_steps(question: SequenceQuestion, steps: Sequence[Step]) -> Found | None:
    """Run a sequence with the shipped accounting and rule; None if a choice or the imbalance is not as claimed."""
    last = last_state(question, steps)
    if last is None:
        return None
    loads = [r + w for r, w in zip(last.state.running, last.state.waiting, strict=True)]
    imbalance = Fraction(max(loads) * len(loads), sum(loads))
    if imbalance < Fraction(repr(question.imbalance)) or max(loads) - min(loads) < question.gap:
        return None
    return Found(
        file=last,
        policy=question.rule.label,
        against=None,
        chosen=loads.index(max(loads)),
        other=loads.index(min(loads)),
        size=len(steps),
        costs=tuple(Fraction(load) for load in loads),
        regret=imbalance,
        rule=question.rule,
        steps=tuple((step.caught_up, step.hot, step.instance) for step in steps),
    )


def last_state(question: SequenceQuestion, steps: Sequence[Step]) -> StateFile | None:
    """The state after a sequence, a hot request at hand; None if the shipped rule does not choose as claimed."""
    books = Accounting(question.instances)
    held: set[int] = set()
    pending: dict[int, int] = {}
    for number_, step in enumerate(steps):
        if step.caught_up:
            for request_id, instance in pending.items():
                books.first_token(request_id)
                if steps[request_id].hot:
                    held.add(instance)
            pending.clear()
        file = _state(question, books, held, step.hot)
        decision, _ = decide(question.rule, file.state, file.request, rng=random.Random(0))
        if step.instance not in decision.ties[: 1 if question.rule.pick is Pick.FIRST else None]:
            return None
        length = file.request.prompt_tokens
        new = new_prefill_tokens(SCALAR, length, file.state.hit_tokens[step.instance])
        books.dispatched(number_, step.instance, new, length)
        pending[number_] = step.instance
    last = _state(question, books, held, hot=True)
    share = Fraction(sum(step.hot for step in steps), len(steps))
    row = ClassTraffic(name="hot", share=float(share), window_requests=len(steps), holders=tuple(sorted(held)))
    return StateFile(state=last.state, request=last.request, policy=question.rule.label, traffic=(row,))


def _state(question: SequenceQuestion, books: Accounting, held: set[int], hot: bool) -> StateFile:
    ids = tuple(chr(ord("a") + index) for index in range(question.instances))
    hits = tuple(question.prefix_tokens if hot and index in held else 0 for index in range(question.instances))
    state = ClusterState(
        ids=ids,
        running=tuple(books.running),
        waiting=tuple(books.waiting),
        queued_prefill_tokens=tuple(books.queued_prefill_tokens),
        hit_tokens=hits,
    )
    length = question.hot_tokens if hot else question.cold_tokens
    request = Request(
        id=0, arrival_s=0.0, prompt_tokens=length, block_tokens=question.block_tokens, group="hot" if hot else ""
    )
    return StateFile(state=state, request=request)
