"""How far apart batches can become under a guard: requests of the class that come before its first copy.

Glossary: ``W`` window, ``D`` requests by which an alarm is late, ``r`` run that confirms it, by holder, ``g_0`` gap at
the start; ``M`` of ``N`` instances hold the prefix.
"""

from __future__ import annotations

import sympy as sp

from scheduler import formulas
from theory.derivation import Derivation, derivation
from theory.ops import SYMPY

_W, _M, _N, _R = sp.symbols("W M N r", positive=True, integer=True)
_D, _G = sp.symbols("D g_0", nonnegative=True, integer=True)
_K = sp.Symbol("k", positive=True)


@derivation
def mitigated_routing_is_bounded() -> Derivation:
    """The requests of the class that pass before a copy, by holder; that no sequence does worse is model checked."""
    work = Derivation(
        "Without an alarm a window has room for the coverage; what comes after it is counted.",
        {
            _W: "window [request]",
            _D: "requests of the class before a late alarm",
            _R: "run that confirms, by holder",
            _M: "holders",
            _N: "instances",
            _G: "greatest less least batch at the start",
        },
    )
    edge = formulas.covered(_K / _W, _M, _N)
    [most] = sp.solve(sp.Eq(edge.lhs, edge.rhs), _K)
    work.equal("The most requests of the class in a window of a share that is covered.", most, _M * _W / _N)
    passed = most + _D + _R * _M
    by_holder = passed / _M
    work.equal("With those before the alarm and the run, by holder.", by_holder, _W / _N + _D / _M + _R)
    bound = formulas.guarded_gap(SYMPY, _G, _W, _D, _R, _M, _N)
    work.equal(
        "In whole requests, on top of the gap at the start, or of one request, which level batches differ by, too.",
        bound,
        sp.Max(1, _G) + sp.ceiling(sp.expand(by_holder)).rewrite(sp.floor),
    )
    work.equal(
        "Two instances, one holder, a window of 4, no delay.",
        formulas.guarded_gap(SYMPY, 0, sp.Integer(4), 0, 2, 1, 2),
        5,
    )
    work.conclude("Greatest less least batch.", bound)
    return work
