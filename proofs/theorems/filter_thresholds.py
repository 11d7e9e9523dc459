"""At which thresholds a published filter rule takes an instance that another beats in P-token and batch size.

The rules are the shipped ones, their thresholds free terms. What they compute of the whole cluster enters as terms that
any number of instances could give. Who is taken against the law holds a queue, which these rules do not see or see too
late.

Glossary: ``i`` the instance taken, ``j`` another one; ``L`` prompt, ``q`` queued prefill, ``h`` match [token]; ``M``
the greatest load that an instance can have [request].
"""

from __future__ import annotations

from typing import Any

import z3

from proofs.cluster import chooses, observed
from proofs.theorem import Theorem, theorem
from proofs.theorems.dominance import (
    CACHE_FIRST,
    aibrix_cluster,
    beats,
    beats_in_both,
    cache_first_pair,
    taken,
    thresholds,
    with_terms,
)
from scheduler.domains import REQUESTS_MAX
from scheduler.indicators import Indicators
from scheduler.policies.common import in_flight
from scheduler.policies.llm_d import TOKEN_LOAD_MAX

_TAKES = "the rule takes i"
_CACHE_MATTERS = "the cache threshold is below 1"
_GAP = "a load gap of one request is let pass"
_EVERY_GAP = "every gap of loads decides"
#: Running and waiting at their limits: ``M/(M - 1)`` is the least ratio of two unequal loads.
LOAD_MAX = 2 * REQUESTS_MAX
_BY_TREE = "sglang_cache_aware"


def _holder(i: Indicators, j: Indicators, queue: Any) -> list[Any]:
    """Instance i holds the whole prompt and has a queue, j has neither."""
    state = [i.hit_tokens == i.prompt_tokens, j.hit_tokens == 0]
    return [*state, i.queued_prefill_tokens == queue, j.queued_prefill_tokens == 0]


def _whole_loads(i: Indicators, j: Indicators, least: Any, most: Any) -> list[Any]:
    """What holds of whole loads: unequal ones differ by a request, and the least is 0 or at least 1."""
    loads = [in_flight(x) for x in (i, j)]
    differ = z3.Or(loads[0] == loads[1], loads[0] >= loads[1] + 1, loads[1] >= loads[0] + 1)
    return [differ, *(z3.And(least <= load, load <= most) for load in loads), z3.Or(least == 0, least >= 1)]


def _every_gap_decides(absolute: Any, relative: Any) -> Any:
    """``abs < 1`` and ``rel < M/(M - 1)``: of two unequal loads no pair is let pass."""
    return z3.And(absolute < 1, relative * (LOAD_MAX - 1) < LOAD_MAX)


@theorem
def cache_first_rules_are_dominated_at_these_thresholds() -> Theorem:
    """Dynamo's two-tier rule and SGLang's: the state, for any cache threshold below 1 and any gap that is let pass.

    Instance i holds the whole prompt and has as many tokens queued and one request more; j has none of them. It is
    enough that ``1 <= abs`` or, with n requests on j, ``(n + 1)/n <= rel``; n is at most M - 1. SGLang's with either
    fallback.

    Claim: filters_take_dominated_instances.
    """
    (i, j), domain = cache_first_pair()
    knobs, ranges = thresholds()
    cache, absolute, relative = knobs.values()

    def takes(**changed: Any) -> Any:
        rules = [with_terms(name, **{**knobs, **changed}) for name in CACHE_FIRST]
        rules.append(with_terms(_BY_TREE, **{**knobs, **changed}, fallback="smallest_tree"))
        return z3.And([chooses(rule, [i, j], 0) for rule in rules])

    prompt, requests = i.prompt_tokens, in_flight(j)
    state = [*_holder(i, j, prompt), i.recalled["full_block_tokens"] == prompt]
    state += [in_flight(i) == requests + 1, requests >= 1]
    return Theorem(
        domain=(*domain, *state, *ranges),
        given={
            _CACHE_MATTERS: cache < 1,
            _GAP: z3.Or(absolute >= 1, requests + 1 <= relative * requests),
        },
        claim=z3.And(takes(), beats_in_both(j, i)),
        faults={
            "at half the gap": takes(abs_threshold=absolute / 2),
            "at twice the cache threshold": takes(cache_threshold=2 * cache),
            "if every gap decides": takes(abs_threshold=0, rel_threshold=1),
            "no worse": z3.And(takes(), z3.Not(beats(j, i))),
        },
        reached={"the least ratio": z3.And(absolute == 0, relative * (LOAD_MAX - 1) == LOAD_MAX)},
    )


@theorem
def cache_first_rules_are_not_beaten_in_both_at_the_others() -> Theorem:
    """At a cache threshold of 1, or if every gap of loads decides, j never beats i in both.

    SGLang's with its fallback by least load.

    Claim: filters_take_dominated_instances.
    """
    (i, j), domain = cache_first_pair()
    knobs, ranges = thresholds()
    cache, absolute, relative = knobs.values()
    least, most, longest = z3.Reals("least most longest")
    takes = z3.Or([taken(with_terms(name, **knobs), (least, most, longest), i, [j]) for name in CACHE_FIRST])
    domain += _whole_loads(i, j, least, most)
    domain += [x.hit_tokens <= longest for x in (i, j)] + [longest <= i.recalled["full_block_tokens"]]
    return Theorem(
        domain=(*domain, *ranges),
        given={_TAKES: takes, "load alone decides": z3.Or(cache == 1, _every_gap_decides(absolute, relative))},
        claim=z3.Not(beats_in_both(j, i)),
        faults={"nor in one": z3.Not(beats(j, i)), "nor in tokens": z3.Not(j.p_token < i.p_token)},
    )


