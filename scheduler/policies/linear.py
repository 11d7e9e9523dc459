"""The line that the product is measured against: a weighted sum of cache and load, weight lambda.

Two forms, both with the weight on the cache side:

- ``p_token``: ``P_i + w B_i``, ``w = ((1 - lambda)/lambda) (8192 tokens / 32 requests)``. This is the claims' line: the
  product's own two indicators and one fixed exchange rate w. The scales are constants (a long prompt, a busy
  batch), so that lambda = 1/2 means w = 256 tokens per request; lambda = 1 is
  :data:`~scheduler.policies.greedy.LEAST_P_TOKEN`.
- ``hit_ratio``: ``lambda (1 - h_i/L) + (1 - lambda) B_i / max_j B_j``, the paper's baseline: hit ratio and batch size
  normalised per decision, queued prefill unseen. Times ``L/lambda`` it is ``(L - h_i) + w B_i`` with ``w = ((1 -
  lambda)/lambda) (L / max_j B_j)``: an exchange rate that moves with each request and state.

Source: LMetric (arXiv 2603.15202), second hand, from published notes on the paper: lambda 0.7 was best for chat, 0.55
for API calls (docs/sources.md#lmetric).
"""

from __future__ import annotations

from scheduler import formulas
from scheduler.domains import Domain
from scheduler.indicators import Indicators
from scheduler.ops import Number, Ops, Over
from scheduler.policies.common import missed_tokens
from scheduler.policies.rule import Aggregates, Knob, Knobs, Rule

#: Scales of the form ``p_token``; the sweep of lambda then spans w from 5 to 4864 tokens per request.
TOKEN_SCALE = 8192
BATCH_SCALE = 32


def greatest_batch(_ops: Ops, over: Over, knobs: Knobs) -> Aggregates:
    """The greatest batch size, for the form ``hit_ratio``."""
    return None if knobs.form == "p_token" else over.most(lambda x: x.batch_size)


def weighted_sum(ops: Ops, x: Indicators, most_batch: Aggregates, knobs: Knobs) -> Number:
    """The score of either form; least wins."""
    if knobs.form == "p_token":
        return formulas.line(x.p_token, x.batch_size, formulas.exchange_rate(knobs.weight, TOKEN_SCALE, BATCH_SCALE))
    missed = missed_tokens(ops, x.prompt_tokens, x.hit_tokens) / x.prompt_tokens
    return knobs.weight * missed + (1 - knobs.weight) * x.batch_size / most_batch


LINEAR = Rule(
    "linear",
    "weighted sum of cache and load",
    "LMetric's linear baseline; docs/sources.md#lmetric",
    weighted_sum,
    greatest_batch,
    knobs=(
        Knob(
            "weight",
            0.7,
            "lambda, the weight of the cache term",
            Domain(0, 1, low_open=True, typical_high=1),
            sweep=(0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99),
        ),
        Knob(
            "form",
            "hit_ratio",
            "indicators of the sum",
            choices=("hit_ratio", "p_token"),
            sweep=("hit_ratio", "p_token"),
        ),
    ),
)

RULES = (LINEAR,)
