"""What several published rules share: loads, matches, the steps "even out, else follow the cache", growing memories."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from scheduler.domains import TOKENS_MAX, Domain
from scheduler.indicators import Indicators, new_prefill_tokens
from scheduler.ops import Number, Ops, Over
from scheduler.policies.rule import Aggregates, Knobs, Memory
from scheduler.state import Request


def in_flight(x: Indicators) -> Number:
    """Requests assigned and unfinished: running + waiting [request]."""
    return x.running + x.waiting


def missed_tokens(ops: Ops, prompt_tokens: Number, hit_tokens: Number) -> Number:
    """Tokens that are not cached, as published routers count them: ``max(0, L - h)``, without our floor [token]."""
    return new_prefill_tokens(ops, prompt_tokens, hit_tokens, 0)


def longest_match(_ops: Ops, over: Over, _: Knobs) -> Aggregates:
    """The longest cached prefix on any instance."""
    return over.most(lambda x: x.hit_tokens)


def load_range_and_longest_match(ops: Ops, over: Over, knobs: Knobs) -> Aggregates:
    """Least and most load, and the longest cached prefix."""
    return over.least(in_flight), over.most(in_flight), longest_match(ops, over, knobs)


def load_decides(ops: Ops, aggregates: Aggregates, knobs: Knobs) -> Number:
    """Loads are uneven: ``max - min > abs`` and ``max > rel min``.

    Compared as a quotient: it rounds once, as the decimal threshold did, so floats and exact numbers agree.
    """
    least, most, _ = aggregates
    ratio = ops.or_(ops.eq(least, 0), most / ops.max_(least, 1) > knobs.rel_threshold)
    return ops.and_(most - least > knobs.abs_threshold, ratio)


def is_matched(aggregates: Aggregates, matchable_tokens: Number, knobs: Knobs) -> Number:
    """The longest match is more than ``cache_threshold`` of what can match; a quotient for the same reason."""
    _, _, longest = aggregates
    return longest / matchable_tokens > knobs.cache_threshold


def holds_longest_or_load_decides(
    ops: Ops, x: Indicators, aggregates: Aggregates, matchable_tokens: Number, knobs: Knobs
) -> Number:
    """All if loads are uneven or the longest match is too short; else those that hold it."""
    _, _, longest = aggregates
    short = ops.not_(is_matched(aggregates, matchable_tokens, knobs))
    return ops.or_(ops.or_(load_decides(ops, aggregates, knobs), short), ops.eq(x.hit_tokens, longest))


def widened(values: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    """A remembered column for ``count`` instances: those that joined since start at 0.

    Example:
        >>> widened((4, 2), 3)
        (4, 2, 0)
    """
    return values + (0,) * (count - len(values))


def _full_blocks(_: None, request: Request, view: Any, __: Knobs, ___: random.Random) -> Mapping[str, Sequence[Number]]:
    block = request.block_tokens
    return {"full_block_tokens": [max(1, request.prompt_tokens // block * block)] * len(view.running)}


#: Column ``full_block_tokens``: tokens in the full blocks of the prompt, at least 1. Only these can be cached, and
#: rules that divide matched by all blocks divide by it. Nothing is kept; it is a memory because Ops cannot round down.
FULL_BLOCKS = Memory(
    columns={"full_block_tokens": Domain(1, TOKENS_MAX, integer=True, unit="token", typical_high=131_072)},
    start=lambda _count, _knobs: None,
    recall=_full_blocks,
    remember=lambda _memory, _request, _view, _chosen, _knobs: None,
    kept=False,
)
