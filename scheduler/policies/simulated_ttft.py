"""The rule that asks a simulator: least time to first token that a step-time model predicts.

Every step takes ``budget`` tokens: one for each running decode, the rest for prefill, first come, first served, so the
request waits for the queued prefill tokens and shares no step with what comes later. Steps are whole: with ``C = max(1,
budget - R)`` prefill tokens a step the request is through after ``k = ceil((q + n)/C)`` steps, and with a step of
``a + b prefill + c batch + d KV + e pairs`` (:class:`scheduler.cost.StepTime`) these take

    TTFT = k (a + c R) + b (q + n) + e n (2 L - n + 1)/2 + d (k V + R k (k - 1)/2)   [s]

where ``V = max(0, A - q)`` are the KV tokens that the decodes read in the first step, and R more in each later one. The
first decode step afterwards has ``R + W + 1`` requests, who read ``A + L + k R`` tokens. That is what rolling the
instance forward step by step gives (a test does), without the loop, so symbols and solver terms read it too.

Choices: the published simulators know every request of an instance, a state has sums only. So running requests decode
on to the end of the prediction, those that wait join them only after the request's own prefill, and none ends (the
source stops after 256 steps; a closed form needs no end). KV is read by all that is computed or cached there, although
the cached part of waiting prompts is not read yet. Pairs of attention are those of the request itself: how the queue
splits into prompts is not known. The rest of the step under way is left out. The linear step stands for the source's
tables. Strictly less wins, so the lowest index among equals. ``prefill_scale`` multiplies b and e, ``decode_scale`` c
and d: what a wrong model does to the rule can be replayed.

Source: the simulator of blitz-router and Vidur's step model (docs/sources.md#simulated-ttft).
"""

from __future__ import annotations

from typing import NamedTuple

from scheduler.domains import TOKENS_MAX, Domain
from scheduler.indicators import Indicators
from scheduler.ops import Number, Ops
from scheduler.policies.rule import Aggregates, Knob, Knobs, Rule

_SCALE = Domain(0, None, typical_high=4)
#: The knobs that :func:`predicted` reads.
MODEL_KNOBS = (
    Knob(
        "budget_tokens",
        4096,
        "tokens of one engine step",
        Domain(1, TOKENS_MAX, integer=True, unit="token", typical_high=16_384),
        sweep=(2048, 4096, 8192),
    ),
    Knob(
        "prefill_scale", 1.0, "factor on the model's time of prefill and its attention", _SCALE, sweep=(0.5, 1.0, 2.0)
    ),
    Knob("decode_scale", 1.0, "factor on the model's time of decodes and their KV", _SCALE, sweep=(0.5, 1.0, 2.0)),
)
#: The optional columns that it reads.
MODEL_NEEDS = (
    "context_tokens",
    "prefill_s_per_token",
    "decode_s_per_request",
    "base_s",
    "kv_s_per_token",
    "attention_s_per_pair",
)


class Prediction(NamedTuple):
    """What the model says of a request on an instance.

    Args:
        steps: engine steps until its prefill is done.
        ttft_s: what they take [s].
        decode_s: duration of the first decode step after them [s].
    """

    steps: Number
    ttft_s: Number
    decode_s: Number


def predicted(ops: Ops, x: Indicators, knobs: Knobs) -> Prediction:
    """The request's prefill and first decode on one instance, rolled forward in closed form.

    Args:
        ops: the world.
        x: the instance, with the columns :data:`MODEL_NEEDS`.
        knobs: with those of :data:`MODEL_KNOBS`.

    Example (10 decodes leave 90 of 100 tokens, so 160 queued and 40 own ones take 3 steps):
        >>> from types import SimpleNamespace
        >>> from scheduler.indicators import indicators_of
        >>> from scheduler.ops import SCALAR
        >>> seen = {"running": 10, "waiting": 1, "queued_prefill_tokens": 160, "hit_tokens": 0, "prompt_tokens": 40}
        >>> times = {"base_s": 1, "prefill_s_per_token": 1, "decode_s_per_request": 0, "kv_s_per_token": 0}
        >>> x = indicators_of(SCALAR, **seen, **times, attention_s_per_pair=0, context_tokens=500)
        >>> predicted(SCALAR, x, SimpleNamespace(budget_tokens=100, prefill_scale=1, decode_scale=1))
        Prediction(steps=3, ttft_s=203.0, decode_s=1)
    """
    decode_s, kv_s = knobs.decode_scale * x.decode_s_per_request, knobs.decode_scale * x.kv_s_per_token
    steps = -ops.floor(-x.p_token / ops.max_(1, knobs.budget_tokens - x.running))
    read_tokens = steps * ops.max_(0, x.context_tokens - x.queued_prefill_tokens) + x.running * steps * (steps - 1) / 2
    own = x.new_prefill_tokens
    pairs = own * (2 * x.prompt_tokens - own + 1) / 2
    prefill_s = knobs.prefill_scale * (x.prefill_s_per_token * x.p_token + x.attention_s_per_pair * pairs)
    after_tokens = x.context_tokens + x.prompt_tokens + steps * x.running
    return Prediction(
        steps,
        steps * (x.base_s + decode_s * x.running) + prefill_s + kv_s * read_tokens,
        x.base_s + decode_s * x.batch_size + kv_s * after_tokens,
    )


def ttft(ops: Ops, x: Indicators, _: Aggregates, knobs: Knobs) -> Number:
    """Predicted time to first token [s]."""
    return predicted(ops, x, knobs).ttft_s


SIMULATED_TTFT = Rule(
    "simulated_ttft",
    "least time to first token of a step-time model",
    "blitz-router least-ttft-q; docs/sources.md#simulated-ttft",
    ttft,
    knobs=MODEL_KNOBS,
    needs=MODEL_NEEDS,
)

RULES = (SIMULATED_TTFT,)
