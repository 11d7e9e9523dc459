"""What an engine is asked to do so that its steps tell every coefficient of a step time from the others.

A pass has rounds of four kinds, each with sizes on a grid, a little off by chance:

- ``prefill``: one prompt alone, from a few tokens to many chunks. Tells the time of a step from that of a prefill
  token, and long prompts tell that from the pairs of tokens, which grow with the square.
- ``prompts``: several prompts at once; as many tokens, fewer pairs.
- ``decode``: a batch that decodes, over batch sizes and contexts: requests and the KV tokens that they read.
- ``mixed``: the same, with prompts that come while it decodes.

No prompt shares a token with another, so nothing is taken from a cache. Rounds come in an order drawn by chance in
which the kinds are evenly spread: a machine that slows down, or a measurement that ends early, touches all of them
alike.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import msgspec

from scheduler.domains import Domain
from scheduler.errors import BadInput

#: Share of the KV cache that a round fills: engines keep a reserve (transformers admits nothing in the last 15 %).
ROOM = 0.8
#: Output tokens of a batch that decodes [token].
DECODED, DECODED_MIXED = 16, 40
#: Prompt tokens of a round, over those of a step: what long rounds are cut to [step].
ROUND_STEPS = 32
_SMALLEST = 8
_LENGTHS, _CONTEXTS, _JITTER = 7, 3, 1.2
_COUNT = Domain(1, 2**31, integer=True, unit="1")
_ROOM_MIN = 64


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine can be asked.

    Args:
        batch_tokens: tokens that one step may process [token].
        max_batch: requests that one step may hold [request].
        kv_tokens: capacity of its KV cache [token].
        context_tokens: longest sequence, or None for as long as the cache [token].
        block_tokens: tokens in a KV block [token].
        vocabulary: token ids run below it.
    """

    batch_tokens: int
    max_batch: int
    kv_tokens: int
    context_tokens: int | None = None
    block_tokens: int = 16
    vocabulary: int = 1000

    def checked(self) -> Reach:
        """Itself, if there is room to measure anything.

        Raises:
            BadInput: naming the field.
        """
        for name in ("batch_tokens", "max_batch", "kv_tokens"):
            _COUNT.check(name, getattr(self, name))
        if self.room < _ROOM_MIN:
            raise BadInput("kv_tokens", self.kv_tokens, f"room for prompts of {_ROOM_MIN} tokens at least")
        if self.longest < _ROOM_MIN:
            raise BadInput("context_tokens", self.context_tokens, f"at least {_ROOM_MIN + DECODED_MIXED}")
        return self

    @property
    def room(self) -> int:
        """Tokens that the requests of a round may hold together [token]."""
        return int(ROOM * self.kv_tokens)

    @property
    def longest(self) -> int:
        """Longest prompt [token]."""
        context = self.kv_tokens if self.context_tokens is None else self.context_tokens
        return min(context - DECODED_MIXED, self.room - DECODED_MIXED, ROUND_STEPS * self.batch_tokens)


class Ask(msgspec.Struct, frozen=True):
    """Equal requests that are sent at once.

    Args:
        count: how many [request].
        prompt_tokens, output_tokens: of each [token].
    """

    count: int
    prompt_tokens: int
    output_tokens: int


class RoundPlan(msgspec.Struct, frozen=True):
    """One round.

    Args:
        kind: ``prefill``, ``prompts``, ``decode`` or ``mixed``.
        waves: what is sent; each when all before it have told their first token.
    """

    kind: str
    waves: tuple[Ask, ...]

    @property
    def prompt_tokens(self) -> int:
        """Of all requests [token]."""
        return sum(ask.count * ask.prompt_tokens for ask in self.waves)

    @property
    def decode_tokens(self) -> int:
        """Tokens that decoding gives: all but the first of each request [token]."""
        return sum(ask.count * (ask.output_tokens - 1) for ask in self.waves)


