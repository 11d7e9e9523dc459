"""The interval of weights at which a line takes a product choice, and the range in which no weight fits.

Glossary: ``P`` P-token [token], ``B`` batch size [request], ``w`` price of one batch slot [token/request], ``lambda``
convex weight; k a product choice, j another instance, ``D`` what the product charges j more [token request].
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from scheduler import formulas
from theory.derivation import Derivation, derivation
from theory.ops import SYMPY

P_k, B, d, w = sp.symbols("P_k B d w", positive=True)
D = sp.Symbol("D", nonnegative=True)


def _tokens_of(batch_k: Any, batch_j: Any) -> Any:
    """P of an instance whose product exceeds that of k by D."""
    return (P_k * batch_k + D) / batch_j


@derivation
def agreement_interval() -> Derivation:
    """``P_k/B_k`` lies strictly between the ends that fuller and emptier instances set."""
    work = Derivation(
        "A product choice agrees with the lines of one interval, and its own ratio lies strictly inside.",
        {
            P_k: "P-token of the product choice [token]",
            B: "the lesser batch size of the two [request]",
            d: "how much fuller the other one of the two is [request]",
            D: "what the product charges the other instance more, >= 0 [token request]",
        },
    )
    tokens = _tokens_of(B, B + d)
    low = formulas.indifference_rate(P_k, B, tokens, B + d)
    work.equal(
        "A fuller instance is dearer above the weight of indifference.",
        formulas.line(tokens, B + d, w) - formulas.line(P_k, B, w),
        d * (w - low),
    )
    work.equal("That weight, by the excess of the product.", low, formulas.agreement_end(P_k, B, B + d, D))
    work.holds("It is less than the ratio of k, also if the products are tied.", low, "<", formulas.tuned_rate(P_k, B))
    tokens = _tokens_of(B + d, B)
    high = formulas.indifference_rate(P_k, B + d, tokens, B)
    work.equal(
        "An emptier instance is dearer below the weight of indifference.",
        formulas.line(tokens, B, w) - formulas.line(P_k, B + d, w),
        d * (high - w),
    )
    work.equal("That weight, by the excess of the product.", high, formulas.agreement_end(P_k, B + d, B, D))
    work.holds("It is greater than the ratio of k.", high, ">", formulas.tuned_rate(P_k, B + d))
    own, fuller, as_full = (P_k, B), (_tokens_of(B, B + d), B + d), (P_k + D, B)
    work.equal(
        "The shipped lower end: the greatest of the first kind, no less than 0.",
        formulas.agreement_low(SYMPY, own, [fuller, as_full]),
        sp.Max(0, formulas.indifference_rate(*own, *fuller)),
    )
    own, emptier = (P_k, B + d), (_tokens_of(B + d, B), B)
    work.equal(
        "The shipped upper end: the least of the second kind, or infinity.",
        formulas.agreement_high(SYMPY, own, [emptier], sp.oo),
        high,
    )
    work.conclude("The end that one instance sets [token/request].", formulas.agreement_end(P_k, B + d, B, D))
    return work


@derivation
def weight_of_a_rate() -> Derivation:
    """In lambda the interval is reversed."""
    P_scale, B_scale = sp.symbols("P_scale B_scale", positive=True)
    work = Derivation(
        "The convex weight falls as the price of a batch slot grows.",
        {
            P_scale: "what the prefill term is divided by [token]",
            B_scale: "what the batch term is divided by [request]",
        },
    )
    weight = formulas.weight_of_rate(w, P_scale, B_scale)
    work.equal("Each gives the other back.", formulas.exchange_rate(weight, P_scale, B_scale), w)
    work.equal(
        "The weighted sum is a positive multiple of the line.",
        weight * P_k / P_scale + (1 - weight) * B / B_scale,
        weight / P_scale * formulas.line(P_k, B, w),
    )
    work.holds("The weight falls.", sp.diff(weight, w), "<", 0)
    work.conclude("The weight of a price.", weight)
    return work


@derivation
def no_weight_fits_all_states() -> Derivation:
    """Two pairs of instances err in opposite directions at every weight between two ends."""
    F, G, e = sp.symbols("F G epsilon", positive=True)
    work = Derivation(
        "Between two ends every weight errs on two pairs, in opposite directions.",
        {F: "floor((B_max - 1)/2) [request]", G: "floor((P_max - 1)/2) [token]", e: "distance of w to the end"},
    )
    (P_i, B_i), (P_j, B_j) = (1, 2 * F + 1), (2, F + 1)
    work.holds("The product prefers (1, 2F + 1) to (2, F + 1).", P_i * B_i, "<", P_j * B_j)
    rate = 1 / F + e
    line_i, line_j = formulas.line(P_i, B_i, rate), formulas.line(P_j, B_j, rate)
    work.holds("Above 1/F the line prefers the second: batch is too dear.", line_j, "<", line_i)
    (P_i, B_i), (P_j, B_j) = (G + 1, 2), (2 * G + 1, 1)
    work.holds("The product prefers (2G + 1, 1) to (G + 1, 2).", P_j * B_j, "<", P_i * B_i)
    rate = G - e
    line_i, line_j = formulas.line(P_i, B_i, rate), formulas.line(P_j, B_j, rate)
    work.holds("Below G the line prefers the second: batch is too cheap.", line_i, "<", line_j)
    most = sp.Symbol("most", positive=True, integer=True)
    step = formulas.greatest_step(SYMPY, most)
    work.equal("For an odd range both pairs just fit.", step.subs(most, 2 * most + 1), most)
    work.equal("For an even range they fit with one to spare.", step.subs(most, 2 * most + 2), most)
    work.equal("128 Ki tokens.", formulas.greatest_step(SYMPY, sp.Integer(131072)), 65535)
    work.equal("256 requests.", formulas.greatest_step(SYMPY, sp.Integer(256)), 127)
    work.conclude("The widest step.", step)
    return work
