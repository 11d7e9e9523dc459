"""Closed forms that rules, the detector and the derivations share; each stands here once.

Written in plain arithmetic over the operands' world (see :mod:`scheduler.ops`): numbers, arrays, symbols and terms all
read the same lines. ``theory/`` derives exactly these functions. Letters as in the claims: ``q`` queued prefill tokens,
``n`` new prefill tokens, ``P = q + n``, ``B`` batch size counting the request, ``tau`` engine time per prefill token,
``gamma`` added decode step time per extra request, ``w`` price of one batch slot in prefill tokens.
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


def exchange_rate(weight: Number, token_scale: Number, batch_scale: Number) -> Number:
    """Price of one batch slot under the convex weight: ``w = ((1 - lambda)/lambda) (P_scale/B_scale)`` [token/request].

    Args:
        weight: lambda in (0, 1], the weight of the prefill term.
        token_scale: what the prefill term is divided by, > 0 [token].
        batch_scale: what the batch term is divided by, > 0 [request].

    Example:
        >>> exchange_rate(0.5, 8192, 32)
        256.0

    Source: claim ``agreement_interval``, notation.
    """
    return (1 - weight) * token_scale / (weight * batch_scale)


def line(tokens: Number, batch: Number, rate: Number) -> Number:
    """The linear score ``P + w B`` [token].

    Args:
        tokens: P, > 0 [token].
        batch: B, >= 1 [request].
        rate: w, >= 0 [token/request].

    Example:
        >>> line(132, 4, 256)
        1156

    Source: claim ``pairwise_exchange_rate``, notation.
    """
    return tokens + rate * batch
