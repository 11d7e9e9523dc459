"""SGLang's router (now smg), policy ``cache_aware``: even out load, else follow the cache, else least load.

Load is in-flight requests (running + waiting). Ties go to the instance with the fewest requests processed, then the
lowest index, in both branches. Choices: defaults are those of the command line (0.3, 64, 1.5); the matched tenant is
the instance with the longest cached prefix (event mode: lower load among equals), gated by ``match > threshold`` as
in tree mode; without a match the least loaded is taken, as the code does (its header says: the smallest tree). The
gates on token usage are off by default and left out.

Source: PEERS.md 6.
"""

from __future__ import annotations

from scheduler.domains import REQUESTS_MAX, Domain
from scheduler.indicators import Indicators
from scheduler.ops import Number, Ops, Over
from scheduler.policies.rule import Aggregates, Knob, Knobs, Memory, Rule

#: Column ``processed``: how many requests were sent to each instance. A new tuple each decision, cheap at cluster size.
PROCESSED = Memory(
    columns={"processed": Domain(0, None, integer=True, unit="request", typical_high=1000)},
    start=lambda count, _knobs: (0,) * count,
    recall=lambda processed, _request, _view, _knobs, _rng: {"processed": processed},
    remember=lambda processed, _request, _view, chosen, _knobs: (
        *processed[:chosen],
        processed[chosen] + 1,
        *processed[chosen + 1 :],
    ),
)


def load_range_and_best_hit(_ops: Ops, over: Over, _: Knobs) -> Aggregates:
    """Least and most load, and the longest cached prefix."""
    least, most = over.least(lambda x: x.running + x.waiting), over.most(lambda x: x.running + x.waiting)
    return least, most, over.most(lambda x: x.hit_tokens)


def holds_best_match_or_load_decides(ops: Ops, x: Indicators, aggregates: Aggregates, knobs: Knobs) -> Number:
    """All if loads are uneven or the best match is short; else those with the best match."""
    least, most, best_hit = aggregates
    uneven = ops.and_(most - least > knobs.abs_threshold, most > knobs.rel_threshold * least)
    matched = best_hit > knobs.cache_threshold * x.prompt_tokens
    return ops.or_(ops.or_(uneven, ops.not_(matched)), ops.eq(x.hit_tokens, best_hit))


def load_then_processed(_ops: Ops, x: Indicators, _: Aggregates, __: Knobs) -> tuple[Number, ...]:
    """In-flight requests, then requests processed."""
    return x.running + x.waiting, x.recalled["processed"]


SGLANG_CACHE_AWARE = Rule(
    "sglang_cache_aware",
    "even out load, else best match, else least load",
    "PEERS.md 6",
    load_then_processed,
    load_range_and_best_hit,
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
    ),
    memory=PROCESSED,
)

RULES = (SGLANG_CACHE_AWARE,)
