"""Laws that a scheduler's rule can be checked against, yours too.

A law is a function that takes a ``decide`` (see :data:`Decide`) and drawn inputs, and raises ``AssertionError`` where
it is broken. For a rule of the catalogue use :func:`decide_by`, for a function that gives an index :func:`from_index`.
A law whose premise fails on an input says nothing about it and returns.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
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


def _columns(state: ClusterState) -> dict[str, Any]:
    names = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)
    return {name: getattr(state, name) for name in names if getattr(state, name) is not None}


def _with(state: ClusterState, **columns: Sequence[Any]) -> ClusterState:
    return msgspec.structs.replace(state, **{name: tuple(column) for name, column in columns.items()})


def product_indicators(state: ClusterState, request: Request) -> list[tuple[int, int]]:
    """``(P, B)`` of every instance: P-token with floor one token, batch size with the request."""
    rows = zip(state.running, state.waiting, state.queued_prefill_tokens, state.hit_tokens, strict=True)
    length = request.prompt_tokens
    return [(p_token(q, new_prefill_tokens(SCALAR, length, hit)), batch_size(r, w)) for r, w, q, hit in rows]


def choice_is_one_of_the_instances(decide: Decide, state: ClusterState, request: Request) -> None:
    """The choice is an index of the state, and it is among the ties."""
    chosen = decide(state, request)
    assert chosen.instance in range(len(state)), f"chose {chosen.instance} of {len(state)} instances"
    assert chosen.instance in chosen.ties, f"chose {chosen.instance}, which is not among the best {chosen.ties}"


def equal_inputs_give_equal_choices(decide: Decide, state: ClusterState, request: Request) -> None:
    """Nothing hidden is remembered between two decisions."""
    first, second = decide(state, request).instance, decide(state, request).instance
    assert first == second, f"chose {first}, then {second} on the same inputs"


def permuting_instances_permutes_the_choice(
    decide: Decide, state: ClusterState, request: Request, order: Sequence[int]
) -> None:
    """The place of an instance in the list does not matter, unless there is a tie.

    Args:
        decide: under test.
        state: what is known of the cluster.
        request: the request at hand.
        order: a permutation of the indices; instance ``order[k]`` moves to place k.
    """
    chosen = decide(state, request)
    moved = _with(state, ids=[state.ids[i] for i in order])
    moved = _with(moved, **{name: [column[i] for i in order] for name, column in _columns(state).items()})
    after = decide(moved, request)
    if len(chosen.ties) > 1 or len(after.ties) > 1:
        return
    assert order[after.instance] == chosen.instance, (
        f"chose instance {chosen.instance}, and {order[after.instance]} after the instances were permuted by {order}"
    )


def choice_is_never_dominated(decide: Decide, state: ClusterState, request: Request) -> None:
    """No other instance has P-token and batch size both no greater and one of them less."""
    indicators = product_indicators(state, request)
    chosen = decide(state, request).instance
    tokens, batch = indicators[chosen]
    for index, (other_tokens, other_batch) in enumerate(indicators):
        worse = other_tokens <= tokens and other_batch <= batch and (other_tokens, other_batch) != (tokens, batch)
        assert not worse, f"chose {chosen} with (P, B) = {tokens, batch}; {index} has {other_tokens, other_batch}"


def rescaling_an_indicator_keeps_the_choice(
    decide: Decide, state: ClusterState, request: Request, token_factor: int, batch_factor: int
) -> None:
    """Multiplying all P-tokens, or all batch sizes, by whole factors changes nothing.

    Premise: some token of the prompt is uncached everywhere, else the floor of one token would not scale.
    """
    if max(state.hit_tokens) >= request.prompt_tokens:
        return
    scaled = _with(
        state,
        queued_prefill_tokens=[q * token_factor for q in state.queued_prefill_tokens],
        hit_tokens=[hit * token_factor for hit in state.hit_tokens],
        running=[batch * batch_factor - 1 for _, batch in product_indicators(state, request)],
        waiting=[0] * len(state),
    )
    longer = msgspec.structs.replace(request, prompt_tokens=request.prompt_tokens * token_factor)
    before, after = decide(state, request), decide(scaled, longer)
    assert before.ties == after.ties, f"best were {before.ties}, and {after.ties} after rescaling"


def columns_it_does_not_read_do_not_matter(
    decide: Decide, state: ClusterState, request: Request, needs: Collection[str]
) -> None:
    """Leaving out every optional column that the rule does not name changes nothing.

    Args:
        decide: under test.
        state: what is known of the cluster.
        request: the request at hand.
        needs: the optional columns it says it reads.
    """
    bare = msgspec.structs.replace(state, now_s=0.0, **{n: None for n in OPTIONAL_COLUMNS if n not in needs})
    lean = request
    if "expected_output_tokens" not in needs:
        lean = msgspec.structs.replace(request, expected_output_tokens=None)
    lean = msgspec.structs.replace(lean, output_tokens=1, id=0, session=None, group="")
    before, after = decide(state, request).instance, decide(bare, lean).instance
    assert before == after, f"chose {before}, and {after} without the columns it does not read"


def load_elsewhere_keeps_the_choice(
    decide: Decide, state: ClusterState, request: Request, extra: Sequence[int]
) -> None:
    """More waiting requests with more queued tokens on the others never make them more attractive.

    Args:
        decide: under test; rules that compare an instance with the mean or the range may break this law.
        state: what is known of the cluster.
        request: the request at hand.
        extra: requests of 100 tokens added to each instance; the entry of the chosen one is left out.
    """
    chosen = decide(state, request)
    added = [0 if index == chosen.instance else more for index, more in enumerate(extra)]
    loaded = _with(
        state,
        waiting=[w + more for w, more in zip(state.waiting, added, strict=True)],
        queued_prefill_tokens=[q + 100 * more for q, more in zip(state.queued_prefill_tokens, added, strict=True)],
    )
    after = decide(loaded, request)
    assert chosen.instance in after.ties, (
        f"chose {chosen.instance}, and {after.instance} after load was added elsewhere"
    )
