"""Pools that do one thing, and instances of unequal speed. Glossary as in :mod:`theory.derivations.delay`."""

from __future__ import annotations

import sympy as sp

from scheduler import formulas
from theory.derivation import Derivation, derivation
from theory.derivations.delay import DECODE, PREFILL, READS, T0, B, L, c, gamma, n, n_out, q, tau

P_j, P_k, B_j, B_k, tau_j = sp.symbols("P_j P_k B_j B_k tau_j", positive=True)


@derivation
def disaggregated_pools() -> Derivation:
    """A pool that only prefills delays nobody else; a pool that only decodes has nothing to prefill."""
    K = sp.Symbol("K", nonnegative=True)
    more = sp.Symbol("r", nonnegative=True)
    work = Derivation(
        "Least harm is the least P-token for prefill alone, the least batch for decode alone.", {**PREFILL, **READS}
    )
    alone = formulas.marginal_delay(q, n, 1)
    work.equal("First come, first served: nobody ahead waits for it, so the batch counts as 1.", alone, q + n)
    first = (1 + more) * P_k * B_k / B_j
    work.equal(
        "The product took k: P_j B_j = (1 + r) P_k B_k, so its own wait over the least is",
        P_k / first,
        B_j / B_k / (1 + more),
    )
    work.holds("at most the ratio of the batches.", P_k / first, "<=", B_j / B_k)
    kappa = formulas.kappa_with_kv_reads(tau, gamma, n_out, c, L)
    score = formulas.decode_pool_delay(B, K, gamma, c, L, n_out)
    work.equal(
        "Decode alone: the offset and the reads, with neither queue nor new tokens.",
        tau * (formulas.marginal_delay(0, 0, B, kappa) + formulas.kv_read_delay(tau, n_out, c, K)),
        n_out * score,
    )
    work.equal("Without KV reads the batch alone counts.", score.subs(c, 0), 2 * gamma * B)
    work.conclude("Score of least harm of a decode pool [s/step].", score)
    return work


@derivation
def unequal_speeds() -> Derivation:
    """Own wait, own decode and the others' loss, each at the instance's own speed."""
    share = sp.Symbol("s", nonnegative=True)
    work = Derivation(
        "With unequal speeds the time of a step with nothing in it counts, too.",
        {**PREFILL, **DECODE, share: "share of its decode steps that another request shares"},
    )
    others = gamma * share * n_out
    own = n_out * (T0 + gamma) + others * (B - 1)
    work.display("Its own decode: every step alone, and the others while they are there.", own)
    total = tau * formulas.marginal_delay(q, n, B) + own + others * (B - 1)
    result = formulas.timed_delay(tau, q, n, B, n_out, T0, gamma, share)
    work.equal("With prefill and what the others lose.", total, result)
    work.equal(
        "If all outlive it.",
        result.subs(share, 1),
        tau * (q + n * B) + n_out * (T0 + gamma * (2 * B - 1)),
    )
    kappa = formulas.kappa(tau, gamma, n_out, share)
    work.equal(
        "The marginal delay with its offset, and a term that only equal speeds make a constant.",
        result,
        tau * formulas.marginal_delay(q, n, B, kappa) + n_out * (T0 + gamma * (1 - 2 * share)),
    )
    scale = sp.Symbol("f", positive=True)
    slower = formulas.timed_delay(scale * tau, q, n, B, n_out, scale * T0, scale * gamma, share)
    work.equal("An engine slower by a factor in everything adds so many times the delay.", slower, scale * result)
    work.conclude("Delay added [s].", result)
    return work


@derivation
def ignoring_speeds_costs_at_most_their_ratio() -> Derivation:
    """Compare through the score that ignores the speed."""
    more = sp.Symbol("r", nonnegative=True)
    work = Derivation(
        "A choice by P B costs at most the ratio of the speeds in tau P B.",
        {**PREFILL, tau_j: "time per prefill token of the best instance [s/token]"},
    )
    cost_k = formulas.timed_product(tau, P_k, B_k)
    cost_j = formulas.timed_product(tau_j, (1 + more) * P_k * B_k / B_j, B_j)
    work.equal("The choice k has P_j B_j = (1 + r) P_k B_k.", cost_k / cost_j, tau / tau_j / (1 + more))
    work.holds("So the cost over the least is at most", cost_k / cost_j, "<=", tau / tau_j)
    work.equal("and that at equal products.", (cost_k / cost_j).subs(more, 0), tau / tau_j)
    work.conclude("Cost over the least, at most [1].", tau / tau_j)
    return work
