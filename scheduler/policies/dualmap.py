"""DualMap: two hashes of the prefix name two candidates; the warm one until it is too busy, then the other.

Candidates: the first ``hash_blocks`` blocks of the prompt, hashed twice, each hash taking the instance with the highest
of its rendezvous weights (the second among those that are left). Of the two the one with more cached prefix, until its
pending prefill with this request, ``q + n``, exceeds ``budget_tokens``; then, and with equal hits, the one with less
pending prefill ``q``; with that equal too, more cached prefix, then the first hash. A hot prefix, one that more than
``2/N`` of the last ``window`` requests had, is hashed at twice the length, up to seven times, so that it spreads over
more candidates by what follows it.

Choices: a prefix is named by the key of its last block, which names its whole chain. A prompt with fewer blocks than
wanted is hashed as a whole; one without keys has no prefix, and every instance is its candidate. The share is of the
requests seen so far, at most ``window``, without the one at hand; with two instances no prefix is ever hot. Instances
are hashed by their place, the only name that every view has; one that joins or leaves renames those behind it. The
budget stands for the source's objective times the rate of prefill, 65,536 tokens as in its port. Queued requests do
not migrate between the pair: a router cannot call them back.

Memory: the names of the last requests' prefixes at each length; a new tuple at each decision, old ones stay valid.

Source: DualMap, arXiv 2602.06502, and its port (docs/sources.md#dualmap).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from xxhash import xxh3_64_intdigest

from scheduler.domains import TOKENS_MAX, Domain
from scheduler.indicators import Indicators
from scheduler.ops import Number, Ops, Over
from scheduler.policies.rule import Aggregates, Knob, Knobs, Memory, Rule
from scheduler.state import Request

#: How often the hashed prefix may double.
DOUBLINGS = 7
#: A prefix is hot above this share, times the number of instances.
_HOT = 2


class Recent(NamedTuple):
    """For each of the last requests, oldest first: the keys of its first ``hash_blocks`` blocks, twice as many, ..."""

    names: tuple[tuple[int, ...], ...] = ()


def prefix_names(block_keys: Sequence[int], hash_blocks: int) -> tuple[int, ...]:
    """Keys of the last blocks of the prefix at each length; the last one may be the whole prompt.

    Example:
        >>> prefix_names(range(10, 20), 4), prefix_names((), 4)
        ((13, 17, 19), ())
    """
    names: list[int] = []
    length = hash_blocks
    while len(names) <= DOUBLINGS and length < len(block_keys):
        names.append(block_keys[length - 1])
        length *= 2
    if block_keys and len(names) <= DOUBLINGS:
        names.append(block_keys[-1])
    return tuple(names)


def hashed_name(names: Sequence[int], recent: Recent, instances: int) -> int:
    """The name that is hashed: the shortest prefix that is not hot, or the longest there is."""
    for level, name in enumerate(names[:-1]):
        seen = sum(1 for other in recent.names if len(other) > level and other[level] == name)
        if seen * instances <= _HOT * len(recent.names):
            return name
    return names[-1]


def candidates(name: int, count: int) -> tuple[int, ...]:
    """The places that two independent rendezvous hashes take, distinct unless there is only one.

    Example:
        >>> sorted({candidates(name, 3) for name in range(100)})
        [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    """
    texts = [b"%d:%d" % (name, place) for place in range(count)]
    first = max(range(count), key=lambda place: xxh3_64_intdigest(texts[place], 1))
    others = [place for place in range(count) if place != first]
    if not others:
        return (first,)
    return first, max(others, key=lambda place: xxh3_64_intdigest(texts[place], 2))


def _recall(recent: Recent, request: Request, view: Any, knobs: Knobs, _: random.Random) -> Mapping[str, Sequence[Any]]:
    count, names = len(view.running), prefix_names(request.block_keys, knobs.hash_blocks)
    if not names:
        return {"candidate": [1] * count, "second": [0] * count}
    places = candidates(hashed_name(names, recent, count), count)
    return {
        name: [int(at in taken) for at in range(count)]
        for name, taken in (("candidate", places), ("second", places[1:]))
    }


def _remember(recent: Recent, request: Request, _: Any, __: int, knobs: Knobs) -> Recent:
    return Recent((*recent.names, prefix_names(request.block_keys, knobs.hash_blocks))[-knobs.window :])


_FLAG = Domain(0, 1, integer=True, typical_high=1)
#: Columns ``candidate``: 1 for the two that were hashed; ``second``: 1 for that of the second hash.
PREFIXES = Memory(
    columns={"candidate": _FLAG, "second": _FLAG},
    start=lambda _count, _knobs: Recent(),
    recall=_recall,
    remember=_remember,
)


def _is_warm(ops: Ops, x: Indicators, longest: Number) -> Number:
    return ops.and_(x.recalled["candidate"] > 0, ops.eq(x.hit_tokens, longest))


def longest_and_room(ops: Ops, over: Over, knobs: Knobs) -> Aggregates:
    """The longest cached prefix of a candidate, and whether one that has it has room for the request."""
    longest = over.most(lambda x: x.recalled["candidate"] * x.hit_tokens)
    room = over.count(lambda x: ops.and_(_is_warm(ops, x, longest), x.p_token <= knobs.budget_tokens)) > 0
    return longest, room


def warm_or_both(ops: Ops, x: Indicators, aggregates: Aggregates, _: Knobs) -> Number:
    """The warm candidate while it has room, else both."""
    longest, room = aggregates
    return ops.or_(_is_warm(ops, x, longest), ops.and_(ops.not_(room), x.recalled["candidate"] > 0))


def pending(_ops: Ops, x: Indicators, _: Aggregates, __: Knobs) -> tuple[Number, ...]:
    """Pending prefill, then most cached prefix, then the first hash."""
    return x.queued_prefill_tokens, -x.hit_tokens, x.recalled["second"]


DUALMAP = Rule(
    "dualmap",
    "warm one of two hashed candidates until it is too busy",
    "DualMap, arXiv 2602.06502; docs/sources.md#dualmap",
    pending,
    longest_and_room,
    warm_or_both,
    knobs=(
        Knob(
            "hash_blocks",
            4,
            "blocks of the prompt that are hashed while they are not hot",
            Domain(1, 65_536, integer=True, unit="block", typical_high=16),
            sweep=(1, 4, 16),
        ),
        Knob(
            "budget_tokens",
            65_536,
            "pending prefill above which the warm candidate is passed over",
            Domain(0, TOKENS_MAX, integer=True, unit="token", typical_high=131_072),
            sweep=(4096, 16_384, 65_536),
        ),
        Knob(
            "window",
            1000,
            "requests over which the share of a prefix is counted",
            Domain(1, 1_000_000, integer=True, unit="request", typical_high=4000),
            sweep=(250, 1000, 4000),
        ),
    ),
    memory=PREFIXES,
)

RULES = (DUALMAP,)
