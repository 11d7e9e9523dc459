"""Where a product is zero, and what the floor of one token and counting the request itself do about it.

Glossary: ``L`` prompt, ``h`` match, ``q`` queued prefill [token]; ``R`` running, ``W`` waiting [request]; ``P``
P-token, ``B`` batch size. The scores are the shipped rules' own formulas.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from scheduler import formulas
from scheduler.indicators import Indicators, indicators_of
from scheduler.policies.product import (
    product,
    product_without_floor,
    product_without_queue,
    product_without_self,
)
from theory.derivation import Derivation, derivation
from theory.ops import SYMPY

L, R, W, P_j, B_j = sp.symbols("L R W P_j B_j", positive=True, integer=True)
_GLOSSARY = {L: "prompt [token]", R: "running [request]", W: "waiting [request]"}


def instance(**observed: Any) -> Indicators:
    """An instance on symbols, nothing running, waiting, queued or cached unless said."""
    nothing = dict.fromkeys(("running", "waiting", "queued_prefill_tokens", "hit_tokens"), sp.Integer(0))
    return indicators_of(SYMPY, **{**nothing, "prompt_tokens": L, **observed})


@derivation
def zero_collapse() -> Derivation:
    """Without floor a cached prompt and no queue make the product 0 at any batch; with it the batch stands alone."""
    work = Derivation("The whole prompt is cached and nothing is queued; R requests run, W wait.", _GLOSSARY)
    full = instance(hit_tokens=L, running=R, waiting=W)
    idle = instance()
    work.equal("As published, the score is 0 at any batch.", product_without_floor(SYMPY, full, None, None), 0)
    work.equal("An idle instance without the prompt scores", product_without_floor(SYMPY, idle, None, None), L)
    work.holds("so it loses.", L, ">", 0)
    work.equal("With a floor of one token the score is the batch;", product(SYMPY, full, None, None), R + W + 1)
    most = formulas.batch_taken_at_most(full.p_token, idle.p_token, idle.batch_size)
    work.equal("against the idle instance it is taken up to a batch of", most, L)
    q = sp.Symbol("q", positive=True, integer=True)
    queued = instance(hit_tokens=L, running=R, waiting=W, queued_prefill_tokens=q)
    port = product_without_queue(SYMPY, queued, None, None)
    work.equal("The port that drops a queue q scores the same,", port, product(SYMPY, full, None, None))
    cold = product_without_queue(SYMPY, instance(running=B_j - 1), None, None)
    work.equal(
        "so against B_j requests and no cache it takes the holder of the prompt up to a batch of",
        cold / queued.new_prefill_tokens,
        formulas.batch_taken_at_most(1, L, B_j),
    )
    work.conclude("In general, against P_j and B_j [request].", formulas.batch_taken_at_most(full.p_token, P_j, B_j))
    return work


@derivation
def idle_collapse() -> Derivation:
    """If the request is not counted, an idle instance scores 0, and costs up to half its tokens times the best."""
    q = sp.Symbol("q", nonnegative=True, integer=True)
    h = sp.Symbol("h", nonnegative=True, integer=True)
    work = Derivation("One instance is idle.", {**_GLOSSARY, q: "queued prefill [token]", h: "match [token]"})
    any_cache = instance(hit_tokens=h)
    busy = instance(hit_tokens=L, running=sp.Integer(1))
    work.equal("Not counted, it scores 0 whatever its cache.", product_without_self(SYMPY, any_cache, None, None), 0)
    held = instance(hit_tokens=h, running=R, waiting=W, queued_prefill_tokens=q)
    work.holds("A busy one never does.", product_without_self(SYMPY, held, None, None), ">", 0)
    idle = instance()
    cost = product(SYMPY, idle, None, None) / product(SYMPY, busy, None, None)
    work.equal("A cold idle instance against one request and the whole prompt.", cost, formulas.idle_regret(L))
    work.conclude("The most it can cost, by the tokens of the idle one.", formulas.idle_regret(P_j))
    return work
