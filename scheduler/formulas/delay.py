"""Delay that one request adds, and what multiplication has to do with it.

Letters: ``q`` queued prefill tokens, ``n`` new prefill tokens, ``B`` batch size counting the request, ``tau`` engine
time per prefill token, ``gamma`` added decode step time per extra request.
"""

from __future__ import annotations

from scheduler.ops import Number


def marginal_delay(queued_prefill_tokens: Number, new_tokens: Number, batch: Number, offset: Number = 0) -> Number:
    """Delay that one request adds on an instance, in units of tau: ``q + (n + kappa) B`` [token].

    Its own wait is ``q + n``; each of the ``B - 1`` others loses ``n`` while its prefill runs; ``kappa`` counts decode.

    Args:
        queued_prefill_tokens: q, >= 0 [token].
        new_tokens: n, >= 1 [token].
        batch: B, >= 1 [request].
        offset: kappa, >= 0 [token]; 0 leaves decode out.

    Example:
        >>> marginal_delay(100, 32, 4), marginal_delay(100, 32, 4, offset=10)
        (228, 268)

    Source: claims ``marginal_delay``, ``decode_offset``.
    """
    return queued_prefill_tokens + (new_tokens + offset) * batch


def kappa(
    prefill_s_per_token: Number, decode_s_per_request: Number, expected_output_tokens: Number, overlap: Number = 1
) -> Number:
    """Decode time that a request costs itself and each other one, in prefill tokens: ``2 gamma s / tau`` [token].

    ``s = overlap * n_out`` is the expected number of decode steps that the request shares with another one.

    Args:
        prefill_s_per_token: tau, > 0 [s/token].
        decode_s_per_request: gamma, >= 0 [s/request].
        expected_output_tokens: n_out, >= 0 [token].
        overlap: share of the request's decode steps that another request shares, in [1/2, 1]: 1/2 if the residual
            outputs of the others are uniform, 1 if all others outlive the request.

    Example:
        >>> kappa(0.0001, 0.00001, 200)
        40.0

    Source: claim ``decode_offset``, without KV reads.
    """
    return 2 * decode_s_per_request * overlap * expected_output_tokens / prefill_s_per_token
