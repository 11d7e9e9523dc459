"""Hot spots: growth, silence, and when a product lets go.

Glossary: ``Q`` requests a second, ``x`` share of the class, ``M`` of ``N`` instances hold its prefix (``N = M + K``),
``a`` and ``b`` flow to a holder and to another instance, ``T`` residence time, ``rho`` leverage, ``t`` time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sympy as sp

from scheduler import formulas
from scheduler.indicators import Indicators
from scheduler.policies.catalogue import policy
from scheduler.policies.reading import exact, read
from theory.derivation import Derivation, derivation
from theory.ops import SYMPY

t, T, Q = sp.symbols("t T Q", positive=True)
a, b, rho = sp.symbols("a b rho", positive=True)
B_0, b_0 = sp.symbols("B_0 b_0", nonnegative=True)


def solution(flow: Any, start: Any, residence: Any = None) -> Any:
    """Residents over time: the solution of ``r' = flow - r / residence`` (no completions if None) from a start."""
    r = sp.Function("r")
    leaving = 0 if residence is None else r(t) / residence
    return sp.dsolve(sp.Eq(r(t).diff(t), flow - leaving), r(t), ics={r(0): start}).rhs


@derivation
def hotspot_growth() -> Derivation:
    """The ratio of the batches from the flows."""
    M, K, d, start = sp.symbols("M K d B_0", positive=True)
    x = sp.Symbol("x", positive=True)
    work = Derivation(
        "Without completions the batch of a holder grows against that of others up to the ratio of the flows.",
        {x: "share of the class", M: "holders", K: "other instances", Q: "flow of all requests [request/s]"},
    )
    hot, cold = formulas.hot_rate(x, M, Q), formulas.cold_rate(x, M, M + K, Q)
    work.equal("All requests go somewhere.", M * hot + K * cold, Q)
    ratio = solution(a, start) / solution(b, start)
    work.equal("Batches grow linearly.", ratio, formulas.hotspot_growth(start, a, b, t))
    work.holds("If a holder receives d more, the ratio rises", ratio.subs(a, b + d).diff(t), ">", 0)
    work.equal("towards the ratio of the flows,", sp.limit(ratio, t, sp.oo), a / b)
    work.equal("which is the odds of the class times K/M.", hot / cold, x * K / ((1 - x) * M))
    work.conclude("The ratio after the time t.", formulas.hotspot_growth(start, hot, cold, t))
    return work


def _known_by_indicators(name: str) -> Indicators:
    """An instance of which only P-token and batch size are known."""
    others = ("running", "waiting", "queued_prefill_tokens", "hit_tokens", "prompt_tokens", "new_prefill_tokens")
    unknown: Mapping[str, Any] = dict.fromkeys(others)
    P, B = sp.symbols(f"P_{name} B_{name}", positive=True)
    return Indicators(p_token=P, batch_size=B, **unknown)


@derivation
def leverage_bounds_imbalance() -> Derivation:
    """From the two scores to the leverage."""
    inside, outside = _known_by_indicators("i"), _known_by_indicators("j")
    work = Derivation(
        "A product takes i exactly while its batch is within the leverage.",
        {inside.p_token: "P-token of i [token]", inside.batch_size: "batch of i, the request counted [request]"},
    )
    keys, _ = read(exact(policy("lmetric")), SYMPY, [inside, outside])
    (score_i,), (score_j,) = keys
    rho_ij = formulas.leverage(outside.p_token, inside.p_token)
    work.equal(
        "The difference of the scores, by P-token of i.",
        (score_j - score_i) / inside.p_token,
        rho_ij * outside.batch_size - inside.batch_size,
    )
    work.conclude("So i is left exactly if", formulas.spills(inside.batch_size, outside.batch_size, rho_ij))
    return work


@derivation
def steady_imbalance() -> Derivation:
    """The greatest imbalance without a spill."""
    R, cold = sp.symbols("R b_cold", positive=True)
    work = Derivation(
        "A product lets a steady imbalance stand up to its leverage and more.",
        {R: "residents of a holder by those of another", cold: "residents of the other", rho: "leverage"},
    )
    over = (R * cold + 1) - rho * (cold + 1)
    work.display("A spill needs this to be positive.", over)
    work.equal("Sorted by R", over, cold * (R - rho) - (rho - 1))
    work.equal("and divided by the residents.", over / cold, R - formulas.silent_imbalance(cold, rho))
    work.conclude("The greatest imbalance without a spill.", formulas.silent_imbalance(cold, rho))
    return work


