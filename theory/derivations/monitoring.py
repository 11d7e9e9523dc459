"""What the monitor's test promises: classes that exclude each other, holders that change, residents, delays.

Glossary: ``x`` share of a class, ``c`` coverage ``M/N``, ``s`` share seen, ``w`` window, ``k`` its least count that
alarms, ``m`` requests since a step, ``a``, ``b`` mean residents of the class and of all others, ``p`` chance that the
rule takes a holder, ``r`` length of the run.
"""

from __future__ import annotations

import sympy as sp

from scheduler import formulas
from theory.derivation import Derivation, derivation
from theory.ops import SYMPY

_X, _C, _S = sp.symbols("x c s", positive=True)
_P, _Q, _A, _B = sp.symbols("p q a b", positive=True)


@derivation
def disjoint_classes_count_as_n() -> Derivation:
    """Up to the coverage the chance of an alarm grows ever faster with the share, so it is below its chord from 0."""
    k, w, j = sp.symbols("k w j", positive=True, integer=True)
    y = sp.Symbol("y", positive=True)
    work = Derivation(
        "The chance of k or more of w requests, as a function of the share.",
        {_X: "share of the class, in (0, 1)", y: "1 - x", w: "requests", k: "count that alarms", j: "a count"},
    )

    def edge(count: sp.Expr) -> sp.Expr:
        """``w C(w-1, j-1) x^(j-1) y^(w-j)``, by factorials."""
        ways = sp.factorial(w) / (sp.factorial(count - 1) * sp.factorial(w - count))
        return ways * _X ** (count - 1) * y ** (w - count)

    chance = sp.factorial(w) / (sp.factorial(j) * sp.factorial(w - j)) * _X**j * y ** (w - j)
    slope = sp.diff(chance, _X) - sp.diff(chance, y)  # y falls as x rises
    work.equal(
        "The chance of j changes by what comes in from below less what goes out above.",
        sp.combsimp(sp.simplify(slope / chance)),
        sp.combsimp(sp.simplify((edge(j) - edge(j + 1)) / chance)),
    )
    work.display("Summed from k on that telescopes: the tail changes by the first edge alone.", edge(k))
    bend = sp.diff(sp.log(_X ** (k - 1) * (1 - _X) ** (w - k)), _X)
    work.equal(
        "The edge grows with x by this rate, which is not negative while x <= (k-1)/(w-1).",
        bend,
        ((k - 1) - _X * (w - 1)) / (_X * (1 - _X)),
    )
    delta, instances, holders = sp.symbols("delta N M", positive=True)
    chord = _X / (holders / instances) * delta
    work.equal("Below the chord up to c = M/N, where the chance is delta.", chord.subs(_X, holders / instances), delta)
    summed = chord.subs({_X: 1, holders: 1})
    work.equal("Summed over shares that add up to 1 with M >= 1, at most N delta.", summed, instances * delta)
    work.conclude("Chance of a false alarm of a class.", chord)
    return work


@derivation
def alarms_hold_while_holders_change() -> Derivation:
    """Evidence and imbalance fall with every further holder, so thresholds only rise."""
    x, holders, instances = sp.symbols("x M N", positive=True)
    work = Derivation(
        "How the test changes with the holders.",
        {_S: "share seen, in (0, 1)", _C: "coverage M/N", x: "share", holders: "M", instances: "N"},
    )
    divergence = formulas.kl_divergence(SYMPY, _S, _C)
    slope = formulas.kl_slope(_S, _C)
    work.equal("The evidence of one request changes with the coverage by", sp.diff(divergence, _C), slope)
    below = slope.subs(_S, _C + _P).subs(_C, _Q / (_Q + _A))
    work.holds("which is negative while the share is above it.", below, "<", 0)
    imbalance = formulas.hot_rate(x, holders, 1) / formulas.cold_rate(x, holders, instances, 1)
    change = sp.diff(imbalance, holders)
    work.equal("The fluid imbalance changes by", change, -x * instances / ((1 - x) * holders**2))
    work.holds("which is negative, with x = p/(p + q).", change.subs(x, _P / (_P + _Q)), "<", 0)
    work.conclude("Slope of the evidence [nat/request].", slope)
    return work


