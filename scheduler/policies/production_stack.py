"""vLLM production-stack, policy ``loadaware``: ``argmax min(h, L)/L - beta (load - mean)/max(1, mean)``.

Choices: load is requests in flight; ties go by endpoint URL in the source and by index here; where nobody holds any
of the prompt the source falls back to session or rate, the formula here then takes the least loaded, which is no
weaker.

Source: vllm-project/production-stack, PR 1035 (docs/sources.md#production-stack).
"""

from __future__ import annotations

from scheduler.domains import Domain
from scheduler.indicators import Indicators
from scheduler.ops import Number, Ops, Over
from scheduler.policies.rule import Aggregates, Knob, Knobs, Rule


def total_and_size(_ops: Ops, over: Over, _: Knobs) -> Aggregates:
    """Requests in flight and number of instances."""
    return over.total(lambda x: x.running + x.waiting), over.size()


def negative_score(ops: Ops, x: Indicators, aggregates: Aggregates, knobs: Knobs) -> Number:
    """Relative load at its weight, less the hit ratio; relative load is taken times N above and below."""
    total, size = aggregates
    relative = (size * (x.running + x.waiting) - total) / ops.max_(size, total)
    return knobs.beta * relative - ops.min_(x.hit_tokens, x.prompt_tokens) / x.prompt_tokens


LOAD_AWARE = Rule(
    "load_aware",
    "hit ratio less relative load",
    "production-stack PR 1035; docs/sources.md#production-stack",
    negative_score,
    total_and_size,
    knobs=(
        Knob(
            "beta",
            1.0,
            "hit ratio that a load of twice the mean costs",
            Domain(0, None, typical_high=4),
            sweep=(0.1, 0.25, 0.5, 1.0, 2.0, 4.0),
        ),
    ),
)

RULES = (LOAD_AWARE,)
