"""Pools that do one thing, and instances of unequal speed, on the shipped rules."""

from __future__ import annotations

import z3

from proofs.cluster import chooses, observed, plain
from proofs.theorem import Theorem, theorem
from proofs.theorems.decoding import TIMED, one_more, with_offset
from scheduler import formulas
from scheduler.policies.catalogue import policy

PRODUCT = policy("lmetric")


@theorem
def on_a_prefill_pool_the_least_p_token_waits_least() -> Theorem:
    """Where nobody decodes, an instance's batch counts as 1, and ``least_p_token`` adds the least delay.

    Claim: disaggregated_pools.
    """
    pair, domain = observed(2)
    affected_i, affected_j = z3.Reals("affected_i affected_j")
    delay_i, delay_j = (
        formulas.marginal_delay(x.queued_prefill_tokens, x.new_prefill_tokens, 1 + affected)
        for x, affected in zip(pair, (affected_i, affected_j), strict=True)
    )
    return Theorem(
        domain=(*domain, affected_i >= 0, affected_j >= 0),
        given={
            "nobody ahead waits for the request": z3.And(affected_i == 0, affected_j == 0),
            "the least P-token was chosen": chooses(policy("least_p_token"), pair, 0),
        },
        claim=delay_i <= delay_j,
        faults={
            "the least product, too": pair[0].p_token * pair[0].batch_size <= pair[1].p_token * pair[1].batch_size,
            "strictly": delay_i < delay_j,
        },
    )


@theorem
def on_a_prefill_pool_the_product_waits_by_the_ratio_of_batches() -> Theorem:
    """The own wait at the product's choice k is at most ``B_j/B_k`` times that at any j.

    Claim: disaggregated_pools.
    """
    (k, j), domain = observed(2)
    return Theorem(
        domain=tuple(domain),
        given={"the product chose the instance": chooses(PRODUCT, [k, j], 0)},
        claim=z3.And(k.p_token <= j.p_token * j.batch_size / k.batch_size, k.p_token <= j.p_token * j.batch_size),
        faults={"no loss": k.p_token <= j.p_token, "upside down": k.p_token * j.batch_size <= j.p_token * k.batch_size},
        reached={
            "the ratio": z3.And(k.p_token * k.batch_size == j.p_token * j.batch_size, k.p_token == 17 * j.p_token),
            "the whole batch": z3.And(k.p_token == j.p_token * j.batch_size, j.batch_size == 17),
        },
        without={
            "the product chose the instance": {
                "running_0": 1, "waiting_0": 0, "queued_prefill_tokens_0": 9, "hit_tokens_0": 0, "prompt_tokens": 1,
                "running_1": 0, "waiting_1": 0, "queued_prefill_tokens_1": 0, "hit_tokens_1": 0,
            }
        },
    )  # fmt: skip


@theorem
def on_a_decode_pool_three_rules_are_one() -> Theorem:
    """With nothing to prefill, product, least harm and the shortest queue choose the same instance.

    Claim: disaggregated_pools.
    """
    pair, domain = observed(2, columns=TIMED)
    kappa = z3.Real("kappa")
    shortest = chooses(policy("join_shortest_queue"), pair, 0)
    return Theorem(
        domain=(*domain, kappa >= 0),
        given={
            "nothing is queued": z3.And([x.queued_prefill_tokens == 0 for x in pair]),
            "all instances would prefill as much": pair[0].new_prefill_tokens == pair[1].new_prefill_tokens,
        },
        claim=z3.And(chooses(PRODUCT, pair, 0) == shortest, chooses(with_offset(kappa=kappa), pair, 0) == shortest),
        faults={
            "fewest running": shortest == (pair[0].running <= pair[1].running),
            "the other one": chooses(PRODUCT, pair, 0) == chooses(policy("join_shortest_queue"), pair, 1),
        },
    )


