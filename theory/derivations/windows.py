"""The window of an alarm: Chernoff's bound at its best tilt, the simple form, the error split, the effect of sessions.

Glossary: ``c`` threshold (coverage), ``x`` true share, ``eps`` distance, ``W`` window [request], ``delta`` error
allowed, ``z`` tilt, ``n`` number of a decision, ``m`` requests of a session.
"""

from __future__ import annotations

import sympy as sp

from scheduler import formulas
from theory.derivation import Derivation, derivation
from theory.ops import SYMPY

_C, _X, _EPS = sp.symbols("c x epsilon", positive=True)
_W, _DELTA, _Z = sp.symbols("W delta z", positive=True)
_GLOSSARY = {_C: "threshold, the coverage |M|/N, in (0, 1)", _X: "true share of the class, in (0, 1)"}
_A, _B, _D, _E = sp.symbols("a b d e", positive=True)
#: Any two shares in (0, 1), so that what a logarithm is taken of is seen to be positive.
_PARTS = {_C: _A / (_A + _B), _X: _D / (_D + _E)}


@derivation
def alarm_window() -> Derivation:
    """Chernoff's bound at the best tilt is ``exp(-W KL(c || x))``, so ``W = ln(1/delta)/KL(c || x)``."""
    work = Derivation(
        "Requests after which the seen share is on the wrong side of c with probability delta at most.",
        {**_GLOSSARY, _W: "window [request]", _Z: "tilt, at least 1", _DELTA: "error allowed, in (0, 1)"},
    )
    mean, tilt = formulas.tilted_mean(_X, _Z), formulas.best_tilt(_C, _X)
    exponent = sp.log(mean) - _C * sp.log(_Z)
    work.display("P(c W successes or more) is at most exp(W times this), for each tilt z >= 1.", exponent)
    at_best = sp.diff(exponent, _Z).subs(_Z, tilt)
    work.equal("At the best tilt it no longer changes.", at_best, 0)
    work.equal("There the mean of z^(one request) is a ratio of failures.", mean.subs(_Z, tilt), (1 - _X) / (1 - _C))
    divergence = formulas.kl_divergence(SYMPY, _C, _X)
    work.equal(
        "So the exponent is the divergence, threshold first, truth second; here c = a/(a + b), x = d/(d + e).",
        exponent.subs(_Z, tilt).subs(_PARTS),
        -divergence.subs(_PARTS),
    )
    mirrored = formulas.kl_divergence(SYMPY, 1 - _C, 1 - _X)
    work.equal("Successes and failures exchanged, for the miss: the same divergence.", mirrored, divergence)
    window = formulas.window_for(SYMPY, _DELTA, divergence)
    work.equal("With W requests the bound is delta.", sp.exp(sp.simplify(-window * divergence)), _DELTA)
    work.conclude("The window [request].", window)
    return work


@derivation
def hoeffding_window() -> Derivation:
    """``KL(c || c +- eps) >= 2 eps^2``, so ``ln(1/delta)/(2 eps^2)`` requests are enough for every coverage."""
    work = Derivation("The simple form of the window is the longer one.", _GLOSSARY)
    divergence = formulas.kl_divergence(SYMPY, _C, _X)
    work.equal("At the threshold the divergence is 0.", divergence.subs(_X, _C), 0)
    slope = formulas.kl_slope(_C, _X)
    work.equal("How it changes with the truth.", sp.diff(divergence, _X), slope)
    simple = formulas.hoeffding_bound(_EPS)
    work.equal("Slope times distance, of the simple form.", _EPS * sp.diff(simple, _EPS), 2 * simple)
    rise = slope * (_X - _C) - 2 * formulas.hoeffding_bound(_X - _C)
    square = (_X - _C) ** 2 * (1 - 2 * _X) ** 2 / (_X * (1 - _X))
    work.equal("The same of the divergence, less that.", rise, square)
    real = sp.Symbol("r", real=True)
    shown = square.subs(_X - _C, real).subs(_X, _PARTS[_X])
    work.holds("It is never negative, with x = d/(d + e) and r = x - c.", sp.factor(shown), ">=", 0)
    window = formulas.window_for(SYMPY, _DELTA, simple)
    work.conclude("The simple window [request].", window)
    return work


