"""Choices by numbers that are a little off: noise in the indicators, rounding in the keys.

Both are one argument. What is seen of a key S lies in ``[a S, b S]``: with noise ``a = (1-e)(1-d)`` and ``b =
(1+e)(1+d)``, with k roundings ``a = (1-u)^k`` and ``b = (1+u)^k``. What lies above a bound is written as the bound
times ``1 + x`` or plus x, what lies below as the bound over ``1 + x`` or less x, x >= 0.

Glossary: ``k`` the instance chosen, ``j`` another one; ``P`` P-token, ``B`` batch size, ``S`` a key or product.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from scheduler import formulas
from scheduler.domains import REQUESTS_MAX, TOKENS_MAX
from theory.derivation import Derivation, derivation
from theory.ops import SYMPY

P, B, S_k, a, b = sp.symbols("P B S_k a b", positive=True)
x, y, z, u, v = sp.symbols("x y z u v", nonnegative=True)
_PAIR = {
    a: "least that is seen of a key, by its truth",
    b: "most, alike",
    S_k: "true key of the choice",
    x: "from a bound, >= 0; y, z alike",
}
#: Up to here binary64 holds every whole number, and up to twice as far every even one.
EXACT_MAX = 2**53


def _two_conclusions(work: Derivation) -> None:
    """What seen keys within ``[a S, b S]`` say: how near the choice is, and when it is certain."""
    seen_k = a * S_k + x
    seen_j, least_j = seen_k + z, (seen_k + z + y) / b  # seen_j is y below its most
    text = "Of k a S_k + x is seen, of the other, not taken, z more; its truth, at least that over b, times b/a is"
    work.holds(text, b / a * least_j, ">=", S_k)
    more = sp.Symbol("z", positive=True)
    seen_j = b / a * seen_k + more
    work.holds("If it is seen beyond b/a times k, by z > 0, it is truly greater.", (seen_j + y) / b, ">", S_k)


@derivation
def noise_margin() -> Derivation:
    """Noise moves a product by at most ``(1+e)(1+d)`` upwards and ``(1-e)(1-d)`` downwards."""
    e, d = sp.symbols("e d", nonnegative=True)
    f, g = sp.symbols("f g", positive=True)
    work = Derivation(
        "Chosen by what is seen of k and j.",
        {e: "relative error of P, < 1", d: "relative error of B, < 1", f: "1 - e", g: "1 - d", **_PAIR},
    )
    seen = f * (1 + x) * P * g * (1 + y) * B
    work.holds("Seen at no less than 1 - e and 1 - d of the truth, a product is", seen, ">=", f * g * P * B)
    seen = (1 + e) / (1 + x) * P * (1 + d) / (1 + y) * B
    work.holds("and at no more than 1 + e and 1 + d of it.", seen, "<=", (1 + e) * (1 + d) * P * B)
    factor = formulas.noise_factor(e, d)
    _two_conclusions(work)
    least, most = (1 - e) * (1 - d), (1 + e) * (1 + d)
    work.equal("Here b/a is", (b / a).subs({a: least, b: most}), factor)
    work.equal("With equal errors it is a square.", formulas.noise_factor(e, e), ((1 + e) / (1 - e)) ** 2)
    work.conclude("The factor b/a.", factor)
    return work


@derivation
def noise_margin_of_absolute_errors() -> Derivation:
    """The least that j can be and the most that k can be, by what is seen of them."""
    P_j, B_j, P_k, B_k = sp.symbols("P_j B_j P_k B_k", positive=True)
    p, b = sp.symbols("p b", nonnegative=True)
    work = Derivation(
        "P is seen within p of the truth, B within b; the truth is at least 1 in both.",
        {
            P_j: "seen of another one [token]",
            B_j: "seen of it [request]",
            P_k: "true P of the choice [token]",
            B_k: "true B of it [request]",
            p: "greatest error of P [token]",
            b: "greatest error of B [request]",
        },
    )
    least = formulas.least_product(SYMPY, P_j, B_j, p, b)
    truth = (sp.Max(1, P_j - p) + x) * (sp.Max(1, B_j - b) + y)
    work.holds("j: each true factor is at least its seen one less the error, and 1.", truth, ">=", least)
    most = formulas.most_product(P_k - p + x, B_k - b + y, p, b)
    work.holds("k: seen at P_k - p or more and B_k - b or more, its most covers the truth.", most, ">=", P_k * B_k)
    more = sp.Symbol("z", positive=True)
    work.holds("If the least of j is z beyond it, j is truly greater.", most + more, ">", P_k * B_k)
    seen_p, seen_b = sp.symbols("s_P s_B", nonnegative=True)
    both_below = formulas.most_product(seen_p, seen_b, -seen_p - x, -seen_b - y)
    beyond = formulas.most_product(P_k, B_k, seen_p + x, seen_b + y)
    work.holds("Bare differences: if both are negative, -x and -y, nothing exceeds k's most.", beyond, ">=", both_below)
    work.conclude("The choice is certain if this exceeds (P_k + p)(B_k + b), as seen.", least)
    return work


def _of_roundings(work: Derivation, name: str, key: Any, exact: Any, factors: list[Any]) -> None:
    """A computed key grows with the factor of each rounding, so its bounds are where all are least or greatest."""
    count = len(factors)
    for factor in factors:
        work.holds(f"{name}. The key grows with {factor}:", sp.diff(key, factor), ">", 0)
    most, least = (key.subs(dict.fromkeys(factors, end)) for end in (1 + u, 1 / (1 + v)))
    work.holds(f"At most all {count} round up;", most, "<=", (1 + u) ** count * exact)
    work.holds(f"at least all {count} round down.", least, ">=", (1 / (1 + v)) ** count * exact)


@derivation
def float_choice_is_near_exact() -> Derivation:
    """Each rounding is a factor from 1 - u to 1 + u; k of them stand at ``((1+u)/(1-u))^k``."""
    k = sp.Symbol("k", integer=True, nonnegative=True)
    work = Derivation(
        "Chosen by keys that were rounded k times each.",
        {u: "greatest relative error of a rounding, < 1", k: "roundings on the way to a key", **_PAIR},
    )
    low, high = (1 - u) ** k, (1 + u) ** k
    margin = formulas.rounding_margin(k, u)
    work.equal("Greatest by least factor of k roundings.", margin * low, high)
    _two_conclusions(work)
    work.equal("Two roundings are noise of P and B.", formulas.rounding_margin(2, u), formulas.noise_factor(u, u))
    work.conclude("The margin.", margin)
    return work


@derivation
def roundings_of_the_shipped_keys() -> Derivation:
    """The line is rounded 4 times, least harm 3 times, with a derived decode offset 6 times."""
    c, offset, queue, gamma, part, out, tau = sp.symbols("c kappa q gamma o n_out tau", positive=True)
    factors = list(sp.symbols("f_1:7", positive=True))
    f_1, f_2, f_3, f_4, f_5, f_6 = factors
    work = Derivation(
        "A rounding is a factor of its result, from 1 - u to 1 + u; powers of two scale without one.",
        {
            u: "greatest relative error of a rounding, < 1",
            v: "u/(1 - u), so 1 - u = 1/(1 + v)",
            c: "1 - lambda",
            offset: "given decode offset [token]",
            part: "overlap, of a derived one",
            factors[0]: "factors of the roundings",
        },
    )
    weight = sp.Symbol("lambda", positive=True)
    rate = c / weight  # 1 - lambda over lambda, up to powers of two
    line = formulas.line(P, B * f_3, rate * f_1 * f_2) * f_4
    named = "Line: 1 - lambda, the quotient, w B, the sum"
    _of_roundings(work, named, line, formulas.line(P, B, rate), factors[:4])
    harm = formulas.marginal_delay(queue, P * f_1, B * f_2, offset * f_1) * f_3
    exact = formulas.marginal_delay(queue, P, B, offset)
    _of_roundings(work, "Least harm: n + kappa, its product with B, the sum", harm, exact, factors[:3])
    derived = formulas.kappa(tau, gamma, out, part)
    rounded = derived * f_4 * f_5 * f_6
    harm = formulas.marginal_delay(queue, P * f_1, B * f_2, rounded * f_1) * f_3
    exact = formulas.marginal_delay(queue, P, B, derived)
    _of_roundings(work, "Derived kappa: two products and a quotient more", harm, exact, factors)
    work.equal("Greatest by least: the margin of the line.", ((1 + u) / (1 - u)) ** 4, formulas.rounding_margin(4, u))
    work.conclude("And of the derived offset.", formulas.rounding_margin(6, u))
    return work


@derivation
def float_product_choice_is_exact() -> Derivation:
    """Products up to 2^53 are exact; beyond, they are further apart than rounding can move them."""
    batch, tokens = 2 * REQUESTS_MAX + 1, 2 * TOKENS_MAX  # the greatest of each
    whole = sp.Symbol("x", nonnegative=True, integer=True)
    work = Derivation("P is at most 2^32 and B at most 2^21 + 1; binary64 has 53 bits.", {P: "P-token", x: ">= 0"})
    unit = formulas.UNIT_ROUNDOFF
    work.equal("Half a spacing at 1 is u, so up to 1/u every whole number is there:", EXACT_MAX, 1 / unit)
    at_most = tokens / (1 + x) * ((batch - 1) / (1 + y))
    work.holds("All products but those at the greatest batch are within it.", at_most, "<=", EXACT_MAX)
    last = tokens - 2**11
    work.holds("At the greatest batch the last one within it is at P = 2^32 - 2^11,", last * batch, "<=", EXACT_MAX)
    beyond = (last + 1) * batch - EXACT_MAX
    work.equal("for the next one exceeds it by", beyond, 2**21 - 2**11 + 1)
    work.holds("and none exceeds twice as much, up to where the spacing is 2.", tokens * batch, "<=", 2 * EXACT_MAX)
    work.holds("Rounding moves by at most 1, so those stay beyond 2^53", (last + 1) * batch - 1, ">", EXACT_MAX)
    more = (P + 1 + whole) * batch - 1
    work.holds("and keep their order: more tokens, a greater rounded product.", more, ">", P * batch + 1)
    harm = formulas.marginal_delay(sp.Integer(TOKENS_MAX), sp.Integer(TOKENS_MAX), sp.Integer(batch))
    work.holds("The greatest key of least harm without decode is within 2^53.", harm, "<=", EXACT_MAX)
    work.conclude("The greatest P at which every product is exact [token].", sp.Integer(last))
    return work