@derivation
def silent_band() -> Derivation:
    """Time to the first spill, without and with completions."""
    over_a, over_rho = sp.symbols("g v", positive=True)
    work = Derivation(
        "From an equal start the first spill comes at a known time or never.",
        {a: "flow to a holder [request/s]", b: "flow to another [request/s]", b_0: "residents at the start", T: "[s]"},
    )
    free = formulas.spill_time_s(b_0, a, b, rho)
    over = (solution(a, b_0) + 1) - rho * (solution(b, b_0) + 1)
    work.equal("Without completions: at t* the spill condition is met with equality.", over.subs(t, free), 0)
    work.equal("It rises at this rate, so for a <= rho b there is never a spill.", over.diff(t), a - rho * b)
    y = 1 - sp.exp(-t / T)
    on_the_way = formulas.residents_between(b_0, formulas.steady_residents(a, T), y)
    work.equal("With completions: the solution of r' = a - r/T.", solution(a, b_0, T), on_the_way)
    over = (solution(a, b_0, T) + 1) - rho * (solution(b, b_0, T) + 1)
    part = formulas.spill_progress(b_0, a, b, rho, T)
    work.equal(
        "The spill condition is linear in the part of the way y.",
        over,
        ((a - rho * b) * T + (rho - 1) * b_0) * (y - part),
    )
    unfinished = sp.together(1 - part)
    drift = (a - rho * b) * T
    work.equal(
        "The part is below 1 only if (a - rho b) T > rho - 1; else there is never a spill.",
        unfinished,
        (drift - (rho - 1)) / (drift + (rho - 1) * b_0),
    )
    time = formulas.spill_time_with_completions_s(SYMPY, b_0, a, b, rho, T)
    work.equal("Its time.", sp.exp(-time / T), 1 - part)
    work.equal(
        "Long residence gives the time without completions (rho = 1 + v, a = rho b + g).",
        sp.limit(sp.simplify(time.subs(a, rho * b + over_a).subs(rho, 1 + over_rho)), T, sp.oo),
        free.subs(a, rho * b + over_a).subs(rho, 1 + over_rho),
    )
    work.conclude("Time to the first spill [s].", time)
    return work


@derivation
def bursts_end_the_silence() -> Derivation:
    """What a holder has left, from the shipped scores, and how requests of the class use it up."""
    holder, cold = _known_by_indicators("h"), _known_by_indicators("c")
    others = sp.Symbol("l_others", nonnegative=True)
    work = Derivation(
        "Each request that stays takes one from what the holders have left, so a long enough burst spills.",
        {holder.batch_size: "batch of a holder [request]", cold.batch_size: "least batch elsewhere [request]"},
    )
    ((score_h,), (score_c,)), _ = read(exact(policy("lmetric")), SYMPY, [holder, cold])
    rho_h = formulas.leverage(cold.p_token, holder.p_token)
    left = rho_h * cold.batch_size + 1 - holder.batch_size
    work.display("What the holder has left.", left)
    work.equal(
        "It stays if this is not negative: if at least 1 is left.", (score_c - score_h) / holder.p_token, left - 1
    )
    then = left.subs(holder.batch_size, holder.batch_size + 1)
    work.equal("One that stays takes 1", then, left - 1)
    work.equal("of what all holders have left together.", then + others, (left + others) - 1)
    over = (holder.batch_size + left) - rho_h * cold.batch_size
    work.equal("After as many as it had left, the batch with the next one is above the leverage by", over, 1)
    stayed = sp.Symbol("n", nonnegative=True)
    work.conclude(
        "So with n of them that stayed, all it had, the next spills:",
        formulas.spills(holder.batch_size + stayed, cold.batch_size, rho_h),
    )
    return work


@derivation
def cold_instance_starvation() -> Derivation:
    """From the scores of a fresh instance and any other one."""
    L, tokens = sp.symbols("L P_other", positive=True)
    residents = sp.Symbol("b_other", nonnegative=True)
    work = Derivation(
        "A fresh instance is taken only once the batch of every other one is above its leverage.",
        {L: "prompt [token]", tokens: "P-token of the other one [token]", residents: "its residents [request]"},
    )
    rho_other = formulas.leverage(L, tokens)
    work.equal(
        "The other's score less that of the fresh one, whose batch is the request alone.",
        tokens * (residents + 1) - L * 1,
        tokens * (residents + 1 - rho_other),
    )
    work.equal(
        "Beside another fresh one it is a tie, which the index decides.",
        (residents + 1 - rho_other).subs({tokens: L, residents: 0}),
        0,
    )
    work.conclude("So it is taken exactly if, for every other one,", formulas.spills(residents + 1, 1, rho_other))
    n = sp.Integer(1088 - 1024)
    work.equal("A prompt of 1088 with 1024 cached:", formulas.leverage(sp.Integer(1088), n), 17)
    for first, text in ((False, "17 residents each if it is last,"), (True, "16 if it is first and wins ties.")):
        found = formulas.residents_to_share(SYMPY, sp.Integer(17), cold_is_first=first)
        work.equal(text, found, 16 if first else 17)
    return work