def one_pass(reach: Reach, rng: random.Random) -> list[RoundPlan]:
    """The rounds of one pass, in the order in which they are to be run.

    Args:
        reach: of the engine.
        rng: draws sizes and order.

    Example:
        >>> reach = Reach(batch_tokens=512, max_batch=8, kv_tokens=16384)
        >>> rounds = one_pass(reach, random.Random(0))
        >>> sorted({one.kind for one in rounds}), max(ask.count for one in rounds for ask in one.waves)
        (['decode', 'mixed', 'prefill', 'prompts'], 8)
    """
    kinds = [list(made(reach, rng)) for made in (_prefill, _prompts, _decode, _mixed)]
    placed = [
        ((place + rng.random()) / len(rounds), one)
        for rounds in kinds
        for place, one in enumerate(rng.sample(rounds, len(rounds)))
    ]
    return [one for _, one in sorted(placed, key=lambda pair: pair[0])]


def warm_up(reach: Reach) -> list[RoundPlan]:
    """Rounds that wake an engine up, with the largest shapes; their steps are not for fitting."""
    batch = max(_batches(reach))
    context = max(_SMALLEST, min(reach.longest, reach.room // batch - DECODED))
    return [
        RoundPlan("prefill", (Ask(1, reach.longest, 1),)),
        RoundPlan("decode", (Ask(batch, min(context, 64), 4),)),
        RoundPlan("mixed", (Ask(1, _SMALLEST, DECODED), Ask(1, min(reach.longest, reach.batch_tokens), 2))),
    ]


def _prefill(reach: Reach, rng: random.Random) -> Iterator[RoundPlan]:
    for length in _grid(_SMALLEST, reach.longest, _LENGTHS):
        yield RoundPlan("prefill", (Ask(1, _near(length, reach.longest, rng), 1),))


def _prompts(reach: Reach, rng: random.Random) -> Iterator[RoundPlan]:
    for count in (2, 4, 8):
        most = min(reach.longest, reach.longest // count)
        if count <= reach.max_batch and most >= _SMALLEST:
            for length in _grid(_SMALLEST, most, 2):
                yield RoundPlan("prompts", (Ask(count, _near(length, most, rng), 1),))


def _decode(reach: Reach, rng: random.Random) -> Iterator[RoundPlan]:
    for batch in _batches(reach):
        most = _longest_context(reach, batch, DECODED)
        for context in sorted(set(_grid(_SMALLEST, most, _CONTEXTS))):
            yield RoundPlan("decode", (Ask(batch, _near(context, most, rng), DECODED),))


def _mixed(reach: Reach, rng: random.Random) -> Iterator[RoundPlan]:
    for batch in _batches(reach)[::2]:
        most = _longest_context(reach, batch + 2, DECODED_MIXED)
        for length in _grid(_SMALLEST, most, 2):
            late = Ask(1, _near(length, most, rng), 2)
            yield RoundPlan("mixed", (Ask(batch, _near(_SMALLEST * 4, most, rng), DECODED_MIXED), late, late))


def _batches(reach: Reach) -> list[int]:
    """Batch sizes: powers of two, and the largest."""
    most = min(reach.max_batch, max(1, reach.room // (_SMALLEST + DECODED_MIXED) - 2))
    return sorted({2**power for power in range(most.bit_length()) if 2**power <= most} | {most})


def _longest_context(reach: Reach, batch: int, output: int) -> int:
    """So long that a batch of it fits the cache and the round."""
    each = min(reach.room // batch - output, ROUND_STEPS * reach.batch_tokens // batch, reach.longest)
    return max(_SMALLEST, each)


def _grid(low: int, high: int, count: int) -> list[int]:
    """Whole numbers from low to high in equal ratios."""
    return [round(low * math.pow(high / low, place / (count - 1))) for place in range(count)]


def _near(size: int, most: int, rng: random.Random) -> int:
    """A size close by, so that passes do not repeat each other."""
    return max(1, min(most, round(size * math.pow(_JITTER, rng.uniform(-1, 1)))))
