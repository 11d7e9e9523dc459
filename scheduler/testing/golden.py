"""What a hand-computed case is, and how a rule is checked against it; the cases are in ``golden_cases``."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any

from scheduler.policies.catalogue import policy as policy_named
from scheduler.policies.choosing import decide
from scheduler.policies.rule import Policy
from scheduler.state import REQUIRED_COLUMNS, ClusterState, Request


@dataclass(frozen=True)
class Golden:
    """One hand-computed decision.

    Args:
        name: what it says.
        policy: rule with knobs, as the command line writes it.
        chosen: index of the right instance.
        scores: right keys, or None where the source gives none.
        ties: right ties, or None for the chosen one alone.
        prompt_tokens: of the request; 100 output tokens are expected.
        columns: columns of the state; those not given are 0 for every instance.
        block_tokens: tokens in a block.
        after: id of the request whose reply this one continues, or None.
    """

    name: str
    policy: str
    chosen: int
    scores: tuple[Any, ...] | None = None
    ties: tuple[int, ...] | None = None
    prompt_tokens: int = 160
    columns: dict[str, Any] = field(default_factory=dict)
    block_tokens: int = 16
    after: int | None = None


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(_same, a, b))
    return math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-12)


def check(case: Golden, policy: Policy | None = None) -> None:
    """Decide the case and compare.

    Args:
        case: what should come out.
        policy: decides instead of the one the case names, for seeded faults.

    Raises:
        AssertionError: if choice, ties or scores differ.
    """
    policy = policy_named(case.policy) if policy is None else policy
    count = len(next(iter(case.columns.values())))
    columns: dict[str, Any] = dict.fromkeys(REQUIRED_COLUMNS, (0,) * count) | case.columns
    state = ClusterState(ids=tuple("ABCDEFGH"[:count]), **columns).checked()
    request = Request(
        id=1,
        after=case.after,
        arrival_s=0.0,
        prompt_tokens=case.prompt_tokens,
        block_tokens=case.block_tokens,
        expected_output_tokens=100,
    )
    decision, _ = decide(policy, state, request, rng=random.Random(0))
    if case.scores is not None:
        assert _same(case.scores, decision.scores), f"{case.name}: scores {decision.scores}, not {case.scores}"
    assert decision.instance == case.chosen, f"{case.name}: chose {decision.instance}, not {case.chosen}"
    ties = (case.chosen,) if case.ties is None else case.ties
    assert decision.ties == ties, f"{case.name}: ties {decision.ties}, not {ties}"


def case(
    name: str,
    policy: str,
    chosen: int,
    scores: tuple[Any, ...] | None = None,
    ties: tuple[int, ...] | None = None,
    prompt_tokens: int = 160,
    block_tokens: int = 16,
    after: int | None = None,
    **columns: tuple[Any, ...],
) -> Golden:
    """A case; columns that are not named are all zero."""
    return Golden(name, policy, chosen, scores, ties, prompt_tokens, columns, block_tokens, after)
