"""llm-d's endpoint picker: the built-in 3/2/2 scorers, and the affinity filter with token load. Ties are uniform.

Choices where the source leaves one: the queue is the router's ``waiting`` (llm-d scrapes the engine's), the prefix
match is matched blocks over the full blocks of the prompt (a last block that is not full is never cached, so a fully
cached prompt has match 1), in-flight uncached tokens are ``queued_prefill_tokens``, and the filter compares estimated
times (18,000 ms, the stored router), not the later token count (286,720, within 0.01% of the same).

Source: llm-d-router at ebab687: scorers with the default weights 2/2/3, and the filter ``prefixcacheaffinity``
(docs/sources.md#llm-d).
"""

from __future__ import annotations

from scheduler.domains import Domain
from scheduler.indicators import Indicators, p_token
from scheduler.ops import Number, Ops, Over
from scheduler.policies.common import FULL_BLOCKS, missed_tokens
from scheduler.policies.rule import Aggregates, Knob, Knobs, Pick, Rule

#: In-flight tokens at which the token load score reaches 0: 128 requests of 32 Ki tokens.
TOKEN_LOAD_MAX = 4_194_304


def _match(x: Indicators) -> Number:
    return x.hit_tokens / x.recalled["full_block_tokens"]


def queue_range(_ops: Ops, over: Over, _: Knobs) -> Aggregates:
    """Most waiting requests, and most less least."""
    return over.most(lambda x: x.waiting), over.spread(lambda x: x.waiting)


def negative_score(ops: Ops, x: Indicators, aggregates: Aggregates, knobs: Knobs) -> Number:
    """``-(2 queue + 2 (1 - kv) + 3 match)``; the queue score is min-max over instances, 1 for all if all are equal."""
    most, spread = aggregates
    queue = ops.where(ops.eq(spread, 0), 1, (most - x.waiting) / ops.max_(spread, 1))
    free = 1 - x.kv_used_fraction
    match = ops.min_(1, _match(x))
    return -(knobs.queue_weight * queue + knobs.kv_weight * free + knobs.prefix_weight * match)


def _is_sticky(x: Indicators, knobs: Knobs) -> Number:
    # A quotient rounds once, as the decimal threshold did: floats and exact numbers agree.
    return _match(x) >= knobs.affinity


def stickiness_breaks(ops: Ops, over: Over, knobs: Knobs) -> Aggregates:
    """True if the best sticky instance would answer too much later than the best other one.

    The most loaded instance stands in where one side is empty; then all instances are on the other side and the filter
    keeps all of them in any case.
    """
    if not knobs.max_penalty_ms:
        return False
    most = over.most(lambda x: x.queued_prefill_tokens)
    sticky = over.least(lambda x: ops.where(_is_sticky(x, knobs), x.queued_prefill_tokens, most))
    other = over.least(lambda x: ops.where(_is_sticky(x, knobs), most, x.queued_prefill_tokens))
    return (sticky - other) * 1000 > knobs.max_penalty_ms * knobs.prefill_tokens_per_s


def sticky_unless_broken(ops: Ops, x: Indicators, broken: Aggregates, knobs: Knobs) -> Number:
    """Instances that hold at least 80% of the full blocks; all if there is none or if stickiness breaks."""
    return ops.or_(broken, _is_sticky(x, knobs))


def token_load(ops: Ops, x: Indicators, _: Aggregates, __: Knobs) -> Number:
    """``min(T, 4194304)``, T = in-flight uncached tokens and this request's: ``1 - T/4194304`` turned round."""
    tokens = p_token(x.queued_prefill_tokens, missed_tokens(ops, x.prompt_tokens, x.hit_tokens))
    return ops.min_(tokens, TOKEN_LOAD_MAX)


_WEIGHT = Domain(0, None, typical_high=10)

LLM_D_DEFAULT = Rule(
    "llm_d_default",
    "queue 2, KV 2, prefix 3",
    "llm-d-router ebab687 scorers; docs/sources.md#llm-d",
    negative_score,
    queue_range,
    pick=Pick.RANDOM,
    knobs=(
        Knob("queue_weight", 2.0, "weight of the queue score", _WEIGHT, sweep=(0.0, 1.0, 2.0)),
        Knob("kv_weight", 2.0, "weight of free KV", _WEIGHT, sweep=(0.0, 1.0, 2.0)),
        Knob("prefix_weight", 3.0, "weight of the prefix match", _WEIGHT, sweep=(1.0, 2.0, 3.0, 6.0)),
    ),
    needs=("kv_used_fraction",),
    memory=FULL_BLOCKS,
)
LLM_D_AFFINITY = Rule(
    "llm_d_affinity",
    "keep prefix holders unless late, then least tokens",
    "llm-d-router ebab687 affinity filter; docs/sources.md#llm-d",
    token_load,
    stickiness_breaks,
    sticky_unless_broken,
    pick=Pick.RANDOM,
    knobs=(
        Knob(
            "affinity", 0.8, "match/prompt from which an instance is sticky", Domain(0, 1), sweep=(0.3, 0.5, 0.8, 0.95)
        ),
        Knob(
            "max_penalty_ms",
            18_000,
            "later answer that breaks stickiness; 0 never breaks it",
            Domain(0, None, unit="ms", typical_high=20_000),
            sweep=(500, 2_000, 6_000, 18_000),
        ),
        Knob(
            "prefill_tokens_per_s",
            15_928,
            "peak prefill rate of an instance",
            Domain(0, None, unit="token/s", low_open=True, typical_high=50_000),
            sweep=(8_000, 15_928, 32_000),
        ),
    ),
    memory=FULL_BLOCKS,
)

RULES = (LLM_D_DEFAULT, LLM_D_AFFINITY)