@theorem
def sglang_by_tree_size_is_dominated_at_any_cache_threshold() -> Theorem:
    """With its fallback by tree size, SGLang's rule needs no match: the smaller tree is taken with its queue.

    Nothing of the prompt is held anywhere; i has a queue, one request more and the smaller tree.

    Claim: filters_take_dominated_instances.
    """
    (i, j), domain = cache_first_pair()
    knobs, ranges = thresholds()
    _, absolute, relative = knobs.values()
    takes = chooses(with_terms(_BY_TREE, **knobs, fallback="smallest_tree"), [i, j], 0)
    by_load = chooses(with_terms(_BY_TREE, **knobs), [i, j], 0)
    requests = in_flight(j)
    state = [i.hit_tokens == 0, j.hit_tokens == 0, in_flight(i) == requests + 1, requests >= 1]
    state += [i.queued_prefill_tokens >= 1, j.queued_prefill_tokens == 0]
    return Theorem(
        domain=(*domain, *state, *ranges),
        given={
            _GAP: z3.Or(absolute >= 1, requests + 1 <= relative * requests),
            "the tree of i is the smaller one": i.recalled["tree_tokens"] < j.recalled["tree_tokens"],
        },
        claim=z3.And(takes, beats_in_both(j, i)),
        faults={
            "by twice the tokens": z3.And(takes, 2 * j.p_token <= i.p_token),
            "by least load too": by_load,
        },
    )


@theorem
def sglang_by_tree_size_is_not_beaten_in_load_if_every_gap_decides() -> Theorem:
    """If every gap of loads decides, no fallback is reached at unequal loads: nobody has less load than i.

    Claim: filters_take_dominated_instances.
    """
    (i, j), domain = cache_first_pair()
    knobs, ranges = thresholds()
    _, absolute, relative = knobs.values()
    least, most, longest = z3.Reals("least most longest")
    rule = with_terms(_BY_TREE, **knobs, fallback="smallest_tree")
    domain += _whole_loads(i, j, least, most)
    return Theorem(
        domain=(*domain, *ranges),
        given={
            _TAKES: taken(rule, (least, most, longest), i, [j]),
            _EVERY_GAP: _every_gap_decides(absolute, relative),
        },
        claim=in_flight(i) <= in_flight(j),
        faults={"nor in tokens": i.p_token <= j.p_token, "nor in trees": in_flight(i) < in_flight(j)},
    )


@theorem
def llm_d_affinity_is_dominated_at_these_thresholds() -> Theorem:
    """llm-d's filter: the state, for any affinity above 0 and any allowed delay that exceeds the prompt.

    Instance i holds the whole prompt, has one token more than that queued and one request more; j has none of them.

    Claim: filters_take_dominated_instances.
    """
    (i, j), domain = cache_first_pair()
    affinity, rate = z3.Reals("affinity rate")

    def takes(affinity: Any, rate: Any) -> Any:
        return chooses(with_terms("llm_d_affinity", affinity=affinity, prefill_tokens_per_s=rate), [i, j], 0)

    prompt, penalty_ms = i.prompt_tokens, with_terms("llm_d_affinity").values["max_penalty_ms"]
    state = [*_holder(i, j, prompt + 1), i.recalled["full_block_tokens"] == prompt, in_flight(i) == in_flight(j) + 1]
    return Theorem(
        domain=(*domain, *state, affinity >= 0, affinity <= 1, rate > 0, prompt < TOKEN_LOAD_MAX),
        given={
            "the affinity is above 0": affinity > 0,
            "the queue fits into the allowed delay": i.queued_prefill_tokens * 1000 <= rate * penalty_ms,
        },
        claim=z3.And(takes(affinity, rate), beats_in_both(j, i)),
        faults={
            "at twice the affinity": takes(2 * affinity, rate),
            "at half the allowed delay": takes(affinity, rate / 2),
            "at affinity 0": takes(0, rate),
            "no worse": z3.And(takes(affinity, rate), z3.Not(beats(j, i))),
        },
    )


@theorem
def aibrix_is_dominated_at_these_thresholds() -> Theorem:
    """AIBrix's rule: the state, for any sigmas and any imbalance of 2 or more that is let pass.

    Instance i, at the mean load, holds the whole prompt and has as many tokens queued; j has none and a request fewer.

    Claim: filters_take_dominated_instances.
    """
    (i, j, most_loaded), domain = observed(3)
    imbalance, sigmas = z3.Reals("imbalance sigmas")

    def takes(imbalance: Any) -> Any:
        rule = with_terms("aibrix_prefix_cache", imbalance=imbalance, sigmas=sigmas)
        return chooses(rule, [i, j, most_loaded], 0)

    state = [*_holder(i, j, i.prompt_tokens), most_loaded.hit_tokens == 0]
    state += [in_flight(i) == in_flight(j) + 1, in_flight(most_loaded) == in_flight(i) + 1]
    return Theorem(
        domain=(*domain, *state, sigmas >= 0, imbalance >= 0),
        given={"an imbalance of two requests is let pass": imbalance >= 2},
        claim=z3.And(takes(imbalance), beats_in_both(j, i)),
        faults={
            "at half the imbalance": takes(imbalance / 2),
            "at an imbalance of 1": takes(1),
            "no worse": z3.And(takes(imbalance), z3.Not(beats(j, i))),
        },
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
