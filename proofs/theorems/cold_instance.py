"""A fresh instance without cache beside others: when the product gives it any of a class's traffic.

The shipped product runs on two observed instances. For any number of instances the choice is the conjunction of the
choices in pairs (claim ``choice_is_pairwise``): the cold one is taken exactly if it wins against every other one. The
other one is called warm here, but nothing is asked of it: it may be fresh, too.
"""

from __future__ import annotations

from typing import Any

import z3

from proofs.cluster import chooses, observed
from proofs.ops import Z3
from proofs.theorem import Theorem, theorem
from scheduler import formulas
from scheduler.indicators import Indicators
from scheduler.policies.catalogue import policy

PRODUCT = policy("lmetric")


def _pair(cold_index: int) -> tuple[list[Indicators], Indicators, Any, list[Any], Any]:
    """Two instances, the warm one, its leverage, the domains, and that the other is fresh."""
    instances, domains = observed(2)
    cold, warm = instances[cold_index], instances[1 - cold_index]
    fresh = z3.And([x == 0 for x in (cold.running, cold.waiting, cold.queued_prefill_tokens, cold.hit_tokens)])
    return instances, warm, formulas.leverage(cold.prompt_tokens, warm.p_token), domains, fresh


@theorem
def a_later_cold_instance_waits_for_more_than_the_leverage() -> Theorem:
    """After the warm one in the list: taken exactly if ``b_warm + 1 > rho``.

    Claim: cold_instance_starvation.
    """
    instances, warm, rho, domains, fresh = _pair(1)
    taken = chooses(PRODUCT, instances, 1)
    return Theorem(
        domain=tuple(domains),
        given={"the cold instance is fresh": fresh},
        claim=taken == formulas.spills(warm.batch_size, 1, rho),
        faults={
            "a tie is enough": taken == (warm.batch_size >= rho),
            "own slot forgotten": taken == (warm.batch_size - 1 > rho),
        },
        reached={
            "16 residents are too few": z3.And(z3.Not(taken), warm.batch_size == 17, rho == 17),
            "17 are enough": z3.And(taken, warm.batch_size == 18, rho == 17),
            "a fresh one before it takes the request": z3.And(z3.Not(taken), warm.batch_size == 1, rho == 1),
        },
    )


@theorem
def an_earlier_cold_instance_waits_for_the_leverage() -> Theorem:
    """Before the warm one in the list it wins the tie: taken exactly if ``b_warm + 1 >= rho``.

    Claim: cold_instance_starvation.
    """
    instances, warm, rho, domains, fresh = _pair(0)
    taken = chooses(PRODUCT, instances, 0)
    return Theorem(
        domain=tuple(domains),
        given={"the cold instance is fresh": fresh},
        claim=taken == (warm.batch_size >= rho),
        faults={
            "a tie is not enough": taken == formulas.spills(warm.batch_size, 1, rho),
            "own slot forgotten": taken == (warm.batch_size - 1 >= rho),
        },
        reached={
            "15 residents are too few": z3.And(z3.Not(taken), warm.batch_size == 16, rho == 17),
            "16 are enough": z3.And(taken, warm.batch_size == 17, rho == 17),
        },
    )


@theorem
def one_warm_instance_below_the_leverage_starves_it() -> Theorem:
    """Whatever a third instance does, wherever each stands in the list.

    The step from three to any number is the conjunction over pairs.

    Claim: cold_instance_starvation.
    """
    instances, domains = observed(3)
    claims, faults = [], []
    for cold_index in range(3):
        cold, warm = instances[cold_index], instances[(cold_index + 1) % 3]
        fresh = z3.And([x == 0 for x in (cold.running, cold.waiting, cold.queued_prefill_tokens, cold.hit_tokens)])
        below = warm.batch_size < formulas.leverage(cold.prompt_tokens, warm.p_token)
        taken = chooses(PRODUCT, instances, cold_index)
        claims.append(z3.Implies(z3.And(fresh, below), z3.Not(taken)))
        faults.append(z3.Implies(fresh, z3.Not(taken)))
    prompt = instances[0].prompt_tokens
    return Theorem(
        domain=tuple(domains),
        claim=z3.And(claims),
        faults={
            "starved at any batch": z3.And(faults),
            "warm up to the prompt": z3.Implies(
                instances[1].batch_size < prompt, z3.Not(chooses(PRODUCT, instances, 0))
            ),
        },
    )


@theorem
def whole_residents_against_leverage() -> Theorem:
    """For whole residents, ``b + 1 > rho`` from ``floor(rho)`` on, and ``b + 1 >= rho`` from ``ceil(rho) - 1`` on.

    Claim: cold_instance_starvation.
    """
    residents, rho = z3.ToReal(z3.Int("residents")), z3.Real("rho")
    last, first = (formulas.residents_to_share(Z3, rho, cold_is_first=first) for first in (False, True))
    more = formulas.spills(residents + 1, 1, rho)
    return Theorem(
        claim=z3.And(more == (residents >= last), (residents + 1 >= rho) == (residents >= first)),
        faults={"one fewer": more == (residents >= last - 1), "ties both ways": more == (residents >= first)},
        reached={"both at 17": z3.And(rho == 17, last == 17, first == 16)},
    )
