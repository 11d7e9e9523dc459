"""Coverage by count, by work, and of many classes.

Glossary: ``x`` share of the class, ``M`` of ``N = M + K`` instances hold its prefix, ``Q`` requests a second, ``T_c``
and ``T_o`` residence time of the class and of the others.
"""

from __future__ import annotations

import sympy as sp

from scheduler import formulas
from theory.derivation import Derivation, derivation

M, K, Q, x, u = sp.symbols("M K Q x u", positive=True)
N = M + K
#: ``x = 1/(1 + u)`` with any u > 0 is any share between 0 and 1.
SHARE = 1 / (1 + u)


@derivation
def coverage_law() -> Derivation:
    """Both forms have the sign of ``M - x N``."""
    work = Derivation(
        "A class makes no hot spot exactly while its share is at most the share of instances that hold it.",
        {x: "share of the class", M: "holders", K: "other instances", Q: "flow of all requests [request/s]"},
    )
    cold, hot = formulas.cold_rate(x, M, N, Q), formulas.hot_rate(x, M, Q)
    work.equal("Flow to another instance less flow to a holder.", cold - hot, Q * (M - x * N) / (M * K))
    work.equal("The odds differ likewise.", M / K - x / (1 - x), (M - x * N) / (K * (1 - x)))
    work.holds("Both divisors are positive for a share below 1 (x = 1/(1 + u)).", M * K * (1 - SHARE), ">", 0)
    work.conclude("So no holder receives more than another instance exactly if", formulas.covered(x, M, N))
    return work


@derivation
def coverage_law_by_work() -> Derivation:
    """Little's law turns flows into residents and shares by count into shares of work."""
    T_c, T_o, a, s, b = sp.symbols("T_c T_o a s b", positive=True)
    work = Derivation(
        "What counts is the share of the work: requests hold their batch slot for their residence time.",
        {x: "share of the requests", T_c: "residence of the class [s]", T_o: "residence of the others [s]"},
    )
    hot = formulas.steady_residents(formulas.hot_rate(SHARE, M, Q), T_c)
    cold = formulas.steady_residents(formulas.cold_rate(SHARE, M, N, Q), T_o)
    share = formulas.work_share(SHARE, T_c, T_o)
    total = Q * (SHARE * T_c + (1 - SHARE) * T_o)
    work.equal("Residents of all holders, by all residents (Little's law).", M * hot / (M * hot + K * cold), share)
    work.equal("The gap has the sign of M - x_work N.", cold - hot, total * (M - share * N) / (M * K))
    work.equal(
        "The share of work exceeds the share by count as T_c exceeds T_o.",
        share - SHARE,
        SHARE * (1 - SHARE) * (T_c - T_o) / (SHARE * T_c + (1 - SHARE) * T_o),
    )
    [steady] = sp.solve(sp.Eq(b, a * (T_o + s * b)), b)
    work.equal(
        "If each resident adds s, b = a (T + s b) has one solution.", steady, formulas.steady_residents(a, T_o, s)
    )
    work.equal(
        "Arrivals less departures: positive below it, and at any size from a s = 1 on.",
        a - b / (T_o + s * b),
        (a * T_o - (1 - a * s) * b) / (T_o + s * b),
    )
    work.conclude("The share of the work.", formulas.work_share(x, T_c, T_o))
    return work


@derivation
def coverage_law_many_classes() -> Derivation:
    """Both directions for two classes: what a routing implies, and the routing that the conditions allow."""
    alone_c, alone_d, both, n = sp.symbols("A B C N", positive=True)  # N is the number of all instances
    o_c, o_d, o_both = sp.symbols("o_A o_B o_C", nonnegative=True)
    f_c, g_c, f_d, g_d = sp.symbols("f_c g_c f_d g_d", nonnegative=True)
    work = Derivation(
        "Two classes: there is a routing without misses and with 1/N on each instance exactly if all sets are covered.",
        {
            alone_c: "instances that hold class c alone (B: d alone, C: both)",
            o_c: "other traffic on those (o_B, o_C likewise)",
            f_c: "what c sends to instances of its own (f_d likewise)",
            g_c: "what c sends to instances that hold both (g_d likewise)",
        },
    )
    equal_work = {o_c: alone_c / n - f_c, o_d: alone_d / n - f_d, o_both: both / n - g_c - g_d}
    x_c, x_d = f_c + g_c, f_d + g_d
    work.display("Equal work: the rest of 1/N on each instance is other traffic, never negative.", equal_work[o_both])
    slack = (alone_c + both) / n - x_c
    work.equal("Necessary: c lacks what others send to its holders,", slack, (o_c + o_both + g_d).subs(equal_work))
    slack = (alone_c + alone_d + both) / n - x_c - x_d
    work.equal("and both together what neither sends to theirs.", slack, (o_c + o_d + o_both).subs(equal_work))
    over_c, over_d = sp.symbols("r_c r_d", nonnegative=True)
    share_c, share_d = alone_c / n + over_c, alone_d / n + over_d
    work.equal(
        "Sufficient: fill instances of one class first. If both leave a rest r, the room for it is that of the set.",
        both / n - over_c - over_d,
        (alone_c + alone_d + both) / n - share_c - share_d,
    )
    work.equal("If only c does, the room is that of c alone.", both / n - over_c, (alone_c + both) / n - share_c)
    work.conclude("So for every set of classes", formulas.covered(sp.Symbol("x_C"), sp.Symbol("U"), sp.Symbol("N")))
    return work
