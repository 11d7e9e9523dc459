"""What a fixed weight can cost, which weights agree in any case, and what an exponent buys.

Glossary: ``P`` P-token [token], ``B`` batch size [request], ``w`` price of one batch slot [token/request], ``r = w
B/P``; ``k`` the instance chosen, ``m`` or ``j`` another one.
"""

from __future__ import annotations

import sympy as sp

from scheduler import formulas
from theory.derivation import Derivation, derivation
from theory.ops import SYMPY

P_k, B_k, P_m, B_m, P_j, B_j, w, r, s = sp.symbols("P_k B_k P_m B_m P_j B_j w r s", positive=True)
_RATE = {w: "price of one batch slot [token/request]"}
_TAKEN = {P_k: "P-token of the instance taken [token]", B_k: "its batch size [request]"}
_OTHER = {P_j: "P-token of another instance [token]", B_j: "its batch size [request]"}
_OF_PRODUCT = {P_m: "P-token of the product's choice [token]", B_m: "its batch size [request]"}


@derivation
def price_of_a_fixed_weight() -> Derivation:
    """The line's choice k costs the product ``(1+r)^2/(4r)``, the product's choice m costs the line its root."""
    work = Derivation(
        "A line takes k and the product m: what each choice costs by the other's score.",
        {**_TAKEN, **_OF_PRODUCT, **_RATE},
    )
    price = formulas.price_of_weight(formulas.relative_rate(w, P_m, B_m))
    line_k, line_m = formulas.line(P_k, B_k, w), formulas.line(P_m, B_m, w)
    product_k, product_m = P_k * B_k, P_m * B_m
    gap = (P_k - w * B_k) ** 2
    work.equal("The square of a line, by product and difference.", line_k**2, 4 * w * product_k + gap)
    work.holds("The difference counts for nothing or more.", gap, ">=", 0)
    work.equal("At m the square of the line is the product at its price.", line_m**2, 4 * w * product_m * price)
    work.equal(
        "So the slack of the first bound: not negative, as the line takes k, so line_k <= line_m.",
        4 * w * (price * product_m - product_k),
        (line_m**2 - line_k**2) + gap,
    )
    work.equal(
        "And of the second, squared: not negative, as the product takes m, so P_m B_m <= P_k B_k.",
        price * line_k**2 - line_m**2,
        price * (gap + 4 * w * (product_k - product_m)),
    )
    work.conclude("The price, by r = w B_m/P_m.", formulas.price_of_weight(r))
    return work


@derivation
def price_on_a_range() -> Derivation:
    """The price falls up to r = 1 and rises from there, so on a range the worse end counts."""
    P_low, P_high, B_low, B_high = sp.symbols("P_low P_high B_low B_high", positive=True)
    work = Derivation(
        "On a range of states the price of a weight is at most that of an end.",
        {r: "price of a slot in units of the choice's own ratio", **_RATE, P_low: "range of P", B_low: "range of B"},
    )
    price = formulas.price_of_weight(r)
    work.equal("The slope has the sign of r - 1.", sp.diff(price, r), (r - 1) * (r + 1) / (4 * r**2))
    work.equal("A rate and its reciprocal cost the same.", formulas.price_of_weight(1 / r), price)
    work.conclude(
        "The worse of the two ends.", formulas.price_of_weight_on_range(SYMPY, w, P_low, P_high, B_low, B_high)
    )
    return work


@derivation
def never_dominated() -> Derivation:
    """What is no better in both and worse in one has the greater product and, at any weight, the greater line."""
    x, y = sp.symbols("x y", nonnegative=True)
    work = Derivation(
        "An instance with x more tokens and y more requests than j.",
        {**_OTHER, **_RATE, x: "tokens more, >= 0 [token]", y: "requests more, >= 0 [request]"},
    )
    product = (P_j + x) * (B_j + y) - P_j * B_j
    line = formulas.line(P_j + x, B_j + y, w) - formulas.line(P_j, B_j, w)
    work.equal("Its product is greater by", product, x * B_j + y * P_j + x * y)
    work.equal("and its line by", line, x + w * y)
    work.holds("Neither is negative: the product,", product, ">=", 0)
    work.holds("the line.", line, ">=", 0)
    more = sp.Symbol("x", positive=True)
    work.holds("With more tokens the product is strictly greater;", product.subs(x, more), ">", 0)
    more = sp.Symbol("y", positive=True)
    work.holds("with a greater batch too.", product.subs(y, more), ">", 0)
    work.conclude("What dominance means.", formulas.dominates(SYMPY, P_j, B_j, P_k, B_k))
    return work