@theorem
def on_a_decode_pool_the_shortest_queue_errs_by_the_kv_tokens() -> Theorem:
    """With KV reads the shortest queue costs at most the ratio of the KV tokens on the two instances.

    Claim: disaggregated_pools.
    """
    pair, domain = observed(2)
    gamma, reads, steps, kv_i, kv_j, ratio = z3.Reals("gamma c n_out K_0 K_1 ratio")
    cost_i, cost_j = (
        formulas.decode_pool_delay(x.batch_size, kv, gamma, reads, x.prompt_tokens, steps)
        for x, kv in zip(pair, (kv_i, kv_j), strict=True)
    )
    return Theorem(
        domain=(*domain, gamma >= 0, reads >= 0, steps >= 1, kv_i >= 0, kv_j >= 0, ratio >= 1),
        given={
            "the shortest queue was chosen": chooses(policy("join_shortest_queue"), pair, 0),
            "KV tokens differ by at most a ratio": kv_i <= ratio * kv_j,
        },
        claim=cost_i <= ratio * cost_j,
        faults={"no loss": cost_i <= cost_j, "its root": cost_i * cost_i <= ratio * cost_j * cost_j},
        reached={"batches alone": z3.And(cost_i == cost_j, reads == 0, gamma > 0),
            "nearly the ratio": z3.And(100 * cost_i > 199 * cost_j, ratio == 2)},
        without={
            "the shortest queue was chosen": {
                "running_0": 1, "running_1": 0, "waiting_0": 0, "waiting_1": 0, "gamma": 1, "c": 0, "n_out": 1,
                "K_0": 0, "K_1": 0, "ratio": 1, "prompt_tokens": 1, "hit_tokens_0": 0, "hit_tokens_1": 0,
                "queued_prefill_tokens_0": 0, "queued_prefill_tokens_1": 0,
            },
            "KV tokens differ by at most a ratio": {
                "running_0": 0, "running_1": 0, "waiting_0": 0, "waiting_1": 0, "gamma": 0, "c": 1, "n_out": 1,
                "K_0": 9, "K_1": 0, "ratio": 1, "prompt_tokens": 1, "hit_tokens_0": 0, "hit_tokens_1": 0,
                "queued_prefill_tokens_0": 0, "queued_prefill_tokens_1": 0,
            },
        },
    )  # fmt: skip


@theorem
def ignoring_speeds_costs_at_most_the_ratio_of_two() -> Theorem:
    """The choice by ``P B`` costs at most ``tau_k/tau_j`` times the ``tau P B`` of any j.

    Claim: unequal_speeds.
    """
    k, j = plain("k", "j")
    tau_k, tau_j = z3.Reals("tau_k tau_j")
    cost_k, cost_j = (formulas.timed_product(t, x.p_token, x.batch_size) for t, x in ((tau_k, k), (tau_j, j)))
    return Theorem(
        domain=(tau_k > 0, tau_j > 0, k.p_token > 0, j.p_token > 0, k.batch_size >= 1, j.batch_size >= 1),
        given={"the product chose the instance": chooses(PRODUCT, [k, j], 0)},
        claim=cost_k * tau_j <= tau_k * cost_j,
        faults={"no loss": cost_k <= cost_j, "the root": cost_k * cost_k * tau_j <= tau_k * cost_j * cost_j},
        reached={"the whole ratio": z3.And(cost_k == 4 * cost_j, tau_k == 4 * tau_j)},
    )


@theorem
def alone_a_request_takes_the_instance_s_own_time() -> Theorem:
    """Base of the induction: with nobody else, own wait and own decode at the instance's speed.

    Claim: unequal_speeds.
    """
    [x], domain = observed(1, columns=TIMED)
    base, overlap = z3.Reals("T0 overlap")
    tau, gamma, steps = x.prefill_s_per_token, x.decode_s_per_request, x.expected_output_tokens
    found = formulas.timed_delay(
        tau, x.queued_prefill_tokens, x.new_prefill_tokens, x.batch_size, steps, base, gamma, overlap
    )
    return Theorem(
        domain=(*domain, base >= 0, overlap >= 0, overlap <= 1),
        given={"nobody else is on the instance": x.batch_size == 1},
        claim=found == tau * x.p_token + steps * (base + gamma),
        faults={
            "without the empty step": found == tau * x.p_token + steps * gamma,
            "without decode": found == tau * x.p_token,
        },
    )


