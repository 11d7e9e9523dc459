"""Decode in the rule of least harm: what each other request adds, and how the offset caps the leverage."""

from __future__ import annotations

from typing import Any

import z3

from proofs.cluster import COLUMNS, chooses, observed, scores
from proofs.ops import Z3
from proofs.theorem import Theorem, theorem
from scheduler import formulas
from scheduler.indicators import FLOOR_TOKENS, Indicators
from scheduler.policies.catalogue import policy
from scheduler.policies.rule import Policy

TIMED = (*COLUMNS, "prefill_s_per_token", "decode_s_per_request")


def with_offset(**knobs: Any) -> Policy:
    """The shipped rule with decode offset, its knobs as solver terms."""
    shipped = policy("marginal_delay_offset")
    return Policy(shipped.rule, {**shipped.values, **knobs})


def one_more(before: Indicators, after: Indicators) -> list[Any]:
    """The second instance is the first one with one more request on it."""
    return [
        after.running + after.waiting == before.running + before.waiting + 1,
        after.queued_prefill_tokens == before.queued_prefill_tokens,
        after.hit_tokens == before.hit_tokens,
    ]


@theorem
def alone_the_request_decodes_at_its_own_pace() -> Theorem:
    """Base of the induction: with nobody else, own wait and own decode, and the constant that the score leaves out.

    Claim: decode_offset.
    """
    [x], domain = observed(1, columns=TIMED)
    overlap, base = z3.Reals("overlap T0")
    [score] = scores(with_offset(overlap=overlap), [x])
    tau, gamma, steps = x.prefill_s_per_token, x.decode_s_per_request, x.expected_output_tokens
    constant = steps * (base + gamma * (1 - 2 * overlap))
    own = tau * x.p_token + steps * (base + gamma)
    return Theorem(
        domain=(*domain, overlap >= 0, overlap <= 1, base >= 0),
        given={"nobody else is on the instance": x.running + x.waiting == 0},
        claim=tau * score + constant == own,
        faults={
            "without the constant": tau * score == own,
            "the constant of full overlap": tau * score + steps * (base - gamma) == own,
        },
    )


@theorem
def each_other_request_adds_its_prefill_and_two_decode_slots() -> Theorem:
    """Step of the induction: the shipped score keeps pace when one more request shares the decode.

    The other loses one prefill and ``gamma`` in each shared step; the request loses ``gamma`` in the same steps.

    Claim: decode_offset.
    """
    (before, after), domain = observed(2, columns=TIMED)
    overlap, shared, total, constant = z3.Reals("overlap shared total constant")
    score_before, score_after = scores(with_offset(overlap=overlap), [before, after])
    tau, gamma, steps = after.prefill_s_per_token, after.decode_s_per_request, after.expected_output_tokens
    domain += [
        *one_more(before, after),
        before.prefill_s_per_token == tau,
        before.decode_s_per_request == gamma,
        overlap >= 0,
        overlap <= 1,
    ]
    lost, gained = tau * after.new_prefill_tokens + gamma * shared, gamma * shared
    return Theorem(
        domain=tuple(domain),
        given={
            "the requests share the expected decode steps": shared == overlap * steps,
            "induction: it holds with one request fewer": total == tau * score_before + constant,
        },
        claim=total + lost + gained == tau * score_after + constant,
        faults={
            "one slot, not two": total + lost == tau * score_after + constant,
            "the own loss alone": total + gained == tau * score_after + constant,
        },
        without={
            "the requests share the expected decode steps": {
                "shared": 1, "overlap": 0, "expected_output_tokens": 1, "prompt_tokens": 1, "constant": 0,
                "decode_s_per_request_0": 1, "decode_s_per_request_1": 1, "prefill_s_per_token_0": 1,
                "prefill_s_per_token_1": 1, "hit_tokens_0": 0, "hit_tokens_1": 0, "queued_prefill_tokens_0": 0,
                "queued_prefill_tokens_1": 0, "running_0": 0, "running_1": 1, "waiting_0": 0, "waiting_1": 0,
            }
        },
    )  # fmt: skip


