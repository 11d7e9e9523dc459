"""One turn of ai-dynamo-runtime's ``RadixTree``, run by that peer's own interpreter; prints one JSON line.

Its Python binding takes an event as JSON and a prompt as a list of integers. Writing the JSON is not timed. What cannot
be left out: reading it, turning the list into native integers, and handing each call to the thread that owns the tree.
The case ``no blocks`` is a call with an empty prompt: what remains of a look-up without prompt and tree.
"""

import json
import statistics
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

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


def encoded(keys: Sequence[int], after: int | None) -> bytes:
    """An event as the binding reads it; a block is found by the same key that names it."""
    blocks = [{"block_hash": key, "tokens_hash": key} for key in keys]
    data = {"stored": {"parent_hash": after, "blocks": blocks}}
    return json.dumps({"event_id": 0, "data": data, "dp_rank": 0}, separators=(",", ":")).encode()


def apply(tree: Any, ready: Sequence[tuple[int, bytes]]) -> None:
    """Apply events, and wait until all are in the tree."""
    for instance, text in ready:
        tree.apply_event(instance, text)
    tree.find_matches([])


def matches(tree: Any, prompt: list[int]) -> dict[tuple[int, int], int]:
    """Blocks of a prompt by who holds them."""
    found: dict[tuple[int, int], int] = tree.find_matches(prompt).scores
    return found


def main(instances: int) -> None:
    """Time adding and looking up."""
    from dynamo import _core  # type: ignore[import-not-found] # the peer runs this, in its own environment

    adding, tree = {}, _core.RadixTree()
    for size in EVENT_SIZES:
        ready = [(instance, encoded(keys, after)) for instance, keys, after in events(instances, size)]
        tree = _core.RadixTree()
        adding[size] = {"from JSON": passed_s(partial(apply, tree, ready)) / INDEXED * 1e6}
    looking = {}
    for name, held in depths(instances).items():
        prompt = prompt_of(name) if held is not None else []
        for instance, depth in enumerate(held or ()):
            for _, keys, after in chained(instance, prompt[:depth], EVENT_BLOCKS):
                tree.apply_event(instance, encoded(keys, after))
        wanted = {(instance, 0): depth for instance, depth in enumerate(held or ())}
        assert matches(tree, prompt) == wanted, name
        looking[name] = statistics.median(timed(partial(matches, tree, prompt), 200))
    print(json.dumps({"add_us_per_block": adding, "lookup_us": looking}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
