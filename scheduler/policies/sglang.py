"""SGLang's router (now smg), policy ``cache_aware``: even out load, else follow the cache, else least load.

Load is in-flight requests (running + waiting). Ties go to the instance with the fewest requests processed, then the
lowest index, in both branches. Choices: defaults are those of the command line (0.3, 64, 1.5); the matched tenant is
the instance with the longest cached prefix (event mode: lower load among equals), gated by ``match > threshold`` as
in tree mode; without a match the knob ``fallback`` takes the least loaded, as the code does, or the smallest tree, as
its header and older versions say (ties there by load). The size of a tree is what this router sent there and missed,
without evictions. The gates on token usage are off by default and left out. An instance that joins starts at zero.

Source: smg at 73da68c, policy ``cache_aware`` (docs/sources.md#sglang).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scheduler.domains import REQUESTS_MAX, Domain
from scheduler.indicators import Indicators
from scheduler.ops import SCALAR, Number, Ops
from scheduler.policies.common import (
    holds_longest_or_load_decides,
    in_flight,
    is_matched,
    load_decides,
    load_range_and_longest_match,
    missed_tokens,
    widened,
)
from scheduler.policies.rule import Aggregates, Knob, Knobs, Memory, Rule
from scheduler.state import Request


class Sent(NamedTuple):
    """How many requests went to each instance, and how many of their tokens it had to add to its tree."""

    processed: tuple[int, ...]
    tree_tokens: tuple[int, ...]


def _recall(sent: Sent, _: Request, view: Any, __: Knobs, ___: random.Random) -> Mapping[str, Sequence[Number]]:
    count = len(view.running)
    return {"processed": widened(sent.processed, count), "tree_tokens": widened(sent.tree_tokens, count)}


def _remember(sent: Sent, request: Request, view: Any, chosen: int, _: Knobs) -> Sent:
    processed, tree_tokens = (list(widened(column, len(view.running))) for column in sent)
    processed[chosen] += 1
    tree_tokens[chosen] += missed_tokens(SCALAR, request.prompt_tokens, view.hit_tokens[chosen])
    return Sent(tuple(processed), tuple(tree_tokens))


#: Columns ``processed`` and ``tree_tokens``; new tuples each decision, cheap at cluster size.
PROCESSED = Memory(
    columns={
        "processed": Domain(0, None, integer=True, unit="request", typical_high=1000),
        "tree_tokens": Domain(0, None, integer=True, unit="token", typical_high=1_000_000),
    },
    start=lambda count, _knobs: Sent((0,) * count, (0,) * count),
    recall=_recall,
    remember=_remember,
)


def holds_best_match_or_load_decides(ops: Ops, x: Indicators, aggregates: Aggregates, knobs: Knobs) -> Number:
    """All if loads are uneven or the best match is short; else those with the best match."""
    return holds_longest_or_load_decides(ops, x, aggregates, x.prompt_tokens, knobs)


def load_then_processed(ops: Ops, x: Indicators, aggregates: Aggregates, knobs: Knobs) -> tuple[Number, ...]:
    """In-flight requests, then requests processed; led by the tree's size where that fallback decides."""
    load = in_flight(x), x.recalled["processed"]
    if knobs.fallback == "least_load":
        return load
    falls_back = ops.not_(ops.or_(load_decides(ops, aggregates, knobs), is_matched(aggregates, x.prompt_tokens, knobs)))
    return ops.where(falls_back, x.recalled["tree_tokens"], 0), *load


SGLANG_CACHE_AWARE = Rule(
    "sglang_cache_aware",
    "even out load, else best match, else least load",
    "smg 73da68c cache_aware; docs/sources.md#sglang",
    load_then_processed,
    load_range_and_longest_match,
    holds_best_match_or_load_decides,
    knobs=(
        Knob(
            "cache_threshold", 0.3, "match/prompt above which cache decides", Domain(0, 1), sweep=(0.1, 0.3, 0.5, 0.8)
        ),
        Knob(
            "abs_threshold",
            64,
            "difference of loads above which load decides",
            Domain(0, REQUESTS_MAX, integer=True, unit="request"),
            sweep=(4, 8, 16, 32, 64),
        ),
        Knob("rel_threshold", 1.5, "ratio of loads above which load decides", Domain(1, None), sweep=(1.1, 1.5)),
        Knob(
            "fallback",
            "least_load",
            "who gets a request that matches too little",
            choices=("least_load", "smallest_tree"),
            sweep=("least_load", "smallest_tree"),
        ),
    ),
    memory=PROCESSED,
)

RULES = (SGLANG_CACHE_AWARE,)
