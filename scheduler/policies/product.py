"""Product rules: ``argmin P-token x batch size`` and its named deviations.

Source: LMetric (arXiv 2603.15202; docs/sources.md#lmetric). The published router takes the lowest index among
equal scores, so ``ties`` is ``first`` by default.
"""

from __future__ import annotations

from scheduler.indicators import Indicators, new_prefill_tokens, p_token
from scheduler.ops import Number, Ops
from scheduler.policies.rule import Aggregates, Knobs, Rule


def product(_ops: Ops, x: Indicators, _: Aggregates, __: Knobs) -> Number:
    """``P_i B_i`` with queued prefill, the floor of one token and the request itself counted."""
    return x.p_token * x.batch_size


def product_without_floor(ops: Ops, x: Indicators, _: Aggregates, __: Knobs) -> Number:
    """As published: a fully cached prompt on an instance without queue scores 0 (claim ``zero_collapse``)."""
    return p_token(x.queued_prefill_tokens, new_prefill_tokens(ops, x.prompt_tokens, x.hit_tokens, 0)) * x.batch_size


def product_without_queue(_ops: Ops, x: Indicators, _: Aggregates, __: Knobs) -> Number:
    """The port that forgets queued prefill: only this request's uncached tokens count."""
    return x.new_prefill_tokens * x.batch_size


def product_without_self(_ops: Ops, x: Indicators, _: Aggregates, __: Knobs) -> Number:
    """The port whose batch does not count the request: idle instances score 0 (claim ``idle_collapse``)."""
    return x.p_token * (x.running + x.waiting)


LMETRIC = Rule(
    "lmetric", "P-token x batch size, floor one token", "LMetric, arXiv 2603.15202; docs/sources.md#lmetric", product
)
LMETRIC_PAPER = Rule(
    "lmetric_paper",
    "the product without floor",
    "blitz-router lmetric.rs; docs/sources.md#blitz-router",
    product_without_floor,
)
LMETRIC_NO_QUEUE = Rule(
    "lmetric_no_queue",
    "the product without queued prefill",
    "llm-d-router PR 2351; docs/sources.md#lmetric-ports",
    product_without_queue,
)
LMETRIC_NO_SELF = Rule(
    "lmetric_no_self", "the product, request itself not counted", "claim idle_collapse", product_without_self
)

RULES = (LMETRIC, LMETRIC_PAPER, LMETRIC_NO_QUEUE, LMETRIC_NO_SELF)
