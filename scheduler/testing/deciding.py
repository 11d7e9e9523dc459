"""What is under test: a function that decides, made from a policy or from a plain function, and what it sees."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from scheduler.indicators import batch_size, new_prefill_tokens, p_token
from scheduler.ops import SCALAR
from scheduler.policies.choosing import decide
from scheduler.policies.rule import Policy
from scheduler.state import OPTIONAL_COLUMNS, REQUIRED_COLUMNS, ClusterState, Request


class Chosen(Protocol):
    """What a law looks at: the chosen index, and the indices that were as good."""

    @property
    def instance(self) -> int: ...  # noqa: D102

    @property
    def ties(self) -> tuple[int, ...]: ...  # noqa: D102


#: ``decide(state, request)``: what is chosen. It must be a function of its arguments: seed it inside.
Decide = Callable[[ClusterState, Request], Chosen]


class Law(Protocol):
    """A law that needs no more than an input."""

    __name__: str

    def __call__(self, decide: Decide, state: ClusterState, request: Request, /) -> None: ...  # noqa: D102


class _Index(msgspec.Struct, frozen=True):
    instance: int
    ties: tuple[int, ...]


def decide_by(policy: Policy, seed: int = 0) -> Decide:
    """Decisions of a policy with a fresh memory and a fixed seed."""
    return lambda state, request: decide(policy, state, request, rng=random.Random(seed))[0]


def from_index(choose: Callable[[ClusterState, Request], int]) -> Decide:
    """Decisions of a function that gives an index and does not tell its ties.

    Without ties known, the laws of order can accuse a rule that only broke a tie by index.
    """

    def decision(state: ClusterState, request: Request) -> Chosen:
        index = choose(state, request)
        return _Index(index, (index,))

    return decision


def columns_of(state: ClusterState) -> dict[str, Any]:
    """The columns that a state has, by name."""
    names = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)
    return {name: getattr(state, name) for name in names if getattr(state, name) is not None}


def with_columns(state: ClusterState, **columns: Sequence[Any]) -> ClusterState:
    """The state with some columns replaced."""
    return msgspec.structs.replace(state, **{name: tuple(column) for name, column in columns.items()})


def product_indicators(state: ClusterState, request: Request) -> list[tuple[int, int]]:
    """``(P, B)`` of every instance: P-token with floor one token, batch size with the request."""
    rows = zip(state.running, state.waiting, state.queued_prefill_tokens, state.hit_tokens, strict=True)
    length = request.prompt_tokens
    return [(p_token(q, new_prefill_tokens(SCALAR, length, hit)), batch_size(r, w)) for r, w, q, hit in rows]
