"""Product against line: the weight of a pair, the line of a choice, the wedge of a pair's ratios.

Glossary: ``P`` P-token [token], ``B`` batch size [request], ``w`` price of one batch slot [token/request]; k a product
choice, i and j a pair, ``D`` what the product charges j more than k [token request].
"""

from __future__ import annotations

import sympy as sp

from scheduler import formulas
from theory.derivation import Derivation, derivation


@derivation
def pairwise_exchange_rate() -> Derivation:
    """In a pair the product is the line at ``w = (P_i + P_j)/(B_i + B_j)``."""
    P_i, P_j, B_i, B_j = sp.symbols("P_i P_j B_i B_j", positive=True)
    work = Derivation(
        "In each pair the product is the line whose weight is the pair's own ratio of means.",
        {P_i: "P-token of instance i [token]", B_i: "batch size of instance i [request]"},
    )
    rate = formulas.pairwise_rate(P_i, B_i, P_j, B_j)
    product = P_j * B_j - P_i * B_i
    work.equal(
        "Twice the difference of the products, by means and differences.",
        2 * product,
        (P_j - P_i) * (B_i + B_j) - (B_i - B_j) * (P_i + P_j),
    )
    line = formulas.line(P_j, B_j, rate) - formulas.line(P_i, B_i, rate)
    work.equal("The difference of the lines at that weight has the same sign.", line, 2 * product / (B_i + B_j))
    work.conclude("The weight of the pair [token/request].", rate)
    return work


@derivation
def rate_of_indifference() -> Derivation:
    """A line prefers the fuller instance below ``w = (P_j - P_i)/(B_i - B_j)``."""
    P_i, P_j, B_j, d, w = sp.symbols("P_i P_j B_j d w", positive=True)
    work = Derivation(
        "A line prefers the fuller of two instances below one weight.",
        {d: "how much fuller i is than j [request]", w: "price of one batch slot [token/request]"},
    )
    B_i = B_j + d
    rate = formulas.indifference_rate(P_i, B_i, P_j, B_j)
    line = formulas.line(P_j, B_j, w) - formulas.line(P_i, B_i, w)
    work.equal("The difference of the lines is a positive multiple of the distance to it.", line, d * (rate - w))
    work.equal("There both are equal.", line.subs(w, rate), 0)
    work.conclude("The weight of indifference [token/request].", rate)
    return work


@derivation
def product_choice_is_a_tuned_line() -> Derivation:
    """At ``w = P_k/B_k`` the line of a product choice is least: arithmetic against geometric mean."""
    P_k, B_k, B_j = sp.symbols("P_k B_k B_j", positive=True)
    D = sp.Symbol("D", nonnegative=True)
    work = Derivation(
        "The product's choice is least on the line whose weight is its own ratio.",
        {P_k: "P-token of the product choice [token]", D: "what the product charges j more, >= 0 [token request]"},
    )
    P_j = (P_k * B_k + D) / B_j
    work.display("The P-token of j, by what the product charges it more.", sp.Eq(sp.Symbol("P_j"), P_j))
    rate = formulas.tuned_rate(P_k, B_k)
    line_k, line_j = formulas.line(P_k, B_k, rate), formulas.line(P_j, B_j, rate)
    work.equal("On its own line both terms of k are equal.", line_k, 2 * P_k)
    square, rest = P_k * (B_j - B_k) ** 2 / (B_k * B_j), D / B_j
    work.equal(
        "The difference of the lines is a square and what remains of the excess.", line_j - line_k, square + rest
    )
    work.holds("The square is never negative, and 0 only at equal batch.", square, ">=", 0)
    work.holds("So is the rest, which at equal batch is 0 for a twin of k only.", rest, ">=", 0)
    work.conclude("The weight of the line [token/request].", rate)
    return work


@derivation
def divergence_wedge() -> Derivation:
    """In ratios ``u = P_j/P_i``, ``v = B_i/B_j`` both rules are lines through (1, 1)."""
    P_i, B_j, w, a, b = sp.symbols("P_i B_j w a b", positive=True)
    work = Derivation(
        "In ratios, the product's and the line's edges are two lines through (1, 1).",
        {
            a: "u - 1, by how much the tokens of j exceed those of i, u = P_j/P_i",
            b: "v - 1, by how much the batch of i exceeds that of j, v = B_i/B_j",
        },
    )
    u, v = 1 + a, 1 + b
    P_j, B_i = u * P_i, v * B_j
    r = formulas.wedge_ratio(P_i, B_j, w)
    edge = formulas.wedge_edge(u, r)
    work.equal("The product compares v with u.", P_j * B_j - P_i * B_i, P_i * B_j * (u - v))
    work.equal(
        "The line compares v with its edge.",
        formulas.line(P_j, B_j, w) - formulas.line(P_i, B_i, w),
        w * B_j * (edge - v),
    )
    work.equal("Both edges pass through (1, 1).", edge.subs(a, 0), 1)
    work.equal("Between them lies a wedge that is empty at r = 1.", edge - u, a * (1 - r) / r)
    work.conclude("The line's edge.", edge)
    return work


@derivation
def product_is_scale_free() -> Derivation:
    """Rescaling multiplies every product alike; for a line it is another weight."""
    P_i, P_j, B_i, B_j, w, s, t = sp.symbols("P_i P_j B_i B_j w s t", positive=True)
    work = Derivation(
        "Units do not matter to the product; for a line they are the weight.",
        {s: "factor of all P-tokens", t: "factor of all batch sizes"},
    )
    work.equal(
        "All products get one factor, so their order stays.",
        (s * P_i) * (t * B_i) - (s * P_j) * (t * B_j),
        s * t * (P_i * B_i - P_j * B_j),
    )
    work.equal(
        "A line is multiplied by s, and its weight by t/s.",
        formulas.line(s * P_i, t * B_i, w),
        s * formulas.line(P_i, B_i, w * t / s),
    )
    work.conclude("The weight after rescaling [token/request].", w * t / s)
    return work