@theorem
def each_other_request_adds_its_time_on_the_instance() -> Theorem:
    """Step of the induction: one prefill, and ``gamma`` twice in each shared step.

    Claim: unequal_speeds.
    """
    (before, after), domain = observed(2, columns=TIMED)
    base, overlap, shared = z3.Reals("T0 overlap shared")
    tau, gamma, steps = after.prefill_s_per_token, after.decode_s_per_request, after.expected_output_tokens
    found_before, found_after = (
        formulas.timed_delay(
            tau, x.queued_prefill_tokens, x.new_prefill_tokens, x.batch_size, steps, base, gamma, overlap
        )
        for x in (before, after)
    )
    pair = formulas.pair_decode_delay(shared, gamma)
    domain += [*one_more(before, after), base >= 0, overlap >= 0, overlap <= 1]
    return Theorem(
        domain=tuple(domain),
        given={"the requests share the expected decode steps": shared == overlap * steps},
        claim=found_after == found_before + tau * after.new_prefill_tokens + pair,
        faults={
            "one slot, not two": found_after == found_before + tau * after.new_prefill_tokens + pair / 2,
            "without its prefill": found_after == found_before + pair,
        },
        without={
            "the requests share the expected decode steps": {
                "shared": 1, "overlap": 0, "expected_output_tokens": 1, "prompt_tokens": 1, "T0": 0,
                "decode_s_per_request_0": 1, "decode_s_per_request_1": 1, "prefill_s_per_token_0": 1,
                "prefill_s_per_token_1": 1, "hit_tokens_0": 0, "hit_tokens_1": 0, "queued_prefill_tokens_0": 0,
                "queued_prefill_tokens_1": 0, "running_0": 0, "running_1": 1, "waiting_0": 0, "waiting_1": 0,
            }
        },
    )  # fmt: skip


@theorem
def the_delay_is_known_as_well_as_the_step_times() -> Theorem:
    """Every step time within ``low`` and ``high`` times what the score takes it for: so is the delay.

    Claim: unequal_speeds.
    """
    [x], domain = observed(1)
    low, high, overlap = z3.Reals("low high overlap")
    taken, real = z3.Reals("tau T0 gamma"), z3.Reals("tau_real T0_real gamma_real")
    believed, true = (
        formulas.timed_delay(
            tau,
            x.queued_prefill_tokens,
            x.new_prefill_tokens,
            x.batch_size,
            x.expected_output_tokens,
            base,
            gamma,
            overlap,
        )
        for tau, base, gamma in (taken, real)
    )
    within = [z3.And(low * a <= b, b <= high * a) for a, b in zip(taken, real, strict=True)]
    positive = [low > 0, high >= low, overlap >= 0, overlap <= 1, taken[0] > 0, taken[1] >= 0, taken[2] >= 0]
    return Theorem(
        domain=(*domain, *positive),
        given={"step times are known within a factor": z3.And(within)},
        claim=z3.And(low * believed <= true, true <= high * believed),
        faults={"no error": true == believed, "below the mean factor": 2 * true <= (low + high) * believed},
        reached={"the whole factor": z3.And(true == high * believed, high == 4 * low)},
    )


@theorem
def unknown_speeds_cost_at_most_their_ratio() -> Theorem:
    """A score that is within ``low`` and ``high`` times the delay: the choice costs at most their ratio.

    Claim: unequal_speeds.
    """
    score_k, score_j, delay_k, delay_j, low, high = z3.Reals("score_k score_j delay_k delay_j low high")
    within = [z3.And(low * s <= d, d <= high * s) for s, d in ((score_k, delay_k), (score_j, delay_j))]
    return Theorem(
        domain=(score_k > 0, score_j > 0, low > 0, high >= low),
        given={"the least score was chosen": score_k <= score_j, "the delay is known within a factor": z3.And(within)},
        claim=low * delay_k <= high * delay_j,
        faults={"no loss": delay_k <= delay_j, "half the ratio": 2 * low * delay_k <= high * delay_j},
        reached={"the whole ratio": z3.And(low * delay_k == high * delay_j, high == 4 * low)},
    )


@theorem
def the_timed_product_may_choose_a_slow_decoder() -> Theorem:
    """That the choice by ``tau P B`` adds at most 1000 times the least delay is false.

    Claim: timed_product_is_near_least_delay.
    """
    pair, domain = observed(2, columns=TIMED)
    base = z3.Reals("T0_0 T0_1")
    costs = [formulas.timed_product(x.prefill_s_per_token, x.p_token, x.batch_size) for x in pair]
    delays = [
        formulas.timed_delay(
            x.prefill_s_per_token,
            x.queued_prefill_tokens,
            x.new_prefill_tokens,
            x.batch_size,
            x.expected_output_tokens,
            empty,
            x.decode_s_per_request,
        )
        for x, empty in zip(pair, base, strict=True)
    ]
    return Theorem(
        domain=(*domain, base[0] >= 0, base[1] >= 0, costs[0] <= costs[1]),
        claim=delays[0] <= 1000 * delays[1],
        refuted=True,
    )