@theorem
def each_other_request_adds_the_reads_of_both() -> Theorem:
    """Step of the induction with KV reads: offset by the prompt, and the other's KV tokens as an indicator.

    Claim: decode_offset.
    """
    (before, after), domain = observed(2)
    tau, gamma, reads, steps, kv, kv_of_other, shared, total, constant = z3.Reals(
        "tau gamma c n_out K K_of_other shared total constant"
    )
    prompt = after.prompt_tokens
    offset = formulas.kappa_with_kv_reads(tau, gamma, steps, reads, prompt)

    def charged(x: Indicators, kv_tokens: Any) -> Any:
        least = formulas.marginal_delay(x.queued_prefill_tokens, x.new_prefill_tokens, x.batch_size, offset)
        return tau * (least + formulas.kv_read_delay(tau, steps, reads, kv_tokens)) + constant

    domain += [*one_more(before, after), tau > 0, gamma >= 0, reads >= 0, steps >= 1, kv >= 0, kv_of_other >= 0]
    domain += [shared >= 0, shared <= steps]
    pair = formulas.pair_decode_delay(shared, gamma, reads, prompt, kv_of_other)
    grown = total + tau * after.new_prefill_tokens + pair
    return Theorem(
        domain=tuple(domain),
        given={
            "the others outlive the request": shared == steps,
            "induction: it holds with one request fewer": total == charged(before, kv),
        },
        claim=grown == charged(after, kv + kv_of_other),
        faults={
            "the other's KV tokens are not read": grown == charged(after, kv),
            "they are read in one step only": grown == charged(after, kv + kv_of_other / steps),
        },
    )


@theorem
def the_offset_lies_between_none_and_two_slots_a_step() -> Theorem:
    """The offset is at least 0 and at most ``2 gamma n_out/tau``, and linear in the steps shared.

    Claim: decode_offset.
    """
    tau, gamma, steps, overlap = z3.Reals("tau gamma n_out overlap")
    most = formulas.kappa(tau, gamma, steps)
    found = formulas.kappa(tau, gamma, steps, overlap)
    return Theorem(
        domain=(tau > 0, gamma >= 0, steps >= 0, overlap >= 0),
        given={"no more steps are shared than there are": overlap <= 1},
        claim=z3.And(found >= 0, found <= most, found == overlap * most),
        faults={"at least one slot": found >= most / 2, "at most one slot": found <= most / 2},
        reached={
            "nothing": z3.And(found == 0, most > 0),
            "half, at uniform residuals": z3.And(found == gamma * steps / tau, found > 0),
            "two slots": z3.And(found == most, found > 0),
        },
    )


@theorem
def shorter_others_lower_the_offset_below_one_slot() -> Theorem:
    """That the offset is never below ``gamma n_out/tau`` is false: others with shorter outputs share fewer steps.

    Claim: decode_offset_is_at_least_one_slot.
    """
    tau, gamma, steps, others = z3.Reals("tau gamma n_out m")
    overlap = formulas.uniform_overlap(Z3, steps, others)
    return Theorem(
        domain=(tau > 0, gamma > 0, steps >= 1, others >= 1),
        claim=formulas.kappa(tau, gamma, steps, overlap) >= gamma * steps / tau,
        refuted=True,
    )


@theorem
def longer_others_keep_the_offset_above_one_slot() -> Theorem:
    """With uniform residuals of outputs that are no shorter, the offset lies between one slot and two.

    Claim: decode_offset.
    """
    tau, gamma, steps, others = z3.Reals("tau gamma n_out m")
    found = formulas.kappa(tau, gamma, steps, formulas.uniform_overlap(Z3, steps, others))
    slot = gamma * steps / tau
    return Theorem(
        domain=(tau > 0, gamma > 0, steps >= 1, others >= 1),
        given={"the others' outputs are no shorter": others >= steps},
        claim=z3.And(found >= slot, found < 2 * slot),
        faults={"more than one slot": found > slot, "at most a slot and a half": 2 * found <= 3 * slot},
        reached={"one slot": found == slot, "nearly two": 100 * found > 199 * slot},
    )


@theorem
def the_offset_caps_the_leverage() -> Theorem:
    """The rule takes an instance only while its batch is at most the cap times that of any other.

    Claim: decode_offset.
    """
    (x, other), domain = observed(2)
    kappa = z3.Real("kappa")
    exact = formulas.delay_leverage(
        other.new_prefill_tokens, other.queued_prefill_tokens, other.batch_size, x.new_prefill_tokens, kappa
    )
    most = formulas.delay_leverage(
        other.prompt_tokens, other.queued_prefill_tokens, other.batch_size, FLOOR_TOKENS, kappa
    )
    ratio = x.batch_size / other.batch_size
    return Theorem(
        domain=(*domain, kappa >= 0),
        given={"the rule with the offset chose the instance": chooses(with_offset(kappa=kappa), [x, other], 0)},
        claim=z3.And(ratio <= exact, ratio <= most),
        faults={
            "without the other's queue": ratio * (x.new_prefill_tokens + kappa) <= other.new_prefill_tokens + kappa,
            "as without the offset": ratio * x.new_prefill_tokens <= other.new_prefill_tokens,
            "half the cap": ratio <= exact / 2,
        },
        reached={"the whole cap": z3.And(ratio == most, ratio == 17, kappa == 60, other.queued_prefill_tokens == 0)},
    )
