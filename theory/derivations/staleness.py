"""Choices by old or incomplete numbers.

Glossary: ``B`` batch that is true, ``S`` batch or score that is seen, ``u`` dispatches unseen, ``P`` P-token, ``rho``
leverage, ``c`` tokens computed but still booked, ``g`` tokens to compute that nobody told of.
"""

from __future__ import annotations

import sympy as sp

from scheduler import formulas
from theory.derivation import Derivation, derivation
from theory.ops import SYMPY


@derivation
def herding_on_stale_state() -> Derivation:
    """The chosen batch is at most ``rho B_j + U`` before a dispatch; with equal P-tokens it then leads by U + 1."""
    U, u_i, u_j, slack = sp.symbols("U u_i u_j slack", nonnegative=True)
    S_i, S_j, P_i, P_j, A = sp.symbols("S_i S_j P_i P_j A", positive=True)
    k = sp.Symbol("k", positive=True, integer=True)
    work = Derivation(
        "What the least product by stale views can do to the batches.",
        {S_i: "batch of i that the router sees", u_i: "dispatches to i that it has not seen", U: "all it has not seen"},
    )
    work.equal(
        "Each of the k - 1 other routers has at most A dispatches unseen.", formulas.unseen_most(k, A), k * A - A
    )
    rho = formulas.leverage(P_j, P_i)
    work.display("The router takes i although it sees j: P_i S_i <= P_j S_j.", sp.Le(S_i, rho * S_j))
    batch_i, batch_j = rho * S_j - slack + u_i, S_j + u_j  # S_i is rho S_j less a slack
    bound = formulas.stale_batch(rho, batch_j, U)
    rest = sp.Symbol("rest", nonnegative=True)  # U = u_i + rest
    work.holds(
        "True batches: what is unseen on i counts, what is unseen on j helps.",
        sp.expand((bound - batch_i).subs(U, u_i + rest)),
        ">=",
        0,
    )
    equal = formulas.stale_batch(1, batch_j, U)
    work.equal("With equal P-tokens and the dispatch itself, the lead over j.", equal + 1 - batch_j, U + 1)
    gap = sp.Symbol("gap_0", nonnegative=True)
    work.conclude("Greatest less least batch [request].", formulas.stale_gap(SYMPY, gap, U))
    return work


@derivation
def proxy_information_loss_is_one_sided() -> Derivation:
    """The choice by scores seen costs at most ``(1 + e_j)/(1 - f_k)`` times the optimum."""
    P, B, c, e, true_j = sp.symbols("P B c e_j S_j", positive=True)
    g = sp.Symbol("g", nonnegative=True)
    f = sp.Symbol("f_k", nonnegative=True)
    work = Derivation(
        "What a choice by over-counted and under-counted scores costs.",
        {P: "true P-token [token]", c: "computed but booked [token]", g: "to compute but untold [token]", B: "batch"},
    )
    over, under = formulas.over_count(c, P), formulas.under_count(g, P)
    work.equal("Booked tokens raise the score by the factor 1 + e.", (P + c) * B, (1 + over) * P * B)
    work.equal("Untold tokens lower it by the factor 1 - f.", (P - g) * B, (1 - under) * P * B)
    work.holds(
        "Both at once are no lower than the second alone.", sp.expand((P + c - g) * B), ">=", (1 - under) * P * B
    )
    seen_j = (1 + e) * true_j
    work.display("The chosen k is seen no higher than j: (1 - f) S_k <= S'_k <= S'_j <= (1 + e) S_j.", seen_j)
    price = formulas.information_price(e, f)
    work.equal("Divide by 1 - f.", seen_j / (1 - f), price * true_j)
    work.equal("With nothing under-counted one factor is left.", price.subs(f, 0), formulas.information_price(e))
    work.conclude("The price as a multiple of the optimum.", price)
    return work
