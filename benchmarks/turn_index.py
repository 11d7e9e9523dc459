"""One turn of argprod's prefix index in a process of its own: events applied, prompts looked up; prints one JSON line.

Blocks are added twice: with ready keys, as ``PrefixIndex.add`` takes them; and from the JSON that the peer is given,
decoded first, for a time that has the same in it as the peer's.
"""

from __future__ import annotations

import json
import statistics
import sys
from functools import partial

import msgspec

from benchmarks.index_workload import (
    EVENT_BLOCKS,
    EVENT_SIZES,
    INDEXED,
    chained,
    depths,
    events,
    passed_s,
    prompt_of,
    timed,
)
from benchmarks.turn_dynamo_index import encoded
from scheduler.prefix_index import PrefixIndex

BLOCK_TOKENS = 16


class Block(msgspec.Struct):
    """One stored block."""

    block_hash: int


class Stored(msgspec.Struct):
    """Blocks in order, and the one before them."""

    blocks: list[Block]
    parent_hash: int | None = None


class Data(msgspec.Struct):
    """What happened."""

    stored: Stored


class Event(msgspec.Struct):
    """The parts of the peer's event that an index needs."""

    data: Data


def added(instances: int, size: int) -> tuple[PrefixIndex, dict[str, float]]:
    """A full index, and what a block took with ready keys and from JSON [us]."""
    ready = list(events(instances, size))
    texts = [(instance, encoded(keys, after)) for instance, keys, after in ready]
    decode = msgspec.json.Decoder(Event).decode
    by_keys, by_json = PrefixIndex(instances), PrefixIndex(instances)

    def add_keys() -> None:
        for instance, keys, after in ready:
            by_keys.add(instance, keys, after)

    def add_json() -> None:
        for instance, text in texts:
            stored = decode(text).data.stored
            by_json.add(instance, [block.block_hash for block in stored.blocks], stored.parent_hash)

    adding = {"ready keys": passed_s(add_keys) / INDEXED * 1e6, "from JSON": passed_s(add_json) / INDEXED * 1e6}
    assert len(by_keys) == len(by_json) == INDEXED
    return by_json, adding


def main(instances: int) -> None:
    """Time adding and looking up."""
    adding, index = {}, PrefixIndex(instances)
    for size in EVENT_SIZES:
        index, adding[size] = added(instances, size)
    looking = {}
    for name, held in depths(instances).items():
        prompt = prompt_of(name) if held is not None else []
        for instance, depth in enumerate(held or ()):
            for event in chained(instance, prompt[:depth], EVENT_BLOCKS):
                index.add(*event)
        wanted = [depth * BLOCK_TOKENS for depth in held or ()]
        prompt = [int(str(key)) for key in prompt]  # equal numbers, but other objects than the index holds
        assert index.hit_tokens(prompt, BLOCK_TOKENS) == wanted + [0] * (instances - len(wanted)), name
        looking[name] = statistics.median(timed(partial(index.hit_tokens, prompt, BLOCK_TOKENS), 200))
    print(json.dumps({"add_us_per_block": adding, "lookup_us": looking}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