@derivation
def miss_sets_the_window() -> Derivation:
    """For coverage up to one half the smaller divergence is that of the miss, ``KL(c || c + eps)``."""
    work = Derivation("Which of the two errors needs the longer window.", {_C: _GLOSSARY[_C], _EPS: "distance"})
    safe, unsafe = (formulas.kl_divergence(SYMPY, _C, _C + sign * _EPS) for sign in (-1, 1))
    work.equal("At distance 0 they are equal.", (safe - unsafe).subs(_EPS, 0), 0)
    growth = 2 * _EPS**2 * (1 - 2 * _C) / ((_C**2 - _EPS**2) * ((1 - _C) ** 2 - _EPS**2))
    work.equal("How their difference changes with the distance.", sp.diff(safe - unsafe, _EPS), growth)
    slopes = -formulas.kl_slope(_C, _C - _EPS) - formulas.kl_slope(_C, _C + _EPS)
    work.equal("By the slopes.", slopes, growth)
    low, more, rest = sp.symbols("low more rest", positive=True)  # eps = low, c = low + more, 1/2 = c + rest
    at_most_half = growth.subs(_C, low + more).subs(_EPS, low)
    scale = 2 * (low + more + rest)
    scaled = at_most_half.subs({low: low / scale, more: more / scale}, simultaneous=True)
    work.holds("Positive where eps < c < 1/2, written with positive parts.", sp.factor(scaled), ">", 0)
    work.conclude("The divergence that sets the window.", unsafe)
    return work


@derivation
def error_budget() -> Derivation:
    """The parts of the error add up to delta, over a fixed number of tests and over an endless row of decisions."""
    classes, decisions = sp.symbols("classes decisions", positive=True)
    n, last = sp.symbols("n last", positive=True, integer=True)
    work = Derivation(
        "Many tests that err by delta together.", {_DELTA: "error allowed to all together", n: "decision"}
    )
    each = formulas.error_share(_DELTA, classes, decisions)
    work.equal("A fixed number of tests.", classes * decisions * each, _DELTA)
    part = formulas.error_of_decision(_DELTA, n)
    work.equal("Without end: each part is a difference,", part, _DELTA / n - _DELTA / (n + 1))
    work.equal("so they telescope.", sp.summation(part, (n, 1, last)), _DELTA * last / (last + 1))
    work.holds("Which stays below delta.", sp.together(_DELTA - _DELTA * last / (last + 1)), ">", 0)
    work.conclude("The error of the n-th decision.", part)
    return work


@derivation
def sessions_count_as_requests() -> Derivation:
    """Chernoff's argument asks of one unit only that its tilted mean is at most ``x z + 1 - x``; a session obeys."""
    y, y_1, y_2, p, v = sp.symbols("y y_1 y_2 p v", positive=True)
    tilt = 1 + v
    work = Derivation(
        "A window of W sessions promises what a window of W requests does.",
        {**_GLOSSARY, y: "share of a session's requests that are of the class, in [0, 1]", v: "tilt less 1, z = 1 + v"},
    )
    above = formulas.tilted_mean(y, tilt) - tilt**y
    work.equal("A power meets its chord at a share of 0", above.subs(y, 0), 0)
    work.equal("and at a share of 1,", above.subs(y, 1), 0)
    work.holds("and bends upwards, so between them it lies below the chord.", sp.diff(above, y, 2), "<=", 0)
    mixed = p * formulas.tilted_mean(y_1, _Z) + (1 - p) * formulas.tilted_mean(y_2, _Z)
    work.equal(
        "The chord is linear: mixing shares, one after another, mixes its values. So E z^Y <= x z + 1 - x.",
        mixed,
        formulas.tilted_mean(p * y_1 + (1 - p) * y_2, _Z),
    )
    work.equal("With one request a session it is equal.", p * _Z + (1 - p), formulas.tilted_mean(p, _Z))
    exponent = _W * (sp.log(formulas.tilted_mean(_X, _Z)) - _C * sp.log(_Z))
    divergence = formulas.kl_divergence(SYMPY, _C, _X)
    work.equal(
        "W independent sessions multiply; at the best tilt the exponent is that of W requests.",
        exponent.subs(_Z, formulas.best_tilt(_C, _X)).subs(_PARTS),
        -_W * divergence.subs(_PARTS),
    )
    work.conclude("The window [session].", formulas.window_for(SYMPY, _DELTA, divergence))
    return work


@derivation
def session_design_effect() -> Derivation:
    """Requests of equal sessions have the variance of ``W/(1 + (m - 1) icc)`` independent ones."""
    m, s2 = sp.symbols("m s2", positive=True)
    icc = sp.Symbol("icc", nonnegative=True)
    work = Derivation(
        "What a window of requests in sessions is worth, by variance.",
        {m: "requests of a session", s2: "variance of one request", icc: "correlation of two requests of a session"},
    )
    of_sum = m * s2 + m * (m - 1) * icc * s2
    work.display("Variance of the sum over a session: m variances and m (m - 1) covariances.", of_sum)
    work.equal("With the design effect.", of_sum, m * s2 * formulas.design_effect(m, icc))
    of_mean = (_W / m) * of_sum / _W**2
    effective = formulas.effective_requests(_W, m, icc)
    work.equal("Variance of the mean over W/m independent sessions.", of_mean, s2 / effective)
    work.equal("Sessions that are of one class throughout count once.", effective.subs(icc, 1), _W / m)
    work.conclude("Effective requests [request].", effective)
    return work
