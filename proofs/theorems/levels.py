"""Where a line settles if P-tokens stay as they are: linear shares, or a level that dear instances do not reach."""

from __future__ import annotations

from typing import Any

import z3

from proofs.cluster import chooses, plain, scores
from proofs.ops import Z3
from proofs.theorem import Theorem, theorem
from scheduler import formulas
from scheduler.policies.catalogue import policy
from scheduler.policies.linear import BATCH_SCALE, TOKEN_SCALE
from scheduler.policies.rule import Policy


def line(weight: Any) -> Policy:
    """The shipped line on P-token and batch size, its weight as a solver term."""
    shipped = policy("linear:form=p_token")
    return Policy(shipped.rule, {**shipped.values, "weight": weight})


@theorem
def the_line_is_level_at_the_linear_shares() -> Theorem:
    """At the linear shares the shipped line's scores are level.

    Claim: equilibrium.
    """
    i, j = plain("i", "j")
    weight, total, count, mean = z3.Reals("weight T N mean")
    rate = formulas.exchange_rate(weight, TOKEN_SCALE, BATCH_SCALE)
    score_i, score_j = scores(line(weight), [i, j])
    shares = [formulas.linear_share(total, count, x.p_token, mean, rate) for x in (i, j)]
    return Theorem(
        domain=(weight > 0, weight < 1, count >= 2, total > 0, i.batch_size > 0, j.batch_size > 0),
        given={"batches are the linear shares": z3.And(i.batch_size == shares[0], j.batch_size == shares[1])},
        claim=score_i == score_j,
        faults={
            "the product is level, too": i.p_token * i.batch_size == j.p_token * j.batch_size,
            "the batches are equal": i.batch_size == j.batch_size,
        },
        without={
            "batches are the linear shares": {
                "P_i": 1, "P_j": 2, "B_i": 1, "B_j": 1, "weight": 0.5, "T": 1, "N": 2, "mean": 1
            }
        },
    )  # fmt: skip


@theorem
def level_lines_give_the_linear_shares() -> Theorem:
    """Level linear scores: running totals stay ``w T + sum of P = level N``, so each batch is the linear share.

    Claim: equilibrium.
    """
    tokens, batch, rate, level, total, sum_tokens, count = z3.Reals("P B w level T sum_P N")
    mean = (sum_tokens + tokens) / (count + 1)
    return Theorem(
        domain=(rate > 0, count >= 0),
        given={
            "the scores are level": formulas.line(tokens, batch, rate) == level,
            "induction: the totals so far are level": rate * total + sum_tokens == level * count,
        },
        claim=z3.And(
            rate * (total + batch) + sum_tokens + tokens == level * (count + 1),
            batch == formulas.linear_share(total + batch, count + 1, tokens, mean, rate),
        ),
        faults={
            "equal shares": batch * (count + 1) == total + batch,
            "the sign": batch == (total + batch) / (count + 1) - (mean - tokens) / rate,
        },
    )


@theorem
def routing_by_a_line_keeps_the_rest() -> Theorem:
    """Whole requests: ``P_i + w k_i <= P_j + w (k_j + 1)`` wherever i has a request, before and after an arrival.

    Claim: equilibrium.
    """
    i, j = plain("i", "j")
    weight, k_i, k_j, a_i, a_j = z3.Reals("weight k_i k_j a_i a_j")
    rate = formulas.exchange_rate(weight, TOKEN_SCALE, BATCH_SCALE)

    def rest(here: Any, there: Any) -> Any:
        one_way = formulas.line(i.p_token, here, rate) <= formulas.line(j.p_token, there + 1, rate)
        return z3.Implies(here >= 1, one_way)

    rule = line(weight)
    sent = z3.And(z3.Implies(a_i == 1, chooses(rule, [i, j], 0)), z3.Implies(a_j == 1, chooses(rule, [i, j], 1)))
    return Theorem(
        domain=(
            weight > 0, weight < 1, i.batch_size == k_i + 1, j.batch_size == k_j + 1, k_i >= 0, k_j >= 0,
            z3.Or(k_i == 0, k_i >= 1), z3.Or(a_i == 0, a_i == 1), z3.Or(a_j == 0, a_j == 1), a_i + a_j <= 1,
        ),
        given={"induction: instances were at rest": rest(k_i, k_j), "an arrival goes where the line sends it": sent},
        claim=rest(k_i + a_i, k_j + a_j),
        faults={
            "empty instances, too": formulas.line(i.p_token, k_i, rate) <= formulas.line(j.p_token, k_j + 1, rate),
            "the batch without the request": z3.Implies(
                k_i + a_i >= 1, formulas.line(i.p_token, k_i + a_i, rate) <= formulas.line(j.p_token, k_j + a_j, rate)
            ),
        },
    )  # fmt: skip


@theorem
def one_more_instance_may_be_flooded() -> Theorem:
    """Instances in ascending order, filled so far: with one more, the least level tells whether it is filled, too.

    ``w T`` and the sum of P so far give the level. If the next instance lies above it, the level stays and the instance
    gets nothing; else the level sinks, but not below the instance, so all are filled and the batches add up to T.

    Claim: line_fills_to_a_level.
    """
    filled, sum_tokens, last, tokens, count, rate = z3.Reals("wT sum_P P_m P m w")
    before = (filled + sum_tokens) / count
    after = Z3.min_(before, (filled + sum_tokens + tokens) / (count + 1))
    dry = z3.And(after == before, before <= tokens, formulas.flooded_share(Z3, after, tokens, rate) == 0)
    wet = z3.And(after >= tokens, after >= last, (count + 1) * after - sum_tokens - tokens == filled)
    return Theorem(
        domain=(filled > 0, count >= 1, rate > 0),
        given={"instances come in ascending order": last <= tokens},
        claim=z3.Or(dry, wet),
        faults={"always filled": wet, "never filled": dry},
        reached={"filled": z3.And(wet, after > tokens), "not filled": z3.And(dry, before < tokens)},
    )


@theorem
def beyond_the_level_nothing_changes() -> Theorem:
    """Once an instance lies above the level, all later ones do, and the least level stays.

    Claim: line_fills_to_a_level.
    """
    level, all_filled, last, tokens, count, rate = z3.Reals("level all_filled P_m P m w")
    after = Z3.min_(level, (all_filled * count + tokens) / (count + 1))
    return Theorem(
        domain=(count >= 1, rate > 0, level <= all_filled),
        given={"instances come in ascending order": last <= tokens, "one so far is not filled": level <= last},
        claim=z3.And(after == level, formulas.flooded_share(Z3, after, tokens, rate) == 0, after <= tokens),
        faults={
            "all are filled": after == (all_filled * count + tokens) / (count + 1),
            "no later one is at the level": after < tokens,
        },
    )


@theorem
def flooded_shares_are_a_rest() -> Theorem:
    """Filled instances are level, and no other one has a lower score even when empty.

    Claim: line_fills_to_a_level.
    """
    i, j = plain("i", "j")
    level, rate = z3.Reals("level w")
    share_i, share_j = (formulas.flooded_share(Z3, level, x.p_token, rate) for x in (i, j))
    score_i, score_j = (formulas.line(x.p_token, share, rate) for x, share in ((i, share_i), (j, share_j)))
    return Theorem(
        domain=(rate > 0,),
        given={"the instance is filled": share_i > 0},
        claim=z3.And(score_i == level, score_i <= score_j),
        faults={"all are level": score_j == level, "only the cheapest is filled": i.p_token <= j.p_token},
    )
