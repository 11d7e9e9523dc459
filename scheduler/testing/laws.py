"""Laws that a scheduler's rule can be checked against, yours too.

A law is a function that takes a ``decide`` (see :data:`Decide`) and drawn inputs, and raises ``AssertionError`` where
it is broken. For a rule of the catalogue use :func:`decide_by`, for a function that gives an index :func:`from_index`.
A law whose premise fails on an input says nothing about it and returns.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fractions import Fraction

import msgspec

from scheduler import formulas
from scheduler.ops import SCALAR
from scheduler.state import OPTIONAL_COLUMNS, ClusterState, Request
from scheduler.testing.deciding import (
    Chosen,
    Decide,
    Law,
    columns_of,
    decide_by,
    from_index,
    product_indicators,
    with_columns,
)


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
    moved = with_columns(state, ids=[state.ids[i] for i in order])
    moved = with_columns(moved, **{name: [column[i] for i in order] for name, column in columns_of(state).items()})
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
        worse = formulas.dominates(SCALAR, other_tokens, other_batch, tokens, batch)
        assert not worse, f"chose {chosen} with (P, B) = {tokens, batch}; {index} has {other_tokens, other_batch}"


def rescaling_an_indicator_keeps_the_choice(
    decide: Decide, state: ClusterState, request: Request, token_factor: int, batch_factor: int
) -> None:
    """Multiplying all P-tokens, or all batch sizes, by whole factors changes nothing.

    Premise: some token of the prompt is uncached everywhere, else the floor of one token would not scale.
    """
    if max(state.hit_tokens) >= request.prompt_tokens:
        return
    scaled = with_columns(
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
    loaded = with_columns(
        state,
        waiting=[w + more for w, more in zip(state.waiting, added, strict=True)],
        queued_prefill_tokens=[q + 100 * more for q, more in zip(state.queued_prefill_tokens, added, strict=True)],
    )
    after = decide(loaded, request)
    assert chosen.instance in after.ties, (
        f"chose {chosen.instance}, and {after.instance} after load was added elsewhere"
    )


def choice_is_supported_by_a_line(decide: Decide, state: ClusterState, request: Request) -> None:
    """Some weight makes a line choose this instance too: it lies on the lower hull of the points (P, B).

    A rule that breaks it takes instances that no weighted sum of P-token and batch size would take. The product keeps
    it (claim ``product_choice_is_a_tuned_line``).
    """
    indicators = product_indicators(state, request)
    chosen = decide(state, request).instance
    tokens, batch = indicators[chosen]
    low, high = Fraction(0), None
    for other_tokens, other_batch in indicators:
        if other_batch == batch:
            assert tokens <= other_tokens, f"chose {chosen}; another with the same batch size has fewer tokens"
            continue
        rate = Fraction(other_tokens - tokens, batch - other_batch)  # at which the two cost the same
        if other_batch > batch:
            low = max(low, rate)
        else:
            high = rate if high is None else min(high, rate)
    supported = high is None or (low <= high and high > 0)
    assert supported, f"chose {chosen} of {indicators}: no weight of a batch slot makes a line choose it"


def a_hit_buys_no_more_than_its_leverage(
    decide: Decide, state: ClusterState, request: Request, slack: float = 1.0
) -> None:
    """The chosen instance's batch is at most ``slack`` times what the saved prefill is worth: ``B_k P_k <= s B_j P_j``.

    With ``slack=1`` it is the product's own order (claim ``leverage_bounds_imbalance``); a rule of another form keeps
    it for some slack, or a hit can buy any imbalance.

    Args:
        decide: under test.
        state: what is known of the cluster.
        request: the request at hand.
        slack: how many times the leverage ``P_j/P_k`` is allowed, >= 1.
    """
    indicators = product_indicators(state, request)
    chosen = decide(state, request).instance
    tokens, batch = indicators[chosen]
    for index, (other_tokens, other_batch) in enumerate(indicators):
        assert tokens * batch <= slack * other_tokens * other_batch, (
            f"chose {chosen} with (P, B) = {tokens, batch} over {index} with {other_tokens, other_batch}: "
            f"{tokens * batch / (other_tokens * other_batch):.3g} times the leverage"
        )


def idle_instances_are_told_apart_by_cache(decide: Decide, state: ClusterState, request: Request) -> None:
    """Where every instance is idle, one that has to compute least is taken (claim ``idle_collapse``)."""
    load = ("running", "waiting", "queued_prefill_tokens", "context_tokens", "kv_used_fraction", "active_blocks")
    given = [name for name in load if getattr(state, name) is not None]
    idle = with_columns(state, **{name: [0] * len(state) for name in given})
    chosen = decide(idle, request).instance
    tokens = [tokens for tokens, _ in product_indicators(idle, request)]
    least = min(tokens)
    assert tokens[chosen] == least, f"chose {chosen} with {tokens[chosen]} tokens to compute; another has {least}"


def every_instance_is_reached(decide: Decide, state: ClusterState, request: Request, arrivals: int) -> None:
    """Equal requests that never end reach every instance within so many arrivals; none idles for ever.

    Prefill is done at once and a reached instance then holds the whole prompt, so this is the hardest case for a rule
    that follows the cache (claim ``cold_instance_starvation``).

    Args:
        decide: under test.
        state: what is known of the cluster at the start.
        request: the request that comes again and again.
        arrivals: how many times at most.
    """
    reached: set[int] = set()
    for _ in range(arrivals):
        index = decide(state, request).instance
        reached.add(index)
        if len(reached) == len(state):
            return
        running, hits = list(state.running), list(state.hit_tokens)
        running[index] += 1
        hits[index] = request.prompt_tokens
        state = with_columns(state, running=running, hit_tokens=hits)
    missed = sorted(set(range(len(state))) - reached)
    raise AssertionError(f"{arrivals} arrivals did not reach the instances {missed}")


#: Laws that every rule must keep.
EVERY_RULE: tuple[Law, ...] = (choice_is_one_of_the_instances, equal_inputs_give_equal_choices)
#: Laws of the product; a rule that replaces it should keep them or say which it gives up.
PRODUCT: tuple[Law, ...] = (
    *EVERY_RULE,
    choice_is_never_dominated,
    choice_is_supported_by_a_line,
    a_hit_buys_no_more_than_its_leverage,
    idle_instances_are_told_apart_by_cache,
)


def check(decide: Decide, state: ClusterState, request: Request, laws: Sequence[Law] = EVERY_RULE) -> None:
    """Check several laws on one input.

    Raises:
        AssertionError: naming the first law that is broken.

    Example:
        >>> from scheduler.policies.catalogue import policy
        >>> state = ClusterState(ids=("A", "B"), running=(0, 200), waiting=(0, 0), queued_prefill_tokens=(0, 0),
        ...                      hit_tokens=(144, 160))
        >>> request = Request(id=0, arrival_s=0.0, prompt_tokens=160)
        >>> check(decide_by(policy("lmetric")), state, request, PRODUCT)
        >>> check(decide_by(policy("lmetric_paper")), state, request, PRODUCT)
        Traceback (most recent call last):
        ...
        AssertionError: a_hit_buys_no_more_than_its_leverage: chose 1 with (P, B) = (1, 201) over 0 with (16, 1): 12.6
        times the leverage
    """
    for law in laws:
        try:
            law(decide, state, request)
        except AssertionError as fault:
            raise AssertionError(f"{law.__name__}: {fault}") from None


__all__ = [
    "EVERY_RULE",
    "PRODUCT",
    "Chosen",
    "Decide",
    "Law",
    "a_hit_buys_no_more_than_its_leverage",
    "check",
    "choice_is_never_dominated",
    "choice_is_one_of_the_instances",
    "choice_is_supported_by_a_line",
    "columns_it_does_not_read_do_not_matter",
    "decide_by",
    "equal_inputs_give_equal_choices",
    "every_instance_is_reached",
    "from_index",
    "idle_instances_are_told_apart_by_cache",
    "load_elsewhere_keeps_the_choice",
    "permuting_instances_permutes_the_choice",
    "product_indicators",
    "rescaling_an_indicator_keeps_the_choice",
]
