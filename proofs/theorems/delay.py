"""The rule of least harm, on the shipped rule, and the product beside it.

How many others there are is settled by induction: one more request on the instance raises the shipped score by exactly
what that request loses. A sum over the others is a running total.
"""

from __future__ import annotations

import z3

from proofs.cluster import chooses, observed, scores
from proofs.theorem import Theorem, theorem
from scheduler import formulas
from scheduler.policies.catalogue import policy

DELAY = policy("marginal_delay")
PRODUCT = policy("lmetric")


@theorem
def an_idle_instance_delays_only_the_request() -> Theorem:
    """Base of the induction: with nobody else, the score is the own wait, queue and own prefill.

    Claim: marginal_delay.
    """
    [x], domain = observed(1)
    [score] = scores(DELAY, [x])
    return Theorem(
        domain=tuple(domain),
        given={"nobody else is on the instance": x.running + x.waiting == 0},
        claim=score == x.queued_prefill_tokens + x.new_prefill_tokens,
        faults={
            "the hit is not used": score == x.queued_prefill_tokens + x.prompt_tokens,
            "the queue counts for nothing": score == x.new_prefill_tokens,
        },
    )


@theorem
def each_unfinished_request_adds_one_prefill() -> Theorem:
    """Step of the induction: the score keeps pace with the total when one more request loses one prefill.

    ``x`` of the new tokens are computed before the other one ends, so it ends ``tau x`` later.

    Claim: marginal_delay.
    """
    (before, after), domain = observed(2)
    tau, computed, total = z3.Reals("tau computed total")
    score_before, score_after = scores(DELAY, [before, after])
    domain += [
        after.running + after.waiting == before.running + before.waiting + 1,
        after.queued_prefill_tokens == before.queued_prefill_tokens,
        after.hit_tokens == before.hit_tokens,
        tau > 0,
        computed >= 0,
        computed <= after.new_prefill_tokens,
    ]
    grown = total + tau * computed
    return Theorem(
        domain=tuple(domain),
        given={
            "the others are unfinished when the prefill runs": computed == after.new_prefill_tokens,
            "induction: it holds with one request fewer": total == tau * score_before,
        },
        claim=grown == tau * score_after,
        faults={
            "another loses the queue, too": grown == tau * (score_after + after.queued_prefill_tokens),
            "another loses nothing": total == tau * score_after,
        },
    )


@theorem
def early_ends_only_lower_the_delay() -> Theorem:
    """Step of the induction without the premise: the total stays between the own wait and the score.

    Claim: marginal_delay.
    """
    (before, after), domain = observed(2)
    tau, computed, total = z3.Reals("tau computed total")
    score_before, score_after = scores(DELAY, [before, after])
    domain += [
        after.running + after.waiting == before.running + before.waiting + 1,
        after.queued_prefill_tokens == before.queued_prefill_tokens,
        after.hit_tokens == before.hit_tokens,
        tau > 0,
        computed >= 0,
        computed <= after.new_prefill_tokens,
    ]
    grown = total + tau * computed
    return Theorem(
        domain=tuple(domain),
        given={
            "induction: its bounds hold with one request fewer": z3.And(
                total >= tau * before.p_token, total <= tau * score_before
            )
        },
        claim=z3.And(grown >= tau * after.p_token, grown <= tau * score_after),
        faults={
            "twice the own wait is a lower bound": grown >= 2 * tau * after.p_token,
            "the score of before is an upper bound": grown <= tau * score_before,
        },
        reached={
            "nobody loses anything": grown == tau * after.p_token,
            "everybody loses one prefill": z3.And(grown == tau * score_after, computed > 0),
        },
    )


@theorem
def the_shipped_choice_adds_the_least_delay() -> Theorem:
    """Between equally fast instances the choice of ``marginal_delay`` adds the least delay.

    Claim: marginal_delay.
    """
    (i, j), domain = observed(2)
    tau_i, tau_j = z3.Reals("tau_0 tau_1")
    score_i, score_j = scores(DELAY, [i, j])
    return Theorem(
        domain=(*domain, tau_i > 0, tau_j > 0),
        given={
            "the rule of least harm chose the instance": chooses(DELAY, [i, j], 0),
            "instances are equally fast": tau_i == tau_j,
        },
        claim=tau_i * score_i <= tau_j * score_j,
        faults={
            "strictly less": tau_i * score_i < tau_j * score_j,
            "the least product, too": i.p_token * i.batch_size <= j.p_token * j.batch_size,
        },
        reached={"equal delays": tau_i * score_i == tau_j * score_j},
    )


@theorem
def early_ends_mislead_only_at_the_optimum() -> Theorem:
    """If the score over-charges, the choice costs at most the over-charge of the instance that is truly best.

    Claim: marginal_delay.
    """
    (i, j), domain = observed(2)
    true_i, true_j, factor = z3.Reals("delay_0 delay_1 factor")
    score_i, score_j = scores(DELAY, [i, j])
    return Theorem(
        domain=(*domain, true_j > 0, factor >= 1),
        given={
            "the rule of least harm chose the instance": chooses(DELAY, [i, j], 0),
            "the score charges no less than the delay": true_i <= score_i,
            "at the best instance it charges at most a factor too much": score_j <= factor * true_j,
        },
        claim=true_i <= factor * true_j,
        faults={"no loss": true_i <= true_j, "the root of the factor": true_i * true_i <= factor * true_j * true_j},
        reached={"the whole factor": z3.And(true_i == factor * true_j, factor == 2)},
    )


