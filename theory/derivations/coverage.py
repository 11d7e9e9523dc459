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
    """The sum over a set of classes, written out for two classes with two and three of four instances."""
    n = sp.Integer(4)
    holders = {"c": (0, 1), "d": (1, 2)}
    flows = {(c, i): sp.Symbol(f"f_{c}{i}", nonnegative=True) for c, held in holders.items() for i in held}
    others = {i: sp.Symbol(f"f_o{i}", nonnegative=True) for i in range(n)}
    work = Derivation(
        "What a set of classes sends, its holders receive; each takes 1/N, so the set may have no more than its part.",
        {flow: f"of class {c} to instance {i}" for (c, i), flow in flows.items()},
    )
    union = sorted({i for held in holders.values() for i in held})
    shares = sum(flows.values(), sp.Integer(0))
    taken = {i: others[i] + sum(f for (_, j), f in flows.items() if j == i) for i in union}
    work.display("The share of the set is all that its classes send.", shares)
    work.equal(
        "The union of the holders receives it, and what other classes send there.",
        sum(taken.values()),
        shares + sum(others[i] for i in union),
    )
    work.holds("So it receives at least the share of the set", sum(taken.values()), ">=", shares)
    work.equal("and takes 1/N on each.", sum(1 / n for _ in union), sp.Integer(len(union)) / n)
    work.conclude("So for every set of classes", formulas.covered(sp.Symbol("x_C"), sp.Symbol("U"), sp.Symbol("N")))
    return work
