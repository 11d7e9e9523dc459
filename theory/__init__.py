"""Derivations of the closed forms in ``scheduler.formulas``, questions about single states, and the registry of claims.

Ask of a state: :func:`divergence` (where product and line choose alike), :func:`noise_margin`; of traffic:
:func:`hotspot`, :func:`coverage`, :func:`alarm_window`; of many states: :func:`divergence_region`. :func:`formula`
gives any closed form as an expression with its LaTeX. ``argprod derive CLAIM`` shows a derivation.

Example:
    >>> found = divergence([(160, 1), (32, 4)])
    >>> found.choice, found.low, found.implied_rate, found.high
    (1, Fraction(0, 1), Fraction(8, 1), Fraction(128, 3))
    >>> str(formula("marginal_delay"))
    'B⋅(κ + n) + q'
"""

from scheduler.formulas import kappa, marginal_delay
from theory.agreement import Divergence, divergence
from theory.covering import Coverage, coverage
from theory.hot_spots import HotSpot, hotspot
from theory.noise import NoiseMargin, noise_margin
from theory.ops import SYMPY, rational
from theory.regions import Region, divergence_region
from theory.registry import Claim, Status, claim, claims
from theory.symbolic import Formula, formula
from theory.symbols import instance_symbols, request_symbols, symbol, symbols_of
from theory.verdict import Comparison, Verdict
from theory.windows import AlarmWindow, alarm_window

__all__ = [
    "SYMPY",
    "AlarmWindow",
    "Claim",
    "Comparison",
    "Coverage",
    "Divergence",
    "Formula",
    "HotSpot",
    "NoiseMargin",
    "Region",
    "Status",
    "Verdict",
    "alarm_window",
    "claim",
    "claims",
    "coverage",
    "divergence",
    "divergence_region",
    "formula",
    "hotspot",
    "instance_symbols",
    "kappa",
    "marginal_delay",
    "noise_margin",
    "rational",
    "request_symbols",
    "symbol",
    "symbols_of",
]
