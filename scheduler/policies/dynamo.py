"""NVIDIA Dynamo: the default cost, in KV blocks, and the two-tier rule.

``cost_i = s max(0, (q_i + L)/B - c d_i h_i/B) + active_i + added_i + w_r (R_i + W_i)``, where ``c`` is the overlap
credit and ``d_i = 1/(1 + decay (q_i - min q)/L)`` takes credit from workers with more pending prefill than the least.

Choices where the source leaves one: overlap is of the device tier only (we have no host, disk or shared tier), block
counts of the prompt are fractions ``tokens/B`` (so a partial last block counts as a part) in the cost and its full
blocks in the two-tier rule (only these can overlap, so a fully cached prompt has overlap 1), and active requests do not
count the request at hand.

Source: NVIDIA Dynamo, ``selector/reference.rs`` at 0c3850c (cost, uniform ties, temperature) and
``two_tier_cost_fn.rs`` (docs/sources.md#dynamo).
"""

from __future__ import annotations

from scheduler.domains import REQUESTS_MAX, Domain
from scheduler.indicators import Indicators
from scheduler.ops import Number, Ops, Over
from scheduler.policies.common import (
    FULL_BLOCKS,
    holds_longest_or_load_decides,
    in_flight,
    load_range_and_longest_match,
)
from scheduler.policies.rule import Aggregates, Knob, Knobs, Pick, Rule


def least_queue(_ops: Ops, over: Over, knobs: Knobs) -> Aggregates:
    """The least pending prefill; needed only if credit decays."""
    return over.least(lambda x: x.queued_prefill_tokens) if knobs.overlap_credit_decay > 0 else None


def cost(ops: Ops, x: Indicators, least: Aggregates, knobs: Knobs) -> Number:
    """Blocks to prefill less credit, plus blocks held, plus requests at their weight [block]."""
    credit = knobs.overlap_credit * x.hit_tokens
    if knobs.overlap_credit_decay > 0:
        credit = credit / (1 + knobs.overlap_credit_decay * (x.queued_prefill_tokens - least) / x.prompt_tokens)
    prefill = ops.max_(0, x.queued_prefill_tokens + x.prompt_tokens - credit) / x.block_tokens
    held = x.active_blocks + x.added_blocks
    return knobs.prefill_load_scale * prefill + held + knobs.decode_request_weight * in_flight(x)


def holds_best_hit_or_no_cache_tier(ops: Ops, x: Indicators, aggregates: Aggregates, knobs: Knobs) -> Number:
    """In the cache tier only workers with exactly the greatest overlap stay; in a load tier all do."""
    return holds_longest_or_load_decides(ops, x, aggregates, x.recalled["full_block_tokens"], knobs)


def requests(_ops: Ops, x: Indicators, _: Aggregates, __: Knobs) -> Number:
    """Active requests."""
    return in_flight(x)


_FACTOR = Domain(0, None, typical_high=4)

DYNAMO = Rule(
    "dynamo",
    "blocks to prefill plus blocks held",
    "Dynamo selector/reference.rs 0c3850c; docs/sources.md#dynamo",
    cost,
    least_queue,
    pick=Pick.SOFTMAX,
    knobs=(
        Knob("overlap_credit", 1.0, "blocks of prefill taken off per cached block", _FACTOR, sweep=(1.0, 1.5, 2.0)),
        Knob("prefill_load_scale", 1.0, "weight of the prefill term", _FACTOR, sweep=(0.5, 1.0, 2.0, 4.0, 8.0, 16.0)),
        Knob(
            "decode_request_weight",
            0.0,
            "blocks charged per active request",
            Domain(0, None, unit="block/request", typical_high=64),
            sweep=(0.0, 16.0, 64.0, 256.0),
        ),
        Knob(
            "overlap_credit_decay",
            0.0,
            "how fast pending prefill takes credit away; 0 is off",
            _FACTOR,
            sweep=(0.0, 1.0),
        ),
        Knob(
            "temperature",
            0.0,
            "of the softmax over costs scaled to [0, 1]; 0 takes the least",
            Domain(0, None, typical_high=1),
            sweep=(0.0, 0.1),
        ),
    ),
    needs=("active_blocks", "added_blocks"),
)
DYNAMO_TWO_TIER = Rule(
    "dynamo_two_tier",
    "even out load, else best overlap, else least load",
    "Dynamo two_tier_cost_fn.rs; docs/sources.md#dynamo",
    requests,
    load_range_and_longest_match,
    holds_best_hit_or_no_cache_tier,
    knobs=(
        Knob(
            "cache_threshold", 0.5, "overlap/prompt from where cache decides", Domain(0, 1), sweep=(0.1, 0.3, 0.5, 0.8)
        ),
        Knob(
            "abs_threshold",
            32,
            "difference of requests above which load decides",
            Domain(0, REQUESTS_MAX, integer=True, unit="request"),
            sweep=(4, 8, 16, 32, 64),
        ),
        Knob("rel_threshold", 1.1, "ratio of requests above which load decides", Domain(1, None), sweep=(1.1, 1.5)),
    ),
    memory=FULL_BLOCKS,
)

RULES = (DYNAMO, DYNAMO_TWO_TIER)
