"""Random lengths and choices, and block keys for prompts made of shared and fresh parts."""

from __future__ import annotations

import itertools
import math
from bisect import bisect
from collections.abc import Callable
from random import Random

from replay.workloads.knobs import Values
from scheduler.domains import TOKENS_MAX


def lognormal_real(rng: Random, mean: float, sigma: float) -> float:
    """A log-normal number with the given mean; ``sigma``, the spread of its logarithm, may be 0."""
    return rng.lognormvariate(math.log(mean) - sigma * sigma / 2, sigma) if mean > 0 else 0.0


def length(name: str, values: Values) -> Callable[[Random], int]:
    """Draws whole lengths >= 1 after the parameters ``<name>_mean`` and ``<name>_sigma`` [token]."""
    mean, sigma = values[f"{name}_mean"], values[f"{name}_sigma"]
    return lambda rng: min(TOKENS_MAX, max(1, round(lognormal_real(rng, mean, sigma))))


def zipf(count: int, exponent: float) -> Callable[[Random], int]:
    """Draws an index below ``count``, the index k with weight (k+1)^-exponent."""
    bounds = list(itertools.accumulate((rank + 1) ** -exponent for rank in range(count)))
    return lambda rng: min(bisect(bounds, rng.random() * bounds[-1]), count - 1)


class Keys:
    """Gives out block keys, each one once, in order: a fresh key is a block whose content occurs nowhere else."""

    def __init__(self) -> None:
        self._next = 0

    def fresh(self, count: int) -> tuple[int, ...]:
        """``count`` keys that nobody has had."""
        start = self._next
        self._next += max(0, count)
        return tuple(range(start, self._next))


class Prefixes:
    """Shared beginnings of prompts (system prompts): the keys of their full blocks, made at first use.

    The block in which a beginning ends also holds what follows it, so it is not shared. Two prompts share exactly the
    keys of the beginning, and keys name chains since no key is used behind another parent.
    """

    def __init__(self, keys: Keys, block_tokens: int) -> None:
        self._keys, self._block_tokens = keys, block_tokens
        self._made: dict[int, tuple[int, ...]] = {}

    def of(self, index: int, tokens: int) -> tuple[int, ...]:
        """The keys of the full blocks of beginning number ``index``, ``tokens`` long."""
        made = self._made.get(index)
        if made is None:
            made = self._made[index] = self._keys.fresh(tokens // self._block_tokens)
        return made


def extended(base: tuple[int, ...], prompt_tokens: int, block_tokens: int, keys: Keys) -> tuple[int, ...]:
    """The keys of a prompt that begins with the blocks ``base``: those, and fresh ones for the rest."""
    return base + keys.fresh(-(-prompt_tokens // block_tokens) - len(base))