@theorem
def chunks_mislead_by_at_most_the_overhead() -> Theorem:
    """With chunked prefill the choice costs at most ``1 + e`` times the least, e the overhead on the chosen instance.

    Claim: marginal_delay.
    """
    (i, j), domain = observed(2)
    e_i, e_j = z3.Reals("overhead_0 overhead_1")
    true_i, true_j = (
        formulas.chunked_delay(x.queued_prefill_tokens, x.new_prefill_tokens, x.batch_size, e)
        for x, e in ((i, e_i), (j, e_j))
    )
    return Theorem(
        domain=(*domain, e_i >= 0, e_j >= 0),
        given={"the rule of least harm chose the instance": chooses(DELAY, [i, j], 0)},
        claim=true_i <= (1 + e_i) * true_j,
        faults={"no loss": true_i <= true_j, "half the overhead": true_i <= (1 + e_i / 2) * true_j},
        reached={"the whole overhead": z3.And(true_i == (1 + e_i) * true_j, e_i == 1)},
        without={
            "the rule of least harm chose the instance": {
                "running_0": 0, "waiting_0": 0, "queued_prefill_tokens_0": 9, "hit_tokens_0": 0, "prompt_tokens": 1,
                "running_1": 0, "waiting_1": 0, "queued_prefill_tokens_1": 0, "hit_tokens_1": 0,
                "overhead_0": 0, "overhead_1": 0,
            }
        },
    )  # fmt: skip


@theorem
def the_product_is_least_harm_plus_queue_times_others() -> Theorem:
    """The shipped product's score is the shipped rule's of least harm and the cross term.

    Claim: product_is_marginal_delay_plus_cross_term.
    """
    [x], domain = observed(1)
    [product], [delay] = scores(PRODUCT, [x]), scores(DELAY, [x])
    cross = formulas.cross_term(x.queued_prefill_tokens, x.batch_size)
    return Theorem(
        domain=tuple(domain),
        claim=product == delay + cross,
        faults={
            "the request counts as another": product == delay + x.queued_prefill_tokens * x.batch_size,
            "the sign": product == delay - cross,
            "new tokens for queued ones": product == delay + x.new_prefill_tokens * (x.batch_size - 1),
        },
    )


@theorem
def without_queues_the_two_rules_are_one() -> Theorem:
    """With nothing queued, product and least harm choose the same instance of a pair.

    Claim: product_is_marginal_delay_plus_cross_term.
    """
    pair, domain = observed(2)
    return Theorem(
        domain=tuple(domain),
        given={"nothing is queued": z3.And([x.queued_prefill_tokens == 0 for x in pair])},
        claim=chooses(PRODUCT, pair, 0) == chooses(DELAY, pair, 0),
        faults={
            "least new tokens, too": chooses(PRODUCT, pair, 0) == (pair[0].p_token <= pair[1].p_token),
            "opposite choices": chooses(PRODUCT, pair, 0) == chooses(DELAY, pair, 1),
        },
    )


@theorem
def the_product_costs_at_most_the_regret_at_the_best() -> Theorem:
    """The product's choice k adds at most ``1 + q_j (B_j - 1)/(q_j + n_j B_j)`` times the delay of any j.

    Claim: product_is_marginal_delay_plus_cross_term.
    """
    (k, j), domain = observed(2)
    delay_k, delay_j = scores(DELAY, [k, j])
    regret = formulas.product_regret(j.queued_prefill_tokens, j.new_prefill_tokens, j.batch_size)
    return Theorem(
        domain=tuple(domain),
        given={"the product chose the instance": chooses(PRODUCT, [k, j], 0)},
        claim=delay_k <= regret * delay_j,
        faults={
            "no loss": delay_k <= delay_j,
            "one other fewer": delay_k <= delay_j + formulas.cross_term(j.queued_prefill_tokens, j.batch_size - 1),
        },
        reached={
            "the whole regret": z3.And(delay_k == regret * delay_j, j.queued_prefill_tokens > 0, j.batch_size == 4),
            "nearly the batch": z3.And(100 * delay_k > 99 * j.batch_size * delay_j, j.batch_size == 4),
        },
        without={
            "the product chose the instance": {
                "running_0": 0, "waiting_0": 0, "queued_prefill_tokens_0": 9, "hit_tokens_0": 0, "prompt_tokens": 1,
                "running_1": 0, "waiting_1": 0, "queued_prefill_tokens_1": 0, "hit_tokens_1": 0,
            }
        },
    )  # fmt: skip


@theorem
def the_regret_is_at_most_the_batch() -> Theorem:
    """The regret is at most the batch, and at most all prefill over new prefill.

    Claim: product_is_marginal_delay_plus_cross_term.
    """
    [x], domain = observed(1)
    regret = formulas.product_regret(x.queued_prefill_tokens, x.new_prefill_tokens, x.batch_size)
    return Theorem(
        domain=tuple(domain),
        claim=z3.And(regret <= x.batch_size, regret * x.new_prefill_tokens <= x.p_token),
        faults={
            "the others alone": z3.Or(regret <= x.batch_size - 1, x.batch_size < 2),
            "queue over new tokens": z3.Or(regret * x.new_prefill_tokens <= x.queued_prefill_tokens, x.batch_size < 2),
        },
        reached={
            "the batch, alone": regret == x.batch_size,
            "nearly the batch": z3.And(100 * regret > 99 * x.batch_size, x.batch_size == 4),
            "nearly all over new": z3.And(
                100 * regret * x.new_prefill_tokens > 99 * x.p_token, x.p_token > 2 * x.new_prefill_tokens
            ),
        },
    )
