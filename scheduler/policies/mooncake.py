"""Mooncake's Conductor: least estimated time to first token, with or without fetching the prefix from the best holder.

``TTFT_i = transfer + tau_i q_i + tau_i max(1, L - prefix_i)``. If the longest match is more than ``threshold`` times
that of the instance, the missing part of the prefix is fetched: ``prefix_i`` is the longest match and ``transfer``
its time. Otherwise the instance's own match counts and there is no transfer. Strictly less wins, so the lowest index
among equals.

Choices: the threshold was tuned by hand and is not published; the default ``none`` never fetches, because the engines
here do not copy KV between instances, and a rule that believes they do would be weaker than its source. Estimates are
linear in tokens. Decode instances are picked elsewhere in the paper; requests are never rejected here.

Source: Mooncake, FAST'25, algorithm 1 (docs/sources.md#mooncake).
"""

from __future__ import annotations

from scheduler.domains import Domain
from scheduler.indicators import Indicators, new_prefill_tokens, p_token
from scheduler.ops import Number, Ops
from scheduler.policies.common import longest_match
from scheduler.policies.rule import Aggregates, Knob, Knobs, Rule


def ttft(ops: Ops, x: Indicators, best: Aggregates, knobs: Knobs) -> Number:
    """Estimated time to first token [s]."""
    own = x.prefill_s_per_token * x.p_token
    if knobs.threshold is None:
        return own
    tokens = p_token(x.queued_prefill_tokens, new_prefill_tokens(ops, x.prompt_tokens, best))
    fetched = x.prefill_s_per_token * tokens + knobs.transfer_s_per_token * (best - x.hit_tokens)
    return ops.where(best > knobs.threshold * x.hit_tokens, fetched, own)


MOONCAKE_MIN_TTFT = Rule(
    "mooncake_min_ttft",
    "least estimated time to first token",
    "Mooncake, FAST'25, algorithm 1; docs/sources.md#mooncake",
    ttft,
    longest_match,
    knobs=(
        Knob(
            "threshold",
            None,
            "longest match / own match above which the prefix is fetched; none never fetches",
            Domain(1, None, typical_high=8),
            sweep=(None, 2, 8),
            optional=True,
        ),
        Knob(
            "transfer_s_per_token",
            5e-6,
            "time to fetch the KV of a token: 57 KiB (Qwen2-7B) over 100 Gbit/s",
            Domain(0, None, unit="s/token", typical_high=1e-4),
            sweep=(1e-6, 5e-6, 5e-5),
        ),
    ),
    needs=("prefill_s_per_token",),
)

RULES = (MOONCAKE_MIN_TTFT,)
