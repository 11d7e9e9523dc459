"""Product against line.

Glossary: ``P`` P-token [token], ``B`` batch size [request], ``w`` price of one batch slot [token/request].
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
