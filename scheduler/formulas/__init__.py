"""Closed forms that rules, the detector and the derivations share; each stands here once.

Written in plain arithmetic over the operands' world (see :mod:`scheduler.ops`): numbers, arrays, symbols and terms all
read the same lines; what needs more than arithmetic takes the world as ``ops``. ``theory/`` derives exactly these
functions and checks them; it has no second copy.
"""

from scheduler.formulas.delay import kappa, marginal_delay
from scheduler.formulas.exchange import exchange_rate, line, pairwise_rate

__all__ = [
    "exchange_rate",
    "kappa",
    "line",
    "marginal_delay",
    "pairwise_rate",
]