@derivation
def margin_buys_weight_robustness() -> Derivation:
    """A margin of ``(1+s)^2/(4s)`` covers a factor s of the weight; whole batches cover ``P/(B+1)`` to ``P/(B-1)``."""
    work = Derivation(
        "The product takes k; which weights take it in any case?",
        {**_TAKEN, r: "weight in units of P_k/B_k", s: "factor that is to be covered, >= 1"},
    )
    price = formulas.price_of_weight
    rate = r * P_k / B_k
    gap = (P_j - rate * B_j) ** 2
    work.equal(
        "If the line at r takes j, then line_j <= line_k, and this slack is not negative:",
        4 * rate * (price(r) * P_k * B_k - P_j * B_j),
        (formulas.line(P_k, B_k, rate) ** 2 - formulas.line(P_j, B_j, rate) ** 2) + gap,
    )
    work.equal(
        "so j is within the price of r, and for r from 1/s to s that is within the price of s.",
        price(s) - price(r),
        (s - r) * (r * s - 1) / (4 * r * s),
    )
    work.equal("Twice the weight, or half: a margin of 12.5 %.", price(sp.Integer(2)), sp.Rational(9, 8))
    work.equal("Four times, or a quarter: 56.25 %.", price(sp.Integer(4)), sp.Rational(25, 16))
    d = sp.Symbol("d", positive=True)
    more, fewer = P_k * B_k / (B_k + d), P_k * B_k / (B_k - d)  # the least P_j that d requests more, or fewer, allow
    work.equal("The weight that ties k with j, d requests more on it.", (P_k - more) / d, P_k / (B_k + d))
    work.equal("The same with d requests fewer.", (fewer - P_k) / d, P_k / (B_k - d))
    extra = sp.Symbol("x", nonnegative=True)
    work.holds(
        "Whole requests: d = 1 + x, and d = 1 gives the greatest lower end;",
        P_k / (B_k + 1 + extra),
        "<=",
        formulas.sure_rate_low(P_k, B_k),
    )
    batch = 2 + sp.Symbol("y", nonnegative=True) + extra  # B_k is d + 1 or more: j has a request at least
    work.holds("and the least upper end.", P_k / (batch - 1 - extra), ">=", formulas.sure_rate_high(P_k, batch))
    work.conclude("The lower end [token/request].", formulas.sure_rate_low(P_k, B_k))
    return work


@derivation
def exponent_is_the_hidden_weight() -> Derivation:
    """A power score scales by a factor, so its order stays; one pair of factors that cancels tells a/b."""
    a, b, u, v, rho = sp.symbols("a b u v rho", positive=True)
    work = Derivation(
        "What an exponent does.",
        {
            **_TAKEN,
            a: "exponent of P",
            b: "exponent of B",
            u: "factor of all P",
            v: "factor of all B",
            rho: "leverage: P outside by P inside",
        },
    )
    score = formulas.power_score(P_k, B_k, a, b)
    scaled = formulas.power_score(u * P_k, v * B_k, a, b)
    work.equal("Rescaling multiplies every score by one number.", scaled, formulas.power_score(u, v, a, b) * score)
    cancels = u ** (-a / b)
    work.equal("A factor u of P is cancelled by this factor of B:", formulas.power_score(u, cancels, a, b), 1)
    work.equal("so one such pair tells a/b.", -sp.log(cancels) / sp.log(u), a / b)
    cap = formulas.leverage_cap(rho, a, b)
    work.equal(
        "Equal scores: what a hit buys at most.",
        formulas.power_score(P_k, cap * B_k, a, b),
        formulas.power_score(rho * P_k, B_k, a, b),
    )
    work.equal("The product has a = b.", formulas.leverage_cap(rho, a, a), rho)
    work.conclude("The cap.", cap)
    return work
