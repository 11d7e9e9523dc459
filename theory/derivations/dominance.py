"""Filters against the law of dominance: the state in which they break it, at which thresholds, and equal queues.

Glossary: ``L`` prompt, ``h`` match, ``q`` queued prefill [token]; ``n`` load: requests that run or wait [request].
Indicators are computed by the shipped code.
"""

from __future__ import annotations

import sympy as sp

from scheduler.domains import REQUESTS_MAX
from scheduler.ops import Over
from scheduler.policies.aibrix import counts
from scheduler.policies.common import in_flight, missed_tokens
from theory.derivation import Derivation, derivation
from theory.derivations.collapse import L, instance
from theory.ops import SYMPY

n = sp.Symbol("n", positive=True, integer=True)
q = sp.Symbol("q", nonnegative=True, integer=True)
x, y, z = sp.symbols("x y z", nonnegative=True, integer=True)


@derivation
def filters_take_dominated_instances() -> Derivation:
    """A holder with a queue is beaten in both; it is taken wherever a load gap of one request is let pass."""
    work = Derivation(
        "Instance i holds the prompt and has as much queued; j has neither, and a request fewer.",
        {
            L: "prompt [token]",
            n: "load of j, >= 1 [request]",
            x: "loads above it [request]",
            y: "any whole number >= 0",
        },
    )
    i, j = instance(hit_tokens=L, queued_prefill_tokens=L, running=n + 1), instance(running=n)
    work.holds("The queue counts, and the cached prompt by its floor: i has more tokens", i.p_token, ">", j.p_token)
    work.holds("and more requests, so j beats it in both.", i.batch_size, ">", j.batch_size)
    share, match = sp.Symbol("c", positive=True), i.hit_tokens / i.prompt_tokens
    work.holds("Its match is beyond every cache threshold below 1, here 1/(1 + c),", match, ">", 1 / (1 + share))
    work.holds("and no match, here L - y, is beyond a threshold of 1.", (L - y) / L, "<=", 1)
    gap, ratio, most = in_flight(i) - in_flight(j), in_flight(i) / in_flight(j), n + 1 + x
    work.holds("The gap of the loads is let pass by every abs of 1 + y;", gap, "<=", 1 + y)
    work.holds(
        "with abs = 0 by a rel of its ratio, least at the greatest load n + 1 + x.", ratio, ">=", most / (most - 1)
    )
    work.holds("A wider gap, of 1 + y, has a greater ratio.", (n + 1 + y) / n, ">=", ratio)
    queued = sp.Symbol("q", positive=True, integer=True)
    by_tree = instance(queued_prefill_tokens=queued, running=n + 1)
    work.holds("By tree size nothing need be cached: any queue q makes it worse.", by_tree.p_token, ">", j.p_token)
    late = instance(hit_tokens=L, queued_prefill_tokens=L + 1, running=n + 1)
    work.holds("llm-d sees a queue once its delay is too long; this one is worse", late.p_token, ">", j.p_token)
    work.holds("and longer than the prompt.", late.queued_prefill_tokens, ">", L)
    least, greatest, size, total, _ = counts(SYMPY, Over(SYMPY, [i, j, instance(running=n + 2)]), None)
    work.equal("AIBrix, with a third instance of load n + 2: i is at the mean,", size * in_flight(i), total)
    work.holds("and every imbalance of 2 + y lets the loads pass.", greatest - least, "<=", 2 + y)
    last = (most / (most - 1)).subs(x, 2 * REQUESTS_MAX - 1 - n)
    work.conclude("The least rel at which abs = 0 lets a gap of one request pass, by the domains' greatest load.", last)
    return work


@derivation
def filters_with_equal_queues_are_not_beaten_in_both() -> Derivation:
    """Equal queues cancel: fewer P-tokens mean a longer match, which these rules do see."""
    h = sp.Symbol("h", nonnegative=True, integer=True)
    work = Derivation(
        "The match of i is shorter by x than that of j, their queues are equal: who has more tokens?",
        {
            L: "prompt [token]",
            q: "queue of either [token]",
            h: "match of j [token]",
            x: "how much longer it is [token]",
            y: "tokens missing on j, less 1",
        },
    )
    i, j = instance(hit_tokens=h - x, queued_prefill_tokens=q), instance(hit_tokens=h, queued_prefill_tokens=q)
    missing = {L: h + 1 + y}
    work.holds(
        "If 1 + y tokens are missing on j, i has x more.", i.p_token.subs(missing), ">=", j.p_token.subs(missing)
    )
    whole, floor = {L: h}, {L: h, x: 1}
    work.equal("If none is, and one on i, the floor makes them equal;", i.p_token.subs(floor), j.p_token.subs(whole))
    more = i.p_token.subs(whole).subs(x, 2 + z)
    work.holds("if 2 + z are missing on i, it has more.", more, ">", j.p_token.subs(whole))
    tokens = [q + missed_tokens(SYMPY, L, taken.hit_tokens) for taken in (i, j)]
    any_length = [load.subs(L, h + y) for load in tokens]
    work.equal("llm-d's token load, without floor, tells every length apart.", any_length[0] - any_length[1], x)
    work.conclude("So a shorter match never has fewer tokens. What i has more:", i.p_token - j.p_token)
    return work
