"""Where routing settles if P-tokens stay as they are.

Glossary: ``P`` P-token [token], ``B`` batch size, ``k`` requests on an instance, ``T`` requests in all, ``N``
instances, ``w`` price of one batch slot [token/request], ``lambda`` common level of the scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sympy as sp

from scheduler import formulas
from scheduler.indicators import Indicators
from scheduler.policies.catalogue import policy
from scheduler.policies.reading import exact, read
from theory.derivation import Derivation, derivation
from theory.ops import SYMPY

T, w, level = sp.symbols("T w lambda", positive=True)
N = sp.Symbol("N", positive=True, integer=True)
i, j = sp.symbols("i j", positive=True, integer=True)
P = sp.IndexedBase("P", positive=True)
GLOSSARY = {P[i]: "P-token of instance i [token]", T: "requests in all", N: "instances", level: "level of the scores"}


def _instance(tokens: Any, batch: Any) -> Indicators:
    """An instance of which only P-token and batch size are known."""
    others = ("running", "waiting", "queued_prefill_tokens", "hit_tokens", "prompt_tokens", "new_prefill_tokens")
    unknown: Mapping[str, Any] = dict.fromkeys(others)
    return Indicators(p_token=tokens, batch_size=batch, **unknown)


@derivation
def equilibrium() -> Derivation:
    """Level scores of the shipped product and a fixed total give its shares; whole requests stay near them."""
    inverse = sp.Symbol("S", positive=True)
    above, below = sp.symbols("t u", nonnegative=True)
    work = Derivation("The product is level at shares in proportion to 1/P.", {**GLOSSARY, inverse: "sum of all 1/P_j"})
    batches = sp.symbols("B_1:4", positive=True)
    tokens = [P[index] for index in (1, 2, 3)]
    keys, _ = read(exact(policy("lmetric")), SYMPY, [_instance(*pair) for pair in zip(tokens, batches, strict=True)])
    levels = [sp.solve(sp.Eq(key, level), batch)[0] for (key,), batch in zip(keys, batches, strict=True)]
    work.equal("The shipped scores P_i B_i are level at", levels[0], level / P[1])
    total = sp.Sum(level / P[j], (j, 1, N))
    work.equal("They add up to T.", total, level * sp.Sum(1 / P[j], (j, 1, N)))
    found = sp.solve(sp.Eq(level * inverse, T), level)[0]
    share = formulas.hyperbolic_share(T, P[i], inverse)
    work.equal("So the level is T/S, and the share", (level / P[i]).subs(level, found), share)
    three = sp.Add(*(1 / token for token in tokens))
    shares = [formulas.hyperbolic_share(T, token, three) for token in tokens]
    work.equal("For three instances the shares add up,", sp.Add(*shares), T)
    placed = [key.subs(batch, at) for (key,), batch, at in zip(keys, batches, shares, strict=True)]
    work.equal("and the shipped scores are level there.", placed[0] - placed[2], 0)
    work.display("Whole requests at rest: P k <= level <= P (k + 1) on each; summed, T <= level S <= T + N.", T + N)
    least = (level / P[i] - 1) - (formulas.hyperbolic_share(level * inverse - above, P[i], inverse) - 1)
    work.holds("So k >= level/P - 1 is at least the share less one (T = level S - t),", least, ">=", 0)
    most = formulas.hyperbolic_share(level * inverse + below, P[i], inverse) - level / P[i]
    work.holds("and k <= level/P at most the share of N requests more (T + N = level S + u).", most, ">=", 0)
    work.conclude("Batch of instance i [request].", share)
    return work


@derivation
def equilibrium_of_a_line() -> Derivation:
    """Level linear scores and a fixed total."""
    mean, below = sp.symbols("P_mean d", positive=True)
    work = Derivation(
        "A line is level at equal shares and a correction by P.", {**GLOSSARY, w: "price of a batch slot"}
    )
    share = sp.solve(sp.Eq(formulas.line(P[i], j, w), level), j)[0]
    work.equal("At rest all scores P_i + w B_i are the same, so B_i is", share, (level - P[i]) / w)
    found = sp.solve(sp.Eq(N * (level - mean) / w, T), level)[0]
    work.equal("They add up to N (lambda - mean P)/w = T.", found, mean + w * T / N)
    result = formulas.linear_share(T, N, P[i], mean, w)
    work.equal("The share.", share.subs(level, found), result)
    work.equal(
        "A large price divides equally.", sp.limit(formulas.linear_share(T, N, mean + below, mean, w), w, sp.oo), T / N
    )
    work.equal(
        "It is 0 where P is so much above the mean; beyond that the instance gets nothing.",
        formulas.linear_share(T, N, mean + w * T / N, mean, w),
        0,
    )
    work.conclude("Batch of instance i, where no share is negative [request].", result)
    return work


@derivation
def line_fills_to_a_level() -> Derivation:
    """Two instances, with too few requests for the dearer one, and then with enough."""
    cheap, gap, over = sp.symbols("P_1 d s", positive=True)
    dear = cheap + w * T + over
    work = Derivation(
        "Where the line's shares would be negative, it fills the instances of least P to a level.",
        {cheap: "P-token of the cheaper instance [token]", T: "requests in all", w: "price of a batch slot"},
    )
    alone = formulas.water_level(SYMPY, [cheap], T, w)
    work.equal("A gap of w T + s between the two: filling the cheaper one alone gives the level", alone, cheap + w * T)
    two = (w * T + cheap + dear) / 2
    work.holds("which is lower than that of filling both,", alone, "<", two)
    work.equal("so it is the least level,", formulas.water_level(SYMPY, [cheap, dear], T, w), alone)
    work.holds("and below the other instance,", alone, "<", dear)
    work.equal("which gets nothing,", formulas.flooded_share(SYMPY, alone, dear, w), 0)
    work.equal("while the first gets all.", formulas.flooded_share(SYMPY, alone, cheap, w), T)
    mean = (cheap + dear) / 2
    work.holds("The formula would be negative there.", formulas.linear_share(T, 2, dear, mean, w), "<", 0)
    many = (gap + over) / w
    dear = cheap + gap
    two = (w * many + cheap + dear) / 2
    work.holds("A gap d less than w T: the level of both is the lower one.", two, "<", cheap + w * many)
    work.equal("So it is the least level.", formulas.water_level(SYMPY, [cheap, dear], many, w), two)
    shares = [formulas.flooded_share(SYMPY, two, tokens, w) for tokens in (cheap, dear)]
    work.equal("Both get a share, and the shares add up.", sp.Add(*shares), many)
    for name, share, tokens in (("cheaper", shares[0], cheap), ("dearer", shares[1], dear)):
        formula = formulas.linear_share(many, 2, tokens, cheap + gap / 2, w)
        work.equal(f"That of the {name} one is the formula's.", share, formula)
    work.conclude("The level [token].", formulas.water_level(SYMPY, [cheap, cheap + gap], T, w))
    return work


@derivation
def whole_requests_descend_a_potential() -> Derivation:
    """Each arrival adds its own score to one sum, so moving a request to a lower score lowers the sum."""
    p, p_m, k = sp.symbols("P P_m k", positive=True)
    k_m = sp.Symbol("k_m", nonnegative=True)
    work = Derivation(
        "Routing one after another descends the sum of P k (k + 1)/2.",
        {p: "P-token of an instance [token]", k: "requests there", p_m: "P-token of another", k_m: "requests there"},
    )
    joins = formulas.potential(p_m, k_m + 1) - formulas.potential(p_m, k_m)
    leaves = formulas.potential(p, k) - formulas.potential(p, k - 1)
    work.equal("Who joins an instance raises its term by the product's score there.", joins, p_m * (k_m + 1))
    work.equal("Who leaves lowers it by the score at which it would come back.", leaves, p * k)
    work.equal("So a term is the sum of the scores.", sp.Sum(p * j, (j, 1, N)).doit(), formulas.potential(p, N))
    work.conclude("The potential of one instance [token request].", formulas.potential(p, k))
    return work
