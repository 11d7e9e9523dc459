"""Where the shipped product settles if P-tokens stay as they are; whole requests first, then shares.

``k`` counts the requests on an instance, so an arrival sees a batch of ``k + 1`` there. A choice among N instances is
a choice in every pair (see ``reduction.py``), so what holds of each pair holds for any number of instances. Sums over
instances are running totals, one instance added at a time.
"""

from __future__ import annotations

from typing import Any

import z3

from proofs.cluster import chooses, plain, scores
from proofs.theorem import Theorem, theorem
from scheduler import formulas
from scheduler.indicators import Indicators
from scheduler.policies.catalogue import policy

PRODUCT = policy("lmetric")


def pair() -> tuple[list[Indicators], list[Any], list[Any]]:
    """Two instances, the requests on each, and what holds by construction."""
    instances, requests = plain("i", "j"), z3.Reals("k_i k_j")
    domain: list[Any] = []
    for x, k in zip(instances, requests, strict=True):
        domain += [x.p_token > 0, k >= 0, x.batch_size == k + 1]
    return instances, requests, domain


def at_rest(tokens: Any, requests: Any, other_tokens: Any, other_requests: Any) -> Any:
    """No request of the one would go to the other if it were routed again."""
    return tokens * requests <= other_tokens * (other_requests + 1)


@theorem
def an_empty_instance_is_at_rest() -> Theorem:
    """Base of the induction.

    Claim: equilibrium.
    """
    (i, j), (k_i, k_j), domain = pair()
    return Theorem(
        domain=tuple(domain),
        given={"the instance is empty": k_i == 0},
        claim=at_rest(i.p_token, k_i, j.p_token, k_j),
        faults={
            "its batch with the request": at_rest(i.p_token, k_i + 1, j.p_token, k_j),
            "the other way round": at_rest(j.p_token, k_j, i.p_token, k_i),
        },
    )


@theorem
def routing_keeps_the_rest() -> Theorem:
    """Step of the induction: an arrival, to one of a pair or elsewhere, leaves the pair at rest.

    Claim: equilibrium.
    """
    (i, j), (k_i, k_j), domain = pair()
    a_i, a_j = z3.Reals("a_i a_j")
    domain += [z3.Or(a_i == 0, a_i == 1), z3.Or(a_j == 0, a_j == 1), a_i + a_j <= 1]
    rest = z3.And(at_rest(i.p_token, k_i, j.p_token, k_j), at_rest(j.p_token, k_j, i.p_token, k_i))
    after = z3.And(
        at_rest(i.p_token, k_i + a_i, j.p_token, k_j + a_j), at_rest(j.p_token, k_j + a_j, i.p_token, k_i + a_i)
    )
    product = z3.And(
        z3.Implies(a_i == 1, chooses(PRODUCT, [i, j], 0)), z3.Implies(a_j == 1, chooses(PRODUCT, [i, j], 1))
    )
    return Theorem(
        domain=tuple(domain),
        given={"induction: instances were at rest": rest, "an arrival goes where the product sends it": product},
        claim=after,
        faults={
            "the scores are equal": i.p_token * (k_i + a_i) == j.p_token * (k_j + a_j),
            "the batches without the request": i.p_token * (k_i + a_i) <= j.p_token * (k_j + a_j),
        },
        reached={"a tie": z3.And(i.p_token * (k_i + a_i) == j.p_token * (k_j + a_j + 1), a_i == 1)},
    )


@theorem
def an_arrival_brings_its_instance_to_rest() -> Theorem:
    """From any start an instance is at rest towards all others once it got an arrival.

    Claim: equilibrium.
    """
    (i, j), (k_i, k_j), domain = pair()
    return Theorem(
        domain=tuple(domain),
        given={"an arrival goes where the product sends it": chooses(PRODUCT, [i, j], 0)},
        claim=at_rest(i.p_token, k_i + 1, j.p_token, k_j),
        faults={
            "the other is at rest, too": at_rest(j.p_token, k_j, i.p_token, k_i + 1),
            "two arrivals at once": at_rest(i.p_token, k_i + 2, j.p_token, k_j),
        },
    )


@theorem
def a_rest_is_unique_up_to_ties() -> Theorem:
    """Two rests of one total differ by single requests at equal scores.

    With equal totals, if one has more on some i, the other has more on some j; both differ by one request at least.

    Claim: equilibrium.
    """
    (i, j), (k_i, k_j), domain = pair()
    l_i, l_j = z3.Reals("l_i l_j")
    domain += [l_i >= 0, l_j >= 0]
    tie = z3.And(
        k_i == l_i + 1,
        l_j == k_j + 1,
        i.p_token * k_i == j.p_token * l_j,
        i.p_token * (l_i + 1) == j.p_token * (k_j + 1),
    )
    return Theorem(
        domain=tuple(domain),
        given={
            "the first is at rest": at_rest(i.p_token, k_i, j.p_token, k_j),
            "the second is at rest": at_rest(j.p_token, l_j, i.p_token, l_i),
            "they differ by whole requests": z3.And(k_i >= l_i + 1, l_j >= k_j + 1),
        },
        claim=tie,
        faults={"they differ by two": k_i == l_i + 2, "at equal batches": k_i == l_j},
    )


