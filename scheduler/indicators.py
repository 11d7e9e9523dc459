"""Indicators: what a rule may look at, and the two formulas every product rule rests on.

In notation of the theory: ``n_i = max(floor, L - h_i)``, ``P_i = q_i + n_i`` (P-token) and ``B_i = R_i + W_i + 1``
(batch size, the request itself counted). The formulas are written over :class:`scheduler.ops.Ops`, so numbers,
arrays, symbols and solver terms all read the same lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from scheduler.ops import Number, Ops

#: An engine always computes at least the last token of a prompt, even if the whole prompt is cached.
FLOOR_TOKENS = 1

#: What a rule without memory recalls.
NOTHING: Mapping[str, Any] = MappingProxyType({})


def new_prefill_tokens(ops: Ops, prompt_tokens: Number, hit_tokens: Number, floor: Number = FLOOR_TOKENS) -> Number:
    """Tokens that this request would have to prefill: ``max(floor, L - h)`` [token].

    Args:
        ops: the world to compute in.
        prompt_tokens: prompt length L, >= 1.
        hit_tokens: contiguous cached prefix h of this request on the instance, >= 0.
        floor: least number of tokens an engine computes; 0 gives the published routers' form.

    Example:
        >>> from scheduler.ops import SCALAR
        >>> new_prefill_tokens(SCALAR, 160, 128), new_prefill_tokens(SCALAR, 160, 160)
        (32, 1)

    Source: LMetric, arXiv 2603.15202 (P-token); the floor is ours, see the claim ``zero_collapse``.
    """
    return ops.max_(floor, prompt_tokens - hit_tokens)


def p_token(queued_prefill_tokens: Number, new_tokens: Number) -> Number:
    """P-token: uncached prefill tokens queued on the instance plus those of this request [token]."""
    return queued_prefill_tokens + new_tokens


def batch_size(running: Number, waiting: Number) -> Number:
    """Batch size that this request would see: running + waiting + itself [request]."""
    return running + waiting + 1


@dataclass(frozen=True, slots=True)
class Indicators:
    """What a rule may look at: of one instance (numbers, symbols, terms) or of all (arrays).

    Args:
        running: requests decoding [request].
        waiting: requests assigned whose prefill is not known to be done [request].
        queued_prefill_tokens: uncached prefill tokens assigned and not yet computed, q [token].
        hit_tokens: contiguous cached prefix of this request on the instance, h [token].
        prompt_tokens: prompt length of this request, L [token].
        new_prefill_tokens: ``max(1, L - h)`` [token].
        p_token: ``q + max(1, L - h)`` [token].
        batch_size: ``running + waiting + 1`` [request].
        expected_output_tokens: expected output length of this request [token].
        context_tokens: all tokens of all requests on the instance, cached ones included [token].
        kv_used_fraction: share of the KV capacity held by requests on the instance.
        active_blocks: distinct KV blocks held by requests on the instance [block].
        added_blocks: KV blocks this request would add to those [block].
        block_tokens: tokens in a KV block [token].
        prefill_s_per_token: engine time per prefill token, tau [s/token].
        decode_s_per_request: added decode step time per extra request, gamma [s/request].
        base_s: engine time of a step with nothing in it [s].
        kv_s_per_token: added step time per KV token that decoding requests read [s/token].
        attention_s_per_pair: added step time per pair of a prefill token and one it attends to [s/token^2].
        recalled: what the rule's own memory and draws say of the instance, by name.
    """

    running: Number
    waiting: Number
    queued_prefill_tokens: Number
    hit_tokens: Number
    prompt_tokens: Number
    new_prefill_tokens: Number
    p_token: Number
    batch_size: Number
    expected_output_tokens: Number = None
    context_tokens: Number = None
    kv_used_fraction: Number = None
    active_blocks: Number = None
    added_blocks: Number = None
    block_tokens: Number = None
    prefill_s_per_token: Number = None
    decode_s_per_request: Number = None
    base_s: Number = None
    kv_s_per_token: Number = None
    attention_s_per_pair: Number = None
    recalled: Mapping[str, Number] = field(default_factory=lambda: NOTHING)


def indicators_of(ops: Ops, *, recalled: Mapping[str, Number] = NOTHING, **observed: Number) -> Indicators:
    """Complete observed numbers by the derived ones.

    Args:
        ops: the world to compute in.
        recalled: see :class:`Indicators`.
        observed: the fields of :class:`Indicators` that are not derived; the first five are required.

    Example:
        >>> from scheduler.ops import SCALAR
        >>> seen = {"running": 2, "waiting": 1, "queued_prefill_tokens": 100, "hit_tokens": 128, "prompt_tokens": 160}
        >>> x = indicators_of(SCALAR, **seen)
        >>> x.p_token, x.batch_size
        (132, 4)
    """
    new_tokens = new_prefill_tokens(ops, observed["prompt_tokens"], observed["hit_tokens"])
    return Indicators(
        new_prefill_tokens=new_tokens,
        p_token=p_token(observed["queued_prefill_tokens"], new_tokens),
        batch_size=batch_size(observed["running"], observed["waiting"]),
        recalled=recalled,
        **observed,
    )
