"""Published filter rules take an instance that another beats in P-token and batch size; with equal queues, never.

They even out load first and follow the cache otherwise; queued prefill, which is in P-token, they do not see or see
too late. The rules are the shipped ones, their thresholds numbers or free terms; at which thresholds is in
``filter_thresholds``.

Glossary: ``i`` the instance taken, ``j`` another one; ``L`` prompt, ``q`` queued prefill, ``h`` match [token].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import z3

from proofs.cluster import chooses
from proofs.theorem import Theorem, theorem
from proofs.theorems.dominance import (
    CACHE_FIRST,
    EQUAL_QUEUES,
    aibrix_cluster,
    beats,
    beats_in_both,
    cache_first_pair,
    taken,
    thresholds,
    with_terms,
)
from scheduler.indicators import Indicators
from scheduler.policies.catalogue import policy
from scheduler.policies.common import in_flight
from scheduler.policies.llm_d import TOKEN_LOAD_MAX

_TAKES = "the rule takes i"


def _never(text: str) -> Theorem:
    """That the rule never takes the first of two instances if the second beats it in both: false of those below."""
    (i, j), domain = cache_first_pair(whole=True)
    busy = [z3.Implies(x.waiting == 0, x.queued_prefill_tokens == 0) for x in (i, j)]
    return Theorem(
        domain=(*domain, *busy, i.recalled["full_block_tokens"] == i.prompt_tokens, i.prompt_tokens == 100),
        claim=z3.Implies(chooses(policy(text), [i, j], 0), z3.Not(beats_in_both(j, i))),
        refuted=True,
    )


@theorem
def two_tier_takes_a_dominated_instance() -> Theorem:
    """Dynamo's two-tier rule at its published thresholds takes an instance that another beats in both.

    Claim: filters_never_take_a_dominated_instance.
    """
    return _never("dynamo_two_tier")


@theorem
def sglang_takes_a_dominated_instance() -> Theorem:
    """SGLang's cache-aware rule at its published thresholds does too.

    Claim: filters_never_take_a_dominated_instance.
    """
    return _never("sglang_cache_aware")


@theorem
def sglang_by_tree_size_takes_a_dominated_instance() -> Theorem:
    """So does its older fallback by tree size.

    Claim: filters_never_take_a_dominated_instance.
    """
    return _never("sglang_cache_aware:fallback=smallest_tree")


@theorem
def aibrix_takes_a_dominated_instance() -> Theorem:
    """So does AIBrix's prefix rule at its published thresholds.

    Claim: filters_never_take_a_dominated_instance.
    """
    return _never("aibrix_prefix_cache")


@theorem
def llm_d_affinity_takes_a_dominated_instance() -> Theorem:
    """So does llm-d's affinity filter at its published thresholds.

    Claim: filters_never_take_a_dominated_instance.
    """
    return _never("llm_d_affinity")


@theorem
def two_tier_takes_the_shorter_match_at_equal_loads() -> Theorem:
    """Where load decides or the match is too short, equal loads tie by index: the longer match may lose.

    Claim: two_tier_is_never_dominated_in_match_and_load.
    """
    (i, j), domain = cache_first_pair(whole=True)
    takes = chooses(policy("dynamo_two_tier"), [i, j], 0)
    no_worse = z3.And(j.hit_tokens >= i.hit_tokens, in_flight(j) <= in_flight(i))
    better = z3.Or(j.hit_tokens > i.hit_tokens, in_flight(j) < in_flight(i))
    return Theorem(
        domain=(*domain, i.prompt_tokens == 100),
        claim=z3.Implies(takes, z3.Not(z3.And(no_worse, better))),
        refuted=True,
    )


@theorem
def sglang_by_tree_size_is_beaten_in_load() -> Theorem:
    """With its fallback by tree size, SGLang's rule takes i though j has no shorter match and less load.

    Claim: sglang_by_tree_size_is_never_beaten_in_load.
    """
    (i, j), domain = cache_first_pair(whole=True)
    takes = chooses(policy("sglang_cache_aware:fallback=smallest_tree"), [i, j], 0)
    return Theorem(
        domain=(*domain, i.prompt_tokens == 100, i.hit_tokens == 0, j.hit_tokens == 0),
        claim=z3.Not(z3.And(takes, in_flight(j) < in_flight(i))),
        refuted=True,
    )


@theorem
def sglang_by_tree_size_with_equal_queues_is_beaten_in_both() -> Theorem:
    """So it is beaten in both with equal queues, too: below the cache threshold it does not look at the match.

    Claim: sglang_by_tree_size_is_never_beaten_in_load.
    """
    (i, j), domain = cache_first_pair(whole=True)
    takes = chooses(policy("sglang_cache_aware:fallback=smallest_tree"), [i, j], 0)
    return Theorem(
        domain=(*domain, i.prompt_tokens == 100, i.recalled["full_block_tokens"] == 100),
        given={EQUAL_QUEUES: i.queued_prefill_tokens == j.queued_prefill_tokens},
        claim=z3.Not(z3.And(takes, beats_in_both(j, i))),
        refuted=True,
    )


@theorem
def cache_first_rules_with_equal_queues_are_not_beaten_in_both() -> Theorem:
    """Two-tier and SGLang's rule never take i if j has fewer tokens and less load, where queues are equal.

    At any thresholds; SGLang's with its fallback by least load.

    Claim: filters_with_equal_queues_are_not_beaten_in_both.
    """
    (i, j), domain = cache_first_pair()
    knobs, ranges = thresholds()
    aggregates = z3.Reals("least most longest")
    takes = z3.Or([taken(with_terms(name, **knobs), tuple(aggregates), i, [j]) for name in CACHE_FIRST])
    domain += ranges + [x.hit_tokens <= aggregates[2] for x in (i, j)]
    return _with_equal_queues(i, j, domain, takes)


@theorem
def aibrix_with_equal_queues_is_not_beaten_in_both() -> Theorem:
    """AIBrix's rule never takes i if j has fewer tokens and less load, where queues are equal, at any thresholds.

    Claim: filters_with_equal_queues_are_not_beaten_in_both.
    """
    (i, j, least_loaded), aggregates, domain = aibrix_cluster()
    imbalance, sigmas = z3.Reals("imbalance sigmas")
    rule = with_terms("aibrix_prefix_cache", imbalance=imbalance, sigmas=sigmas)
    takes = taken(rule, aggregates, i, [j, least_loaded])
    domain += [imbalance >= 0, sigmas >= 0]
    return _with_equal_queues(i, j, domain, takes)


def _with_equal_queues(i: Indicators, j: Indicators, domain: Sequence[Any], takes: Any) -> Theorem:
    return Theorem(
        domain=tuple(domain),
        given={_TAKES: takes, EQUAL_QUEUES: i.queued_prefill_tokens == j.queued_prefill_tokens},
        claim=z3.Not(beats_in_both(j, i)),
        faults={"nor in tokens": z3.Not(j.p_token < i.p_token), "nor in load": z3.Not(j.batch_size < i.batch_size)},
    )


@theorem
def llm_d_affinity_with_equal_queues_takes_the_fewest_tokens() -> Theorem:
    """llm-d's filter never takes i if j has fewer tokens: queues equal, token load not capped, at any affinity.

    Claim: filters_with_equal_queues_are_not_beaten_in_both.
    """
    (i, j), domain = cache_first_pair()
    broken, affinity = z3.Bool("broken"), z3.Real("affinity")
    takes = taken(with_terms("llm_d_affinity", affinity=affinity), broken, i, [j])
    load = i.queued_prefill_tokens + i.prompt_tokens
    return Theorem(
        domain=(*domain, affinity >= 0, affinity <= 1),
        given={
            _TAKES: takes,
            EQUAL_QUEUES: i.queued_prefill_tokens == j.queued_prefill_tokens,
            "the token load is not capped": load <= TOKEN_LOAD_MAX,
        },
        claim=z3.Not(j.p_token < i.p_token),
        faults={"nor in batch": z3.Not(j.batch_size < i.batch_size), "nor dominated": z3.Not(beats(j, i))},
    )