@theorem
def a_rest_has_a_level() -> Theorem:
    """The greatest ``P k`` is no more than any ``P (k + 1)``: the step over the instances, j being any one of them.

    Claim: equilibrium.
    """
    (i, j), (k_i, k_j), domain = pair()
    top = z3.Real("greatest_so_far")
    next_j = scores(PRODUCT, [i, j])[1]
    level = z3.If(top >= i.p_token * k_i, top, i.p_token * k_i)
    return Theorem(
        domain=tuple(domain),
        given={
            "induction: the greatest score so far is no more than the next of j": top <= next_j,
            "the first is at rest": at_rest(i.p_token, k_i, j.p_token, k_j),
        },
        claim=z3.And(top <= level, i.p_token * k_i <= level, level <= next_j),
        faults={"below the next": level < next_j, "no more than the score of j": level <= j.p_token * k_j},
        reached={"no room between": z3.And(level == next_j, top < level, k_i > 0)},
    )


@theorem
def a_rest_is_the_least_potential() -> Theorem:
    """Any other state of the same total has no lower sum of ``P k (k + 1)/2``.

    At a rest some level lies between ``P k`` and ``P (k + 1)`` on every instance (:func:`a_rest_has_a_level`); moving d
    requests onto an instance raises its term by at least d times the level, and the d of all instances add up to 0.

    Claim: equilibrium.
    """
    tokens, k, d, level = z3.Reals("P k d level")
    gain = formulas.potential(tokens, k + d) - formulas.potential(tokens, k)
    return Theorem(
        domain=(tokens > 0, k >= 0, k + d >= 0),
        given={
            "no score is above the level": tokens * k <= level,
            "no next score is below the level": level <= tokens * (k + 1),
            "whole requests move": z3.Or(d == 0, d >= 1, d <= -1),
        },
        claim=gain >= d * level,
        faults={"strictly": gain > d * level, "twice the level": gain >= 2 * d * level},
        reached={
            "one request at the level": z3.And(gain == d * level, d == 1),
            "the last one": z3.And(gain == -level, d == -1),
        },
    )


@theorem
def totals_bound_the_level() -> Theorem:
    """Running totals: ``T <= level S <= T + N`` stays true when one more instance at rest is counted.

    Claim: equilibrium.
    """
    tokens, k, level, total, inverse, count = z3.Reals("P k level T S N")
    held = z3.And(total <= level * inverse, level * inverse <= total + count)
    with_it = inverse + 1 / tokens
    return Theorem(
        domain=(tokens > 0, k >= 0, level >= 0, total >= 0, inverse >= 0, count >= 0),
        given={
            "induction: the totals so far bound the level": held,
            "no score is above the level": tokens * k <= level,
            "no next score is below the level": level <= tokens * (k + 1),
        },
        claim=z3.And(total + k <= level * with_it, level * with_it <= total + k + count + 1),
        faults={
            "half a request each": level * with_it <= total + k + count + 1 / 2,
            "the total is level": total + k == level * with_it,
        },
        reached={
            "below": z3.And(total + k == level * with_it, k > 0),
            "above": z3.And(level * with_it == total + k + count + 1, k > 0),
        },
    )


@theorem
def whole_requests_stay_near_the_shares() -> Theorem:
    """At rest each instance has no less than its share less one, and no more than its share of N requests more.

    Claim: equilibrium.
    """
    tokens, k, level, total, inverse, count = z3.Reals("P k level T S N")
    low = formulas.hyperbolic_share(total, tokens, inverse) - 1
    high = formulas.hyperbolic_share(total + count, tokens, inverse)
    return Theorem(
        domain=(tokens > 0, k >= 0, inverse > 0, count >= 1, total >= 0),
        given={
            "induction: the totals so far bound the level": z3.And(
                total <= level * inverse, level * inverse <= total + count
            ),
            "no score is above the level": tokens * k <= level,
            "no next score is below the level": level <= tokens * (k + 1),
        },
        claim=z3.And(low <= k, k <= high),
        faults={"no less than its share": low + 1 <= k, "no more than its share": k <= low + 1},
        reached={"one less than the share": low == k, "the share of N more": k == high},
    )


@theorem
def the_product_goes_where_least_of_the_share_is_filled() -> Theorem:
    """The product compares batches over their shares, so at the shares, and only there, all scores are level.

    Claim: equilibrium.
    """
    i, j = plain("i", "j")
    total, inverse = z3.Reals("T S")
    score_i, score_j = scores(PRODUCT, [i, j])
    filled_i, filled_j = (x.batch_size / formulas.hyperbolic_share(total, x.p_token, inverse) for x in (i, j))
    domain = [total > 0, inverse > 0, *(term > 0 for x in (i, j) for term in (x.p_token, x.batch_size))]
    return Theorem(
        domain=tuple(domain),
        claim=z3.And((score_i < score_j) == (filled_i < filled_j), (score_i == score_j) == (filled_i == filled_j)),
        faults={
            "the smaller batch": (score_i < score_j) == (i.batch_size < j.batch_size),
            "flipped": (score_i < score_j) == (filled_i > filled_j),
        },
    )


@theorem
def level_scores_give_the_shares() -> Theorem:
    """Level scores on all instances: running totals stay ``T = level S``, so each batch is the share.

    Claim: equilibrium.
    """
    tokens, batch, level, total, inverse = z3.Reals("P B level T S")
    with_it = inverse + 1 / tokens
    return Theorem(
        domain=(tokens > 0, level > 0, inverse >= 0),
        given={
            "the scores are level": tokens * batch == level,
            "induction: the totals so far are level": total == level * inverse,
        },
        claim=z3.And(
            total + batch == level * with_it, batch == formulas.hyperbolic_share(total + batch, tokens, with_it)
        ),
        faults={
            "the total of the others": total + batch == level * inverse,
            "half of it": 2 * batch <= total + batch,
            "in proportion to P": batch * with_it == (total + batch) * tokens,
        },
    )
