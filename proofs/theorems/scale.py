"""Ratios and scales: the wedge in which product and line differ, and what rescaling an indicator does to each."""

from __future__ import annotations

import dataclasses
from typing import Any

import z3

from proofs.cluster import chooses, plain
from proofs.theorem import Theorem, theorem
from proofs.theorems.exchange import line_scores, product_scores, twins
from scheduler import formulas
from scheduler.indicators import Indicators
from scheduler.policies.catalogue import policy


def scaled(x: Indicators, token_factor: Any, batch_factor: Any) -> Indicators:
    """The instance with its indicators measured in other units."""
    return dataclasses.replace(x, p_token=token_factor * x.p_token, batch_size=batch_factor * x.batch_size)


@theorem
def the_rules_compare_ratios() -> Theorem:
    """The product prefers i iff ``v < u``, the line iff ``v < 1 + (u - 1)/r``; ties likewise.

    Claim: divergence_wedge.
    """
    i, j = plain("i", "j")
    rate, u, v = z3.Reals("w u v")
    product_i, product_j = product_scores([i, j])
    line_i, line_j = line_scores([i, j], rate)
    ratio = formulas.wedge_ratio(i.p_token, j.batch_size, rate)
    edge = formulas.wedge_edge(u, ratio)
    return Theorem(
        domain=(j.p_token == u * i.p_token, i.batch_size == v * j.batch_size),
        given={
            "P-tokens are positive": i.p_token > 0,
            "batch sizes are positive": j.batch_size > 0,
            "the weight is positive": rate > 0,
        },
        claim=z3.And(
            (product_i < product_j) == (v < u),
            (product_i == product_j) == (v == u),
            (line_i < line_j) == (v < edge),
            (line_i == line_j) == (v == edge),
        ),
        faults={
            "edges exchanged": z3.And((product_i < product_j) == (v < edge), (line_i < line_j) == (v < u)),
            "a slope of r": (line_i < line_j) == (v < 1 + (u - 1) * ratio),
            "a line through the origin": (line_i < line_j) == (v < u / ratio),
        },
    )


@theorem
def the_rules_differ_exactly_in_the_wedge() -> Theorem:
    """They differ strictly iff v lies strictly between the edges: above u (r < 1, batch too cheap) or below (r > 1).

    Claim: divergence_wedge.
    """
    u, v, ratio = z3.Reals("u v r")
    edge = formulas.wedge_edge(u, ratio)
    product_prefers_i, product_prefers_j = v < u, u < v
    line_prefers_i, line_prefers_j = v < edge, edge < v
    too_cheap = z3.And(product_prefers_j, line_prefers_i)
    too_dear = z3.And(product_prefers_i, line_prefers_j)
    return Theorem(
        given={"one instance has fewer tokens": u > 1, "the weight is positive": ratio > 0},
        claim=z3.And(
            too_cheap == z3.And(u < v, v < edge),
            too_dear == z3.And(edge < v, v < u),
            (u < edge) == (ratio < 1),
            (edge < u) == (ratio > 1),
            edge > 1,
        ),
        faults={
            "sides exchanged": (u < edge) == (ratio > 1),
            "only too dear": z3.Not(too_cheap),
            "differ for every v above 1": z3.Implies(v > 1, z3.Or(too_cheap, too_dear)),
        },
    )


@theorem
def the_wedge_is_empty_only_at_one() -> Theorem:
    """Unless ``r = 1`` the point midway between the edges lies in the wedge, at every u; at ``r = 1`` none does.

    Claim: divergence_wedge.
    """
    u, v, ratio = z3.Reals("u v r")
    edge = formulas.wedge_edge(u, ratio)

    def differ(at: Any) -> Any:
        return z3.Or(z3.And(u < at, at < edge), z3.And(edge < at, at < u))

    middle = (u + edge) / 2
    return Theorem(
        given={"one instance has fewer tokens": u > 1, "the weight is positive": ratio > 0},
        claim=z3.And(
            z3.Implies(ratio != 1, z3.And(middle > 1, differ(middle))), z3.Implies(ratio == 1, z3.Not(differ(v)))
        ),
        faults={
            "empty at 2": z3.Implies(ratio == 2, z3.Not(differ(v))),
            "never empty": differ(middle),
        },
    )


