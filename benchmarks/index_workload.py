"""What both sides of the index benchmarks are given: the same keys, events and prompts. Standard library alone.

A peer's own interpreter reads this file too.
"""

from __future__ import annotations

import random
import timeit
from collections.abc import Callable, Iterator
from typing import Any

#: Blocks in the index before anything is looked up.
INDEXED = 100_000
#: Blocks of the prompt that is looked up.
PROMPT = 1000
#: Blocks of the chains that fill the index.
CHAIN = 500
#: Blocks in one event: an engine tells of each chunk of a prefill, and of each block that decoding fills.
EVENT_BLOCKS = 32
EVENT_SIZES = (1, EVENT_BLOCKS)
ROUNDS = 30


def keys_of(rng: random.Random, count: int) -> list[int]:
    """Distinct block keys."""
    return [rng.getrandbits(64) for _ in range(count)]


def prompt_of(case: str) -> list[int]:
    """The prompt that is looked up in a case; no other case has a block of it."""
    return keys_of(random.Random(case), PROMPT)


def events(instances: int, size: int) -> Iterator[tuple[int, list[int], int | None]]:
    """Events of ``size`` blocks that fill the index: who stored, which blocks, after which one."""
    rng = random.Random(instances)
    for _ in range(INDEXED // CHAIN):
        yield from chained(rng.randrange(instances), keys_of(rng, CHAIN), size)


def chained(instance: int, keys: list[int], size: int) -> Iterator[tuple[int, list[int], int | None]]:
    """Events of an instance that stores one chain."""
    for start in range(0, len(keys), size):
        yield instance, keys[start : start + size], keys[start - 1] if start else None


def depths(instances: int) -> dict[str, list[int] | None]:
    """How many blocks of the prompt the first instances hold, by case; None: the prompt has no blocks."""
    return {"no blocks": None, "miss": [], "one holds all": [PROMPT], "all hold 700": [700] * instances}


def passed_s(call: Callable[[], Any]) -> float:
    """Wall time of one call without the garbage collector, as ``timeit`` has it [s]."""
    return timeit.timeit(call, number=1)


def timed(call: Callable[[], Any], number: int, rounds: int = ROUNDS) -> list[float]:
    """Microseconds a call, over rounds."""
    return [seconds / number * 1e6 for seconds in timeit.repeat(call, number=number, repeat=rounds)]
