"""Published filter rules: when they take an instance that another beats in P-token and batch size, and when never.

They even out load first and follow the cache otherwise; queued prefill, which is in P-token, they do not see or see
too late. The rules are the shipped ones, their thresholds numbers or free terms.

Glossary: ``i`` the instance taken, ``j`` another one; ``L`` prompt, ``q`` queued prefill, ``h`` match [token].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import z3

from proofs.cluster import chooses, observed
from proofs.theorem import Theorem, theorem
from proofs.theorems.dominance import (
    EQUAL_QUEUES,
    aibrix_cluster,
    beats,
    beats_in_both,
    cache_first_pair,
    taken,
)
from scheduler.indicators import Indicators
from scheduler.policies.catalogue import CATALOGUE, policy
from scheduler.policies.common import in_flight
from scheduler.policies.llm_d import TOKEN_LOAD_MAX
from scheduler.policies.rule import Policy

CACHE_FIRST = ("dynamo_two_tier", "sglang_cache_aware")
_TAKES = "the rule takes i"
_CACHE_MATTERS = "the cache threshold is below 1"
_GAP = "a load gap of one request is let pass"


def with_terms(name: str, **knobs: Any) -> Policy:
    """A shipped rule with some knobs as solver terms."""
    rule = CATALOGUE[name]
    return Policy(rule, {**rule.with_knobs().values, **knobs})


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
def cache_first_rules_are_dominated_at_these_thresholds() -> Theorem:
    """Dynamo's two-tier rule and SGLang's: the state, for any cache threshold below 1 and any gap that is let pass.

    Instance i holds the whole prompt and has as many tokens queued and one request more; j has none of them. It is
    enough that ``1 <= abs`` or, with n requests on j, ``(n + 1)/n <= rel``.

    Claim: filters_take_dominated_instances.
    """
    (i, j), domain = cache_first_pair()
    knobs = dict(zip(("cache_threshold", "abs_threshold", "rel_threshold"), z3.Reals("cache abs rel"), strict=True))
    cache, absolute, relative = knobs.values()
    takes = z3.And([chooses(with_terms(name, **knobs), [i, j], 0) for name in CACHE_FIRST])
    prompt, requests = i.prompt_tokens, in_flight(j)
    state = [i.hit_tokens == prompt, j.hit_tokens == 0, i.recalled["full_block_tokens"] == prompt]
    state += [i.queued_prefill_tokens == prompt, j.queued_prefill_tokens == 0]
    state += [in_flight(i) == requests + 1, requests >= 1]
    return Theorem(
        domain=(*domain, *state, cache >= 0, cache <= 1, absolute >= 0, relative >= 1),
        given={
            _CACHE_MATTERS: cache < 1,
            _GAP: z3.Or(absolute >= 1, requests + 1 <= relative * requests),
        },
        claim=z3.And(takes, beats_in_both(j, i)),
        faults={"no worse": z3.And(takes, z3.Not(beats(j, i))), "not taken": z3.Not(takes)},
    )


@theorem
def cache_first_rules_are_not_beaten_in_both_at_the_others() -> Theorem:
    """At a cache threshold of 1, or if every gap of loads decides (``abs = 0, rel = 1``), j never beats i in both.

    Claim: filters_take_dominated_instances.
    """
    (i, j), domain = cache_first_pair()
    knobs = dict(zip(("cache_threshold", "abs_threshold", "rel_threshold"), z3.Reals("cache abs rel"), strict=True))
    cache, absolute, relative = knobs.values()
    least, most, longest = z3.Reals("least most longest")
    loads = [in_flight(x) for x in (i, j)]
    takes = z3.Or([taken(with_terms(name, **knobs), (least, most, longest), i, [j]) for name in CACHE_FIRST])
    domain += [z3.And(least <= load, load <= most) for load in loads] + [z3.Or(least == 0, least >= 1)]
    domain += [x.hit_tokens <= longest for x in (i, j)] + [longest <= i.recalled["full_block_tokens"]]
    off = z3.And(absolute == 0, relative == 1)
    return Theorem(
        domain=(*domain, cache >= 0, cache <= 1, absolute >= 0, relative >= 1),
        given={_TAKES: takes, "load alone decides": z3.Or(cache == 1, off)},
        claim=z3.Not(beats_in_both(j, i)),
        faults={"nor in one": z3.Not(beats(j, i)), "nor in tokens": z3.Not(j.p_token < i.p_token)},
    )


@theorem
def llm_d_affinity_is_dominated_at_these_thresholds() -> Theorem:
    """llm-d's filter: the state, for any affinity above 0 and any allowed delay that exceeds the prompt.

    Instance i holds the whole prompt, has one token more than that queued and one request more; j has none of them.

    Claim: filters_take_dominated_instances.
    """
    (i, j), domain = cache_first_pair()
    affinity, rate = z3.Reals("affinity rate")
    rule = with_terms("llm_d_affinity", affinity=affinity, prefill_tokens_per_s=rate)
    prompt = i.prompt_tokens
    takes = chooses(rule, [i, j], 0)
    state = [i.hit_tokens == prompt, j.hit_tokens == 0, i.recalled["full_block_tokens"] == prompt]
    state += [i.queued_prefill_tokens == prompt + 1, j.queued_prefill_tokens == 0, in_flight(i) == in_flight(j) + 1]
    return Theorem(
        domain=(*domain, *state, affinity >= 0, affinity <= 1, rate > 0, prompt < TOKEN_LOAD_MAX),
        given={
            "the affinity is above 0": affinity > 0,
            "the queue fits into the allowed delay": i.queued_prefill_tokens * 1000
            <= rate * rule.values["max_penalty_ms"],
        },
        claim=z3.And(takes, beats_in_both(j, i)),
        faults={"no worse": z3.And(takes, z3.Not(beats(j, i))), "not taken": z3.Not(takes)},
    )


@theorem
def aibrix_is_dominated_at_these_thresholds() -> Theorem:
    """AIBrix's rule: the state, for any sigmas and any imbalance of 2 or more that is let pass.

    Instance i, at the mean load, holds the whole prompt and has as many tokens queued; j has none and a request fewer.

    Claim: filters_take_dominated_instances.
    """
    (i, j, most_loaded), domain = observed(3)
    imbalance, sigmas = z3.Reals("imbalance sigmas")
    takes = chooses(with_terms("aibrix_prefix_cache", imbalance=imbalance, sigmas=sigmas), [i, j, most_loaded], 0)
    state = [i.hit_tokens == i.prompt_tokens, j.hit_tokens == 0, most_loaded.hit_tokens == 0]
    state += [i.queued_prefill_tokens == i.prompt_tokens, j.queued_prefill_tokens == 0]
    state += [in_flight(i) == in_flight(j) + 1, in_flight(most_loaded) == in_flight(i) + 1]
    return Theorem(
        domain=(*domain, *state, sigmas >= 0, imbalance >= 0),
        given={"an imbalance of two requests is let pass": imbalance >= 2},
        claim=z3.And(takes, beats_in_both(j, i)),
        faults={"no worse": z3.And(takes, z3.Not(beats(j, i))), "not taken": z3.Not(takes)},
    )


@theorem
def aibrix_is_not_beaten_in_both_if_only_the_least_loaded_stay() -> Theorem:
    """At an imbalance of 0 only instances at the least load stay, so none of them is beaten in load.

    Claim: filters_take_dominated_instances.
    """
    (i, j, least_loaded), aggregates, domain = aibrix_cluster()
    imbalance = z3.Real("imbalance")
    takes = taken(with_terms("aibrix_prefix_cache", imbalance=imbalance), aggregates, i, [j, least_loaded])
    return Theorem(
        domain=(*domain, imbalance >= 0),
        given={_TAKES: takes, "only the least loaded stay": imbalance == 0},
        claim=z3.Not(beats_in_both(j, i)),
        faults={"nor in one": z3.Not(beats(j, i)), "nor in tokens": z3.Not(j.p_token < i.p_token)},
    )


@theorem
def cache_first_rules_with_equal_queues_are_not_beaten_in_both() -> Theorem:
    """Two-tier and SGLang's rule never take i if j has fewer tokens and less load, where queues are equal.

    Claim: filters_with_equal_queues_are_not_beaten_in_both.
    """
    (i, j), domain = cache_first_pair()
    aggregates = z3.Reals("least most longest")
    takes = z3.Or([taken(policy(name), tuple(aggregates), i, [j]) for name in CACHE_FIRST])
    domain += [x.hit_tokens <= aggregates[2] for x in (i, j)]
    return _with_equal_queues(i, j, domain, takes)


@theorem
def aibrix_with_equal_queues_is_not_beaten_in_both() -> Theorem:
    """AIBrix's rule never takes i if j has fewer tokens and less load, where queues are equal.

    Claim: filters_with_equal_queues_are_not_beaten_in_both.
    """
    (i, j, least_loaded), aggregates, domain = aibrix_cluster()
    takes = taken(policy("aibrix_prefix_cache"), aggregates, i, [j, least_loaded])
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
    """llm-d's filter never takes i if j has fewer tokens, where queues are equal and below its greatest token load.

    Claim: filters_with_equal_queues_are_not_beaten_in_both.
    """
    (i, j), domain = cache_first_pair()
    broken = z3.Bool("broken")
    takes = taken(policy("llm_d_affinity"), broken, i, [j])
    load = i.queued_prefill_tokens + i.prompt_tokens
    return Theorem(
        domain=tuple(domain),
        given={
            _TAKES: takes,
            EQUAL_QUEUES: i.queued_prefill_tokens == j.queued_prefill_tokens,
            "the token load is not capped": load <= TOKEN_LOAD_MAX,
        },
        claim=z3.Not(j.p_token < i.p_token),
        faults={"nor in batch": z3.Not(j.batch_size < i.batch_size), "nor dominated": z3.Not(beats(j, i))},
    )