@theorem
def rescaling_keeps_the_choice_of_the_product() -> Theorem:
    """The shipped product chooses the same index in any units of tokens and of requests.

    Claim: product_is_scale_free.
    """
    pair = plain("0", "1")
    factors = z3.Reals("token_factor batch_factor")
    other = [scaled(x, *factors) for x in pair]
    lmetric = policy("lmetric")
    return Theorem(
        given={"factors are positive": z3.And([factor > 0 for factor in factors])},
        claim=z3.And([chooses(lmetric, pair, index) == chooses(lmetric, other, index) for index in (0, 1)]),
        faults={
            "one instance alone rescaled": chooses(lmetric, pair, 0) == chooses(lmetric, [other[0], pair[1]], 0),
            "the choice changes places": chooses(lmetric, pair, 0) == chooses(lmetric, other, 1),
        },
    )


@theorem
def some_unit_of_requests_drops_a_choice_that_lacks_the_fewest_tokens() -> Theorem:
    """If a has fewer tokens than c, batches counted in a large enough unit make the line prefer a to c.

    Claim: product_is_scale_free.
    """
    a, c = plain("a", "c")
    rate = z3.Real("w")
    factor = (c.p_token - a.p_token) / (rate * a.batch_size)
    line_a, line_c = line_scores([scaled(x, 1, factor) for x in (a, c)], rate)
    plain_a, plain_c = line_scores([a, c], rate)
    return Theorem(
        given={
            "batch sizes are positive": z3.And(a.batch_size > 0, c.batch_size > 0),
            "the weight is positive": rate > 0,
            "another has fewer tokens": a.p_token < c.p_token,
        },
        claim=z3.And(factor > 0, line_a < line_c),
        faults={"without rescaling": plain_a < plain_c, "a negative unit": factor < 0},
        reached={"the line did choose it before": z3.And(plain_c < plain_a, a.p_token > 0)},
    )


@theorem
def some_unit_of_tokens_drops_a_choice_that_lacks_the_least_batch() -> Theorem:
    """If a has a smaller batch than c, tokens counted in a large enough unit make the line prefer a to c.

    Claim: product_is_scale_free.
    """
    a, c = plain("a", "c")
    rate = z3.Real("w")
    factor = rate * (c.batch_size - a.batch_size) / a.p_token
    line_a, line_c = line_scores([scaled(x, factor, 1) for x in (a, c)], rate)
    plain_a, plain_c = line_scores([a, c], rate)
    return Theorem(
        given={
            "P-tokens are positive": z3.And(a.p_token > 0, c.p_token > 0),
            "the weight is positive": rate > 0,
            "another has a smaller batch": a.batch_size < c.batch_size,
        },
        claim=z3.And(factor > 0, line_a < line_c),
        faults={"without rescaling": plain_a < plain_c, "a negative unit": factor < 0},
        reached={"the line did choose it before": z3.And(plain_c < plain_a, a.batch_size > 0)},
    )


@theorem
def an_instance_least_in_both_is_chosen_in_all_units() -> Theorem:
    """An instance with the fewest tokens and the least batch beats all but its twins, whatever the units.

    Claim: product_is_scale_free.
    """
    m, j = plain("m", "j")
    rate, token_factor, batch_factor = z3.Reals("w token_factor batch_factor")
    line_m, line_j = line_scores([scaled(x, token_factor, batch_factor) for x in (m, j)], rate)
    return Theorem(
        given={
            "factors are positive": z3.And(token_factor > 0, batch_factor > 0),
            "the weight is positive": rate > 0,
            "it has the fewest tokens": m.p_token <= j.p_token,
            "it has the least batch": m.batch_size <= j.batch_size,
        },
        claim=z3.And(line_m <= line_j, (line_m == line_j) == twins(m, j)),
        faults={"it beats its twins": line_m < line_j, "flipped": line_j < line_m},
        reached={"a twin": line_m == line_j},
    )
