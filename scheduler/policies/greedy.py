"""Rules that look at prefill or cache alone. Source: docs/sources.md#blitz-router."""

from __future__ import annotations

from scheduler.indicators import Indicators
from scheduler.ops import Number, Ops
from scheduler.policies.rule import Aggregates, Knobs, Pick, Rule


def tokens(_ops: Ops, x: Indicators, _: Aggregates, __: Knobs) -> Number:
    """P-token, floor one token: least harm on a prefill-only pool (claim ``disaggregated_pools``)."""
    return x.p_token


def hit(_ops: Ops, x: Indicators, _: Aggregates, __: Knobs) -> Number:
    """Cached tokens, turned round."""
    return -x.hit_tokens


LEAST_P_TOKEN = Rule("least_p_token", "least P-token", "least-wait-token-q; docs/sources.md#blitz-router", tokens)
# The LMetric router takes the last of equal maxima, llm-d any; a fixed place would pile all new prompts on one
# instance, so equal hits are drawn.
MOST_HIT = Rule("most_hit", "longest cached prefix", "most-hit-q; docs/sources.md#blitz-router", hit, pick=Pick.RANDOM)

RULES = (LEAST_P_TOKEN, MOST_HIT)
