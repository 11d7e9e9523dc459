"""Which rules can take an instance that another beats in P-token and batch size.

The rules are the shipped ones. Where a rule looks at the whole cluster (least and most load, longest match), what it
computes of it enters as free terms that any number of instances could give, so these theorems hold for every N; a
condition that some instance takes part in is stated of one more instance.

Glossary: ``i`` the instance taken, ``j`` another one, ``l`` one with the least load.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import z3

from proofs.cluster import chooses, observed, plain, scores
from proofs.ops import Z3
from proofs.theorem import Theorem, theorem
from proofs.theorems.robustness import LMETRIC, line_of
from scheduler import formulas
from scheduler.indicators import Indicators
from scheduler.policies.catalogue import CATALOGUE
from scheduler.policies.common import FULL_BLOCKS, in_flight
from scheduler.policies.reading import chosen, exact, precedes
from scheduler.policies.rule import Policy
from scheduler.policies.sglang import PROCESSED

EQUAL_QUEUES = "queues are equal"
CACHE_FIRST = ("dynamo_two_tier", "sglang_cache_aware")
#: Knobs of both.
THRESHOLDS = ("cache_threshold", "abs_threshold", "rel_threshold")


def with_terms(name: str, **knobs: Any) -> Policy:
    """A shipped rule with some knobs as solver terms."""
    rule = CATALOGUE[name]
    return Policy(rule, {**rule.with_knobs().values, **knobs})


def thresholds() -> tuple[dict[str, Any], list[Any]]:
    """The knobs of the rules that follow the cache as terms, and their domains."""
    cache, absolute, relative = found = z3.Reals("cache abs rel")
    return dict(zip(THRESHOLDS, found, strict=True)), [cache >= 0, cache <= 1, absolute >= 0, relative >= 1]


def beats(j: Indicators, i: Indicators) -> Any:
    """Instance j dominates i: no worse in P-token and batch size, better in one."""
    return formulas.dominates(Z3, j.p_token, j.batch_size, i.p_token, i.batch_size)


def beats_in_both(j: Indicators, i: Indicators) -> Any:
    """Instance j has fewer tokens and a smaller batch."""
    return z3.And(j.p_token < i.p_token, j.batch_size < i.batch_size)


def taken(rule: Policy, aggregates: Any, i: Indicators, others: Sequence[Indicators]) -> Any:
    """The rule may take i: it passes the filter, and none of the others passes with a lesser key, ties open."""
    rule = exact(rule)
    key, passes, knobs = rule.rule.key, rule.rule.eligible, rule.knobs
    assert passes is not None

    def key_of(x: Indicators) -> tuple[Any, ...]:
        value = key(Z3, x, aggregates, knobs)
        return value if isinstance(value, tuple) else (value,)

    lesser = [z3.And(passes(Z3, x, aggregates, knobs), precedes(Z3, key_of(x), key_of(i))) for x in others]
    return z3.And(passes(Z3, i, aggregates, knobs), z3.Not(z3.Or(lesser)))


@theorem
def the_product_is_never_dominated() -> Theorem:
    """Wherever the product takes i of a pair, first or second in the list, j does not dominate it.

    Claim: never_dominated.
    """
    i, j = plain("i", "j")
    takes = z3.Or(chooses(LMETRIC, [i, j], 0), chooses(LMETRIC, [j, i], 1))
    return Theorem(
        given={
            "P-tokens are positive": z3.And(i.p_token > 0, j.p_token > 0),
            "batch sizes are positive": z3.And(i.batch_size > 0, j.batch_size > 0),
        },
        claim=z3.Implies(takes, z3.Not(beats(j, i))),
        faults={
            "not beaten in tokens": z3.Implies(takes, z3.Not(j.p_token < i.p_token)),
            "not beaten in batch": z3.Implies(takes, z3.Not(j.batch_size < i.batch_size)),
            "whatever is taken": z3.Not(beats(j, i)),
        },
    )


@theorem
def a_line_is_never_dominated() -> Theorem:
    """The same for the shipped line on the two indicators, at every weight below 1.

    Claim: never_dominated.
    """
    i, j = plain("i", "j")
    weight = z3.Real("lambda")
    line = line_of(weight)
    takes = z3.Or(chooses(line, [i, j], 0), chooses(line, [j, i], 1))
    return Theorem(
        domain=(weight > 0, weight <= 1),
        given={"the weight is below 1": weight < 1},
        claim=z3.Implies(takes, z3.Not(beats(j, i))),
        faults={
            "not beaten in tokens": z3.Implies(takes, z3.Not(j.p_token < i.p_token)),
            "not beaten in batch": z3.Implies(takes, z3.Not(j.batch_size < i.batch_size)),
        },
    )


@theorem
def a_filter_breaks_the_law_exactly_by_removing_who_dominates() -> Theorem:
    """Where j dominates i, the product behind any filter takes i of the two iff the filter keeps i and removes j.

    So a filter keeps the law in all states iff it never does so: iff what it keeps is closed towards the better.

    Claim: never_dominated.
    """
    i, j = plain("i", "j")
    keeps = z3.Bools("keeps_i keeps_j")
    keys = [(score,) for score in scores(LMETRIC, [i, j])]
    takes = chosen(Z3, keys, keeps, 0)
    removes = z3.And(keeps[0], z3.Not(keeps[1]))
    return Theorem(
        given={
            "P-tokens are positive": z3.And(i.p_token > 0, j.p_token > 0),
            "batch sizes are positive": z3.And(i.batch_size > 0, j.batch_size > 0),
            "j dominates i": beats(j, i),
        },
        claim=takes == removes,
        faults={"whenever it removes j": takes == z3.Not(keeps[1]), "never": z3.Not(takes)},
    )


@theorem
def a_cap_on_the_batch_keeps_the_law() -> Theorem:
    """The product among instances with ``B <= T``, any T, is not dominated; if none is, it is the product again.

    Claim: never_dominated.
    """
    i, j = plain("i", "j")
    cap = z3.Real("T")
    keys = [(score,) for score in scores(LMETRIC, [i, j])]
    takes = chosen(Z3, keys, [i.batch_size <= cap, j.batch_size <= cap], 0)
    floor = chosen(Z3, keys, [i.batch_size >= cap, j.batch_size >= cap], 0)
    return Theorem(
        given={
            "P-tokens are positive": z3.And(i.p_token > 0, j.p_token > 0),
            "batch sizes are positive": z3.And(i.batch_size > 0, j.batch_size > 0),
        },
        claim=z3.Implies(takes, z3.Not(beats(j, i))),
        faults={
            "a least batch instead": z3.Implies(floor, z3.Not(beats(j, i))),
            "not beaten in tokens": z3.Implies(takes, z3.Not(j.p_token < i.p_token)),
        },
    )


def aibrix_cluster() -> tuple[list[Indicators], tuple[Any, ...], list[Any]]:
    """Instances i, j, l of an AIBrix cluster of any size, what the rule computes of it, and what holds of that."""
    (i, j, least_loaded), domain = observed(3)
    least, most, size, total, squares = z3.Reals("least most size total squares")
    loads = [in_flight(x) for x in (i, j, least_loaded)]
    domain += [load >= least for load in loads] + [load <= most for load in loads]
    domain += [in_flight(least_loaded) == least, size >= 2, total >= size * least, squares >= 0]
    return [i, j, least_loaded], (least, most, size, total, squares), domain


@theorem
def aibrix_is_never_dominated_in_match_and_load() -> Theorem:
    """AIBrix's prefix rule never takes i if j has no shorter match and no more load, and is better in one.

    At any thresholds.

    Claim: never_dominated.
    """
    (i, j, least_loaded), aggregates, domain = aibrix_cluster()
    imbalance, sigmas = z3.Reals("imbalance sigmas")
    rule = with_terms("aibrix_prefix_cache", imbalance=imbalance, sigmas=sigmas)
    takes = taken(rule, aggregates, i, [j, least_loaded])
    domain += [imbalance >= 0, sigmas >= 0]
    no_worse = z3.And(j.hit_tokens >= i.hit_tokens, in_flight(j) <= in_flight(i))
    better = z3.Or(j.hit_tokens > i.hit_tokens, in_flight(j) < in_flight(i))
    return Theorem(
        domain=tuple(domain),
        given={"the rule takes i": takes},
        claim=z3.Not(z3.And(no_worse, better)),
        faults={
            "in tokens and batch": z3.Not(beats(j, i)),
            "in match alone": z3.Not(j.hit_tokens > i.hit_tokens),
            "in load alone": z3.Not(in_flight(j) < in_flight(i)),
        },
    )


def cache_first_pair(*, whole: bool = False) -> tuple[list[Indicators], list[Any]]:
    """Instances i and j as the rules that follow the cache see them, with the columns of their memories."""
    instances, domain = observed(2, recalled={**FULL_BLOCKS.columns, **PROCESSED.columns}, whole=whole)
    full = [x.recalled["full_block_tokens"] for x in instances]
    domain += [full[0] == full[1], full[0] <= instances[0].prompt_tokens]
    return instances, domain + [x.hit_tokens <= full[0] for x in instances]


@theorem
def two_tier_rules_are_never_beaten_in_load_by_a_match_as_long() -> Theorem:
    """Dynamo's two-tier rule and SGLang's never take i if j has no shorter match and less load, at any thresholds.

    SGLang's with its fallback by least load.

    Claim: never_dominated.
    """
    (i, j), domain = cache_first_pair()
    knobs, ranges = thresholds()
    aggregates = z3.Reals("least most longest")
    longest = aggregates[2]
    takes = z3.Or([taken(with_terms(name, **knobs), tuple(aggregates), i, [j]) for name in CACHE_FIRST])
    return Theorem(
        domain=(*domain, *ranges, i.hit_tokens <= longest, j.hit_tokens <= longest),
        given={"the rule takes i": takes},
        claim=z3.Not(z3.And(j.hit_tokens >= i.hit_tokens, in_flight(j) < in_flight(i))),
        faults={
            "in tokens and batch": z3.Not(beats_in_both(j, i)),
            "or no more load and a longer match": z3.Not(
                z3.And(j.hit_tokens > i.hit_tokens, in_flight(j) <= in_flight(i))
            ),
        },
    )