@derivation
def residents_split_like_requests() -> Derivation:
    """Given their total, independent Poisson residents are binomial, as the requests of a window are."""
    k, n = sp.symbols("k n", positive=True, integer=True)
    work = Derivation(
        "The residents of a class, given the number of all residents.",
        {_A: "mean residents of the class", _B: "of all others", k: "residents of the class", n: "residents in all"},
    )

    def poisson(mean: sp.Expr, count: sp.Expr) -> sp.Expr:
        return mean**count * sp.exp(-mean) / sp.factorial(count)

    given_total = poisson(_A, k) * poisson(_B, n - k) / poisson(_A + _B, n)
    share = _A / (_A + _B)
    ways = sp.factorial(n) / (sp.factorial(k) * sp.factorial(n - k))
    binomial = ways * share**k * (1 - share) ** (n - k)
    work.equal("One is the other.", sp.simplify(sp.expand_log(sp.log(given_total / binomial), force=True)), 0)
    work.equal(
        "With arrivals at a rate and residence times T_c, T_o (Little), the share is the work share.",
        share.subs({_A: _X * _P, _B: (1 - _X) * _Q}),
        formulas.work_share(_X, _P, _Q),
    )
    work.conclude("The share that the test is about.", share)
    return work


@derivation
def detector_fires_in_time() -> Derivation:
    """The bound of a late alarm falls with every request once more than the threshold are expected."""
    m, seen = sp.symbols("m kappa", positive=True)
    work = Derivation(
        "The chance that m requests of a true share x bring no alarm.",
        {_X: "true share, in (0, 1)", m: "requests since the share is x", seen: "k - 1, the most that does not alarm"},
    )
    exponent = m * formulas.kl_divergence(SYMPY, seen / m, _X)
    work.display("It is at most exp(-this): threshold first, truth second.", exponent)
    rate = sp.log((1 - seen / m) / (1 - _X))
    parts = {m: _A + _B, seen: _A}  # so that the logarithms are seen to be of positive numbers
    change = sp.diff(exponent, m).subs(parts).subs(_X, _P / (_P + _Q))
    work.equal("With each further request it changes by this,", change, rate.subs(parts).subs(_X, _P / (_P + _Q)))
    ratio = ((1 - seen / m) / (1 - _X)).subs(seen, m * (_X - _P)).subs(_X, 1 - _A)
    work.equal("a logarithm of this, where kappa/m is below x by p, and a = 1 - x:", ratio, (_A + _P) / _A)
    work.holds("more than 1, so each further request helps.", sp.expand(ratio), ">", 1)
    work.equal("At kappa/m = x nothing is promised.", exponent.subs(seen, m * _X), 0)
    work.conclude("Exponent of the bound [nat].", exponent)
    return work


@derivation
def confirmation() -> Derivation:
    """A run of r requests of the class that all find a holder takes ``run_wait/x`` requests on average."""
    r = sp.Symbol("r", positive=True, integer=True)
    work = Derivation(
        "How long the second phase takes after the alarm.",
        {_X: "share of the class", _P: "chance that the rule takes a holder", r: "length of the run, 2M"},
    )
    each = 1 / _X
    again = 1 + (1 - _X) * each
    work.equal("A request of the class comes every 1/x requests: one, and all anew if it was none.", each, again)
    wait = formulas.run_wait(_P, formulas.run_chance(_P, r))
    for length in (2, 4):
        at = sp.limit(wait.subs(r, length), _P, 1)
        work.equal(f"If the rule always takes a holder, a run of {length} takes as many.", at, length)
    work.conclude("Requests from the alarm to the confirmation, on average [request].", wait / _X)
    return work
