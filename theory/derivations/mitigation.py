"""What the product heals, what a filter does, how many copies cover a class.

Glossary: ``x`` share of the class, ``M`` of ``N`` instances hold its prefix, ``rho`` leverage, ``T`` residence time.
"""

from __future__ import annotations

import sympy as sp

from scheduler import formulas
from scheduler.indicators import indicators_of
from scheduler.policies.catalogue import policy
from scheduler.policies.reading import exact, read
from theory.derivation import Derivation, derivation
from theory.derivations.hotspot import T, a, b, rho, solution, t
from theory.ops import SYMPY

M, N, Q, u, v = sp.symbols("M N Q u v", positive=True)
x = sp.Symbol("x", positive=True)
#: ``x = 1/(1 + u)`` with any u > 0 is any share between 0 and 1; ``rho = 1 + v`` any leverage above 1.
SHARE, LEVERAGE = 1 / (1 + u), 1 + v


@derivation
def product_heals_only_to_its_leverage() -> Derivation:
    """The number of holders at which steady flows stop spilling."""
    work = Derivation(
        "Spilling copies the prefix until the flow to a holder is within the leverage of the flow elsewhere.",
        {x: "share of the class", M: "holders", N: "instances", rho: "leverage"},
    )
    hot, cold = formulas.hot_rate(x, M, Q), formulas.cold_rate(x, M, N, Q)
    steady = (formulas.steady_residents(hot, T) + 1) - rho * (formulas.steady_residents(cold, T) + 1)
    work.equal("Steady residents spill if this is positive.", steady, (hot - rho * cold) * T - (rho - 1))
    [quiet] = sp.solve(sp.Eq(hot, rho * cold), M)
    expected = x * N / (x + rho * (1 - x))
    work.equal("At high load: when the flows meet the leverage.", quiet, expected)
    work.equal(
        "It spills with fewer holders and not with more.",
        hot - rho * cold,
        Q * (x + rho * (1 - x)) * (expected - M) / (M * (N - M)),
    )
    needs = SHARE * N
    work.holds("Coverage needs more", needs, ">", expected.subs({x: SHARE, rho: LEVERAGE}))
    copies = formulas.product_copies(SYMPY, sp.Rational(9, 10), 1, 16, 17)
    work.equal("16 instances, nine tenths of the traffic, leverage 17: the product stops at", copies, 6)
    work.equal("where coverage needs", formulas.copies_needed(SYMPY, sp.Rational(9, 10), 16), 15)
    work.conclude("Holders that the product makes.", formulas.product_copies(SYMPY, x, M, N, rho))
    return work


@derivation
def filter_mitigation() -> Derivation:
    """Where the shipped product sends a request without a hit, and what that does to the largest batch."""
    spare = sp.Symbol("d", nonnegative=True, integer=True)
    below, apart = 1 + spare, sp.Symbol("e", positive=True, integer=True)
    target = sp.Symbol("b_out", nonnegative=True, integer=True)
    prompt = sp.Symbol("L", positive=True, integer=True)
    work = Derivation(
        "A request to an instance below the largest batch does not raise the largest batch.",
        {target: "residents of the instance outside with the fewest", spare: "how far it is below the peak, less one"},
    )
    outside = [
        indicators_of(SYMPY, running=residents, waiting=0, queued_prefill_tokens=0, hit_tokens=0, prompt_tokens=prompt)
        for residents in (target, target + apart)
    ]
    ((least,), (more,)), _ = read(exact(policy("lmetric")), SYMPY, outside)
    work.holds("Without a hit anywhere the shipped product takes the least batch.", least, "<", more)
    largest = SYMPY.max_(target + below, target + 1)
    work.equal("With one more request on it, the largest batch is the peak as before,", largest, target + below)
    work.equal("but one more than the peak if it is the peak.", SYMPY.max_(target, target + 1), target + 1)
    peak = target + apart + below
    work.equal("If any other outside is below the peak, so is the least one.", SYMPY.max_(peak, target + 1), peak)
    work.conclude("So the peak stays exactly if", formulas.keeps_the_peak(target, sp.Symbol("peak")))
    return work


@derivation
def replicate_to_coverage() -> Derivation:
    """The fewest copies, and how the gap decays."""
    g_0, r = sp.symbols("g_0 b_0", nonnegative=True)
    work = Derivation(
        "Copies cover a class; then the gap only decays.",
        {x: "share of the class", M: "holders", N: "instances", g_0: "gap at the start [request]"},
    )
    needed = formulas.copies_needed(SYMPY, x, N)
    up = sp.frac(-x * N)
    work.equal(
        "x N, rounded up by a part in [0, 1): the least whole number not below x N.",
        needed.rewrite(sp.frac),
        x * N + up,
    )
    work.equal("Less the holders there are.", formulas.copies_missing(SYMPY, x, M, N), sp.Max(0, needed - M))
    y = 1 - sp.exp(-t / T)
    gap = formulas.gap_between(g_0, a, b, T, y)
    work.equal("The gap between two solutions of r' = flow - r/T.", solution(a, r + g_0, T) - solution(b, r, T), gap)
    work.equal("With level flows it decays with the residence time.", gap.subs(a, b), g_0 * sp.exp(-t / T))
    work.equal("Without coverage it tends to", sp.limit(gap, t, sp.oo), (a - b) * T)
    work.conclude("Copies to add.", formulas.copies_missing(SYMPY, x, M, N))
    return work
