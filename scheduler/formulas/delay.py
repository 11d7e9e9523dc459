"""Delay that one request adds, and what multiplication has to do with it.

Letters: ``q`` queued prefill tokens, ``n`` new prefill tokens, ``B`` batch size counting the request, ``tau`` engine
time per prefill token, ``gamma`` added decode step time per extra request, ``c`` step time per KV token read, ``T0``
step time with nothing in it, ``n_out`` output tokens of the request, ``L`` its prompt, ``K`` KV tokens of the others.
"""

from __future__ import annotations

from scheduler.ops import Number, Ops


def marginal_delay(queued_prefill_tokens: Number, new_tokens: Number, batch: Number, offset: Number = 0) -> Number:
    """Delay that one request adds on an instance, in units of tau: ``q + (n + kappa) B`` [token].

    Its own wait is ``q + n``; each of the ``B - 1`` others loses ``n`` while its prefill runs; ``kappa`` counts decode.
    Where it is known how many the prefill delays, ``batch`` is one more than these: others that are still unfinished
    then, and later arrivals that come before the queue in front of it is done.

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


def step_overhead(
    base_s: Number, decode_s_per_request: Number, running: Number, prefill_s_per_token: Number, chunk_tokens: Number
) -> Number:
    """What a step with a prefill chunk costs beside the chunk, over the chunk: ``e = (T0 + gamma R)/(tau chunk)`` [1].

    Args:
        base_s: T0, >= 0 [s].
        decode_s_per_request: gamma, >= 0 [s/request].
        running: R, requests that decode beside the chunks, >= 0 [request].
        prefill_s_per_token: tau, > 0 [s/token].
        chunk_tokens: prefill tokens of a step, > 0 [token].

    Example:
        >>> step_overhead(0.005, 0.00001, 100, 0.0001, 2000)
        0.03

    Source: claim ``marginal_delay``, chunked prefill.
    """
    return (base_s + decode_s_per_request * running) / (prefill_s_per_token * chunk_tokens)


def chunked_delay(queued_prefill_tokens: Number, new_tokens: Number, batch: Number, overhead: Number) -> Number:
    """Marginal delay with chunked prefill, in units of tau: ``q + n B + e (q + n)`` [token].

    The own wait grows by the overhead of its steps. What the others lose does not change: each of them decodes in
    every step, and the steps it still needs are longer by ``n`` prefill tokens in all.

    Args:
        queued_prefill_tokens: q, >= 0 [token].
        new_tokens: n, >= 1 [token].
        batch: B, >= 1 [request].
        overhead: e of :func:`step_overhead`, >= 0 [1]; whole chunks are assumed, the last one adds one step at most.

    Example:
        >>> chunked_delay(100, 32, 4, 0.25)
        261.0

    Source: claim ``marginal_delay``, chunked prefill.
    """
    return marginal_delay(queued_prefill_tokens, new_tokens, batch) + overhead * (queued_prefill_tokens + new_tokens)


def loaded_delay(
    queued_prefill_tokens: Number, new_tokens: Number, batch: Number, load: Number, later_tokens: Number
) -> Number:
    """Marginal delay while arrivals go on, in units of tau [token].

    ``q + n + (n (B - 1) + rho n (q + n/2)/p)/(1 - rho)``. Fluid: arrivals of ``p`` new tokens each keep the prefill
    busy for a share ``rho`` of the time. What is pushed back meets more of them, so the others lose ``n/(1 - rho)``;
    and arrivals queue behind the request until the backlog is gone. Without load it is the marginal delay.

    Args:
        queued_prefill_tokens: q, >= 0 [token].
        new_tokens: n, >= 1 [token].
        batch: B, >= 1; the others outlive the backlog [request].
        load: rho in [0, 1): prefill tokens that arrive per second, times tau [1].
        later_tokens: p, mean new prefill tokens of an arrival, > 0 [token].

    Example:
        >>> loaded_delay(100, 32, 4, 0.0, 64), loaded_delay(100, 32, 4, 0.5, 64)
        (228.0, 382.0)

    Source: claim ``delay_under_load``.
    """
    others = new_tokens * (batch - 1)
    behind = load * new_tokens * (queued_prefill_tokens + new_tokens / 2) / later_tokens
    return queued_prefill_tokens + new_tokens + (others + behind) / (1 - load)


def cross_term(queued_prefill_tokens: Number, batch: Number) -> Number:
    """What the product charges beyond the marginal delay: ``q (B - 1)`` [token].

    Args:
        queued_prefill_tokens: q, >= 0 [token].
        batch: B, >= 1 [request].

    Example:
        >>> cross_term(100, 4)  # (100 + 32) * 4 = 228 + 300
        300

    Source: claim ``product_is_marginal_delay_plus_cross_term``.
    """
    return queued_prefill_tokens * (batch - 1)


def product_regret(queued_prefill_tokens: Number, new_tokens: Number, batch: Number) -> Number:
    """The most delay that the product's choice adds, over the least: ``1 + q (B - 1)/(q + n B)`` [1].

    Taken at the instance of least harm. It is ``(q + n) B/(q + n B)``, so at most ``B`` and at most ``(q + n)/n``.

    Args:
        queued_prefill_tokens: q of the instance of least harm, >= 0 [token].
        new_tokens: its n, >= 1 [token].
        batch: its B, >= 1 [request].

    Example:
        >>> product_regret(90, 30, 4), product_regret(0, 30, 4)
        (2.2857142857142856, 1.0)

    Source: claim ``product_is_marginal_delay_plus_cross_term``.
    """
    return 1 + cross_term(queued_prefill_tokens, batch) / marginal_delay(queued_prefill_tokens, new_tokens, batch)


def pair_decode_delay(
    steps: Number,
    decode_s_per_request: Number,
    kv_s_per_token: Number = 0,
    prompt_tokens: Number = 0,
    other_kv_tokens: Number = 0,
) -> Number:
    """What two requests that decode together for ``s`` steps cost each other: ``s (2 gamma + c (L + K + s - 1))`` [s].

    Args:
        steps: s, decode steps that the two share, >= 0 [step].
        decode_s_per_request: gamma, >= 0 [s/request].
        kv_s_per_token: c, >= 0 [s/token].
        prompt_tokens: L, KV tokens of the one in the first shared step, >= 0 [token].
        other_kv_tokens: K, those of the other, >= 0 [token].

    Example:
        >>> pair_decode_delay(200, 0.00001)
        0.004

    Source: claim ``decode_offset``.
    """
    reads = kv_s_per_token * (prompt_tokens + other_kv_tokens + steps - 1)
    return steps * (2 * decode_s_per_request + reads)


def kappa(
    prefill_s_per_token: Number, decode_s_per_request: Number, expected_output_tokens: Number, overlap: Number = 1
) -> Number:
    """Decode time that a request and each other one cost each other, in prefill tokens: ``2 gamma s/tau`` [token].

    ``s = overlap n_out`` is the expected number of decode steps that the request shares with another one.

    Args:
        prefill_s_per_token: tau, > 0 [s/token].
        decode_s_per_request: gamma, >= 0 [s/request].
        expected_output_tokens: n_out, >= 0 [token].
        overlap: share of the request's decode steps that another request shares, in [0, 1]; see
            :func:`uniform_overlap`. It is 1/2 if the others have the same length and are anywhere in their output, or
            if all outputs have no memory and one mean, the request's own as well; 1 - 1/e if the request's length is
            given and the others' have no memory, with that mean; and 1 if all others outlive the request.

    Example:
        >>> kappa(0.0001, 0.00001, 200)
        40.0

    Source: claim ``decode_offset``, without KV reads.
    """
    return 2 * decode_s_per_request * overlap * expected_output_tokens / prefill_s_per_token


def uniform_overlap(ops: Ops, expected_output_tokens: Number, other_output_tokens: Number) -> Number:
    """Share of a request's decode steps that another one shares which is anywhere in its output [1].

    The other has ``m`` output tokens and a residual uniform on ``[0, m]``: ``1 - n_out/(2 m)`` if ``n_out <= m``, else
    ``m/(2 n_out)``. So it is 1/2 at equal lengths, and less where the others are shorter.

    Args:
        ops: the world to compute in.
        expected_output_tokens: n_out, > 0 [token].
        other_output_tokens: m, > 0 [token].

    Example:
        >>> from scheduler.ops import SCALAR
        >>> [uniform_overlap(SCALAR, 200, m) for m in (100, 200, 400)]
        [0.25, 0.5, 0.75]

    Source: claim ``decode_offset``.
    """
    own, other = expected_output_tokens, other_output_tokens
    return ops.where(own <= other, 1 - own / (2 * other), other / (2 * own))


def kappa_with_kv_reads(
    prefill_s_per_token: Number,
    decode_s_per_request: Number,
    expected_output_tokens: Number,
    kv_s_per_token: Number,
    prompt_tokens: Number,
) -> Number:
    """Decode offset with KV reads: ``n_out (2 gamma + c (L + n_out - 1))/tau`` [token].

    All others outlive the request. The reads of the others' own KV tokens come on top: :func:`kv_read_delay`.

    Args:
        prefill_s_per_token: tau, > 0 [s/token].
        decode_s_per_request: gamma, >= 0 [s/request].
        expected_output_tokens: n_out, >= 0 [token].
        kv_s_per_token: c, >= 0 [s/token].
        prompt_tokens: L, >= 1 [token].

    Example:
        >>> round(kappa_with_kv_reads(0.0001, 0.00001, 200, 1e-9, 801), 6)
        42.0

    Source: claim ``decode_offset``.
    """
    pair = pair_decode_delay(expected_output_tokens, decode_s_per_request, kv_s_per_token, prompt_tokens)
    return pair / prefill_s_per_token


def kv_read_delay(
    prefill_s_per_token: Number, expected_output_tokens: Number, kv_s_per_token: Number, kv_tokens: Number
) -> Number:
    """Delay of a request by reads of KV tokens that are on the instance already: ``c n_out K/tau`` [token].

    Args:
        prefill_s_per_token: tau, > 0 [s/token].
        expected_output_tokens: n_out, >= 0 [token].
        kv_s_per_token: c, >= 0 [s/token].
        kv_tokens: K, KV tokens of the others as the request begins to decode, >= 0 [token].

    Example:
        >>> round(kv_read_delay(0.0001, 200, 1e-9, 50_000), 6)
        100.0

    Source: claim ``decode_offset``.
    """
    return kv_s_per_token * expected_output_tokens * kv_tokens / prefill_s_per_token


def delay_leverage(
    tokens_out: Number, queue_out: Number, batch_out: Number, tokens_in: Number, offset: Number = 0
) -> Number:
    """The most batch imbalance that a hit buys under least harm: ``(n' + kappa + q'/B')/(n + kappa)`` [1].

    The rule takes an instance rather than ``'`` only while its batch is at most so many times the batch of ``'``.

    Args:
        tokens_out: n', new tokens on the other instance, at most L [token].
        queue_out: q', prefill queued there, >= 0 [token].
        batch_out: B', >= 1 [request].
        tokens_in: n, new tokens on the one taken, at least the floor [token].
        offset: kappa, >= 0 [token].

    Example:
        >>> delay_leverage(1088, 0, 1, 64), delay_leverage(1088, 0, 1, 64, offset=192)
        (17.0, 5.0)

    Source: claim ``decode_offset``, leverage.
    """
    return (tokens_out + offset + queue_out / batch_out) / (tokens_in + offset)
