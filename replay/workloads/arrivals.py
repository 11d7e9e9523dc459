"""Requests of one turn each, and the times at which they come."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from random import Random

from replay.workloads.draws import Keys, Prefixes, extended
from scheduler.state import Request


def poisson_s(rng: Random, rate_per_s: float) -> Iterator[float]:
    """Times of a Poisson process, without end; the first is 0 [s]."""
    now_s = 0.0
    while True:
        yield now_s
        now_s += rng.expovariate(rate_per_s)


class Prompts:
    """Makes requests of a shared beginning and a fresh rest, with ids in order.

    Args:
        block_tokens: tokens in a block [token].
    """

    def __init__(self, block_tokens: int) -> None:
        self._block_tokens = block_tokens
        self._keys = Keys()
        self._prefixes = Prefixes(self._keys, block_tokens)
        self._ids = itertools.count()

    def request(
        self,
        arrival_s: float,
        group: str,
        fresh_tokens: int,
        output_tokens: int,
        prefix: int = 0,
        prefix_tokens: int = 0,
    ) -> Request:
        """A request whose prompt is beginning number ``prefix`` and then ``fresh_tokens`` >= 1 of its own."""
        prompt_tokens = prefix_tokens + fresh_tokens
        base = self._prefixes.of(prefix, prefix_tokens) if prefix_tokens else ()
        return Request(
            id=next(self._ids),
            arrival_s=arrival_s,
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            block_keys=extended(base, prompt_tokens, self._block_tokens, self._keys),
            block_tokens=self._block_tokens,
            group=group,
        )
