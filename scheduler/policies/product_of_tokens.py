"""The product with another second factor: ``argmin P-token x tokens``, all tokens on the instance for its batch size.

The choice of indicator that LMetric argues against: step time follows the number of requests more closely than their
tokens. It is no product of P-token and batch size, so claims and findings about that one do not speak of it.

Source: LMetric (arXiv 2603.15202; docs/sources.md#lmetric). Ties: lowest index.
"""

from __future__ import annotations

from scheduler.indicators import Indicators
from scheduler.ops import Number, Ops
from scheduler.policies.rule import Aggregates, Knobs, Rule


def product_of_tokens(_ops: Ops, x: Indicators, _: Aggregates, __: Knobs) -> Number:
    """P-token times all tokens on the instance, this prompt counted."""
    return x.p_token * (x.context_tokens + x.prompt_tokens)


LMETRIC_TOKENS = Rule(
    "lmetric_tokens",
    "P-token x all tokens on the instance",
    "LMetric argues against it; docs/sources.md#lmetric",
    product_of_tokens,
    needs=("context_tokens",),
)

RULES = (LMETRIC_TOKENS,)
