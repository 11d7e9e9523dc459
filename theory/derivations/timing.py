"""How late a sliding window alarms, and how long a run of confirmations takes.

Glossary: ``x_0``, ``x_1`` shares before and after a step, ``c`` coverage ``M/N``, ``W`` window [request], ``m``
requests since the step, ``p`` chance of one success, ``r`` length of the run.
"""

from __future__ import annotations

import sympy as sp

from scheduler import formulas
from theory.derivation import Derivation, derivation

_W, _M, _N = sp.symbols("W M N", positive=True)
_X0, _X1, _C = sp.symbols("x_0 x_1 c", positive=True)


@derivation
def window_alarm_is_gap_growth() -> Derivation:
    """Hot less cold batch changes over W arrivals by ``W (x - c)/(N c (1 - c))``, ``c = M/N``: its sign is x - c."""
    x, hot = sp.symbols("x K", positive=True)
    work = Derivation(
        "A window's share is above the coverage exactly if the gap grew over the window.",
        {x: "share K/W of the class in the window", _M: "holders", _N: "instances", _W: "arrivals of the window"},
    )
    change = hot / _M - (_W - hot) / (_N - _M)
    work.display(
        "Each of K arrivals adds 1/M to the mean of the holders, each other 1/(N - M) to that of the rest.", change
    )
    growth = formulas.gap_growth(x, _M, _N)
    work.equal("By the share.", change.subs(hot, x * _W), _W * growth)
    work.equal("By the distance to the coverage.", growth.subs(_M, _C * _N), (x - _C) / (_N * _C * (1 - _C)))
    work.conclude("Growth with each arrival [request/request].", growth)
    return work


@derivation
def sliding_window_alarm_delay() -> Derivation:
    """The window reaches the threshold ``W (c - x_0)/(x_1 - x_0)`` requests after the step."""
    since = sp.Symbol("m", positive=True)
    work = Derivation(
        "How many requests late a sliding window alarms after a step of the share.",
        {_X0: "share before", _X1: "share after", _C: "coverage M/N", _W: "window [request]", since: "requests since"},
    )
    seen = formulas.window_share(_X0, _X1, _W, since)
    delay = formulas.alarm_delay(_X0, _X1, _W, _C)
    work.equal("The share seen, from the old one.", seen, _X0 + since * (_X1 - _X0) / _W)
    [solution] = sp.solve(sp.Eq(seen, _C), since)
    work.equal("It is c after", solution, delay)
    work.equal("requests. Then the window's mean share is c.", seen.subs(since, delay), _C)
    before, after = (formulas.gap_growth(x, _M, _N).subs(_M, _C * _N) for x in (_X0, _X1))
    work.equal("So over the whole window the gap has not changed.", (_W - delay) * before + delay * after, 0)
    gap = _W * (_C - _X0) * (_X1 - _C) / ((_X1 - _X0) * _N * _C * (1 - _C))
    work.equal("What a level start has grown to by then [request].", delay * after, gap)
    work.conclude("The delay of the alarm [request].", delay)
    return work


@derivation
def confirmation_run_length() -> Derivation:
    """The mean wait for r successes in a row is ``(1 - p^r)/((1 - p) p^r)``."""
    p, r, wait = sp.symbols("p r E", positive=True)
    work = Derivation(
        "How many independent trials pass until r successes came in a row.",
        {p: "chance of a success", r: "length of the run", wait: "mean wait for r - 1"},
    )
    longer = sp.Symbol("E_r", positive=True)
    [solved] = sp.solve(sp.Eq(longer, wait + 1 + (1 - p) * longer), longer)
    work.equal("The shorter run, one trial, and with chance 1 - p all again.", solved, (wait + 1) / p)
    first = formulas.run_wait(p, formulas.run_chance(p, 1))
    work.equal("A run of one.", first, 1 / p)
    shorter = formulas.run_wait(p, formulas.run_chance(p, r - 1))
    closed = formulas.run_wait(p, formulas.run_chance(p, r))
    work.equal("The closed form satisfies the recurrence.", closed, (shorter + 1) / p)
    whole = sp.Symbol("whole", positive=True, integer=True)
    limit = sp.limit(formulas.run_wait(p, p**5), p, 1)
    work.equal("At p = 1 it is the length itself, here 5.", limit, 5)
    work.conclude("The mean wait [trial].", closed.subs(r, whole))
    return work
