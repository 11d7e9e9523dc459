"""Pools that do one thing, and instances of unequal speed. Letters as in :mod:`scheduler.formulas.delay`."""

from __future__ import annotations

from scheduler.formulas.delay import marginal_delay, pair_decode_delay
from scheduler.ops import Number


def decode_pool_delay(
    batch: Number,
    kv_tokens: Number,
    decode_s_per_request: Number,
    kv_s_per_token: Number,
    prompt_tokens: Number,
    expected_output_tokens: Number,
) -> Number:
    """Score of least harm on a pool that only decodes: ``(2 gamma + c (L + n_out - 1)) B + c K`` [s/step].

    Times ``n_out`` it is the delay that the request adds, but for a constant. Without KV reads only ``B`` counts.

    Args:
        batch: B, >= 1 [request].
        kv_tokens: K, KV tokens of the others, >= 0 [token].
        decode_s_per_request: gamma, the same on all, >= 0 [s/request].
        kv_s_per_token: c, the same on all, >= 0 [s/token].
        prompt_tokens: L, >= 1 [token].
        expected_output_tokens: n_out, >= 1 [token].

    Example:
        >>> round(decode_pool_delay(4, 50_000, 0.00001, 1e-9, 801, 200), 9)
        0.000134

    Source: claim ``disaggregated_pools``.
    """
    reads = kv_s_per_token * (prompt_tokens + expected_output_tokens - 1)
    return (2 * decode_s_per_request + reads) * batch + kv_s_per_token * kv_tokens


def timed_product(prefill_s_per_token: Number, tokens: Number, batch: Number) -> Number:
    """The product with the time of a token: ``tau P B`` [s request].

    Args:
        prefill_s_per_token: tau of the instance, > 0 [s/token].
        tokens: P, > 0 [token].
        batch: B, >= 1 [request].

    Example:
        >>> timed_product(0.0001, 132, 4)
        0.0528

    Source: claim ``unequal_speeds``.
    """
    return prefill_s_per_token * tokens * batch


def timed_delay(
    prefill_s_per_token: Number,
    queued_prefill_tokens: Number,
    new_tokens: Number,
    batch: Number,
    expected_output_tokens: Number,
    base_s: Number,
    decode_s_per_request: Number,
    overlap: Number = 1,
) -> Number:
    """Delay that a request adds on an instance: ``tau (q + n B) + n_out (T0 + gamma (1 + 2 overlap (B - 1)))`` [s].

    Own wait and decode, and what the others lose. With all others outliving it, ``gamma (2 B - 1)``. Between equal
    instances ``n_out (T0 + gamma)`` is a constant, and what is left is the marginal delay with the offset kappa.

    Args:
        prefill_s_per_token: tau of the instance, > 0 [s/token].
        queued_prefill_tokens: q, >= 0 [token].
        new_tokens: n, >= 1 [token].
        batch: B, >= 1 [request].
        expected_output_tokens: n_out, >= 0 [token].
        base_s: T0 of the instance, >= 0 [s].
        decode_s_per_request: gamma of the instance, >= 0 [s/request].
        overlap: share of its decode steps that another request shares, in [0, 1].

    Example:
        >>> round(timed_delay(0.0001, 100, 32, 4, 200, 0.005, 0.00001), 9)
        1.0368

    Source: claim ``unequal_speeds``.
    """
    alone = expected_output_tokens * (base_s + decode_s_per_request)
    shared = pair_decode_delay(overlap * expected_output_tokens, decode_s_per_request)
    return prefill_s_per_token * marginal_delay(queued_prefill_tokens, new_tokens, batch) + alone + shared * (batch - 1)
