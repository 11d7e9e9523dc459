"""Hot spots: growth, what bounds it at the moment of a decision, and how long it stays unseen.

Fluid statements speak of flows and residents as real numbers; statements about decisions run the shipped product on two
instances, which is enough for any number of them (claim ``choice_is_pairwise``). The way to a steady state is measured
by ``y = 1 - exp(-t/T)``, which runs from 0 to 1 as time does from 0 to infinity, so that no exponential is needed.
"""

from __future__ import annotations

from typing import Any

import z3

from proofs.cluster import chooses, observed, plain
from proofs.theorem import Theorem, theorem
from scheduler import formulas
from scheduler.policies.catalogue import policy

PRODUCT = policy("lmetric")


@theorem
def the_growth_ratio_rises_towards_the_ratio_of_the_flows() -> Theorem:
    """Without completions the ratio of the batches starts at 1, rises, and stays below ``a/b``.

    Claim: hotspot_growth.
    """
    start, hot, cold, early, late = z3.Reals("start hot cold early late")
    first, second = (formulas.hotspot_growth(start, hot, cold, t) for t in (early, late))
    return Theorem(
        domain=(early >= 0, late > early, cold > 0),
        given={"holders receive more each": hot > cold, "the start is not empty": start > 0},
        claim=z3.And(first >= 1, first < second, second < hot / cold),
        faults={
            "it falls": z3.And(first >= 1, first > second, second < hot / cold),
            "twice the start": second <= formulas.hotspot_growth(2 * start, hot, cold, late),
            "bounded by half": second < hot / (2 * cold),
        },
        reached={"it starts at 1": first == 1, "nine tenths of the way": second > (hot / cold) * z3.Q(9, 10)},
    )


@theorem
def the_ratio_exceeds_one_at_every_time_or_never() -> Theorem:
    """At any time after the start the ratio is greater than 1 exactly if a holder receives more than another instance.

    Claim: hotspot_growth.
    """
    start, hot, cold, elapsed = z3.Reals("start hot cold elapsed")
    ratio = formulas.hotspot_growth(start, hot, cold, elapsed)
    return Theorem(
        domain=(start >= 0, hot >= 0, cold >= 0, start + cold * elapsed > 0),
        given={"time has passed": elapsed > 0},
        claim=(ratio > 1) == (hot > cold),
        faults={
            "from equality on": (ratio > 1) == (hot >= cold),
            "only with a start": (ratio > 1) == z3.And(hot > cold, start > 0),
        },
    )


@theorem
def the_product_weighs_batch_against_leverage() -> Theorem:
    """Of two instances the product leaves the first for the second exactly if ``B_first > rho B_second``.

    If it takes the second, ``B_second < B_first / rho``; the other way round the tie goes to the lower index.

    Claim: leverage_bounds_imbalance.
    """
    i, j = plain("i", "j")
    first, second = (chooses(PRODUCT, [i, j], index) for index in (0, 1))
    rho = formulas.leverage(j.p_token, i.p_token)
    leaves = formulas.spills(i.batch_size, j.batch_size, rho)
    return Theorem(
        given={"P-tokens are positive": z3.And(i.p_token > 0, j.p_token > 0)},
        claim=z3.And(first == z3.Not(leaves), second == leaves),
        faults={
            "it leaves at a tie": first == (i.batch_size < rho * j.batch_size),
            "leverage upside down": second
            == formulas.spills(i.batch_size, j.batch_size, formulas.leverage(i.p_token, j.p_token)),
            "leverage forgotten": second == (i.batch_size > j.batch_size),
        },
        reached={"all of the leverage is used": z3.And(first, i.batch_size == rho * j.batch_size, rho == 17)},
    )


@theorem
def a_hit_buys_at_most_the_whole_prompt() -> Theorem:
    """The batch of the chosen instance is at most ``q + L`` times that of any other, however stale the cache.

    Claim: leverage_bounds_imbalance.
    """
    (inside, outside), domains = observed(2)
    taken = chooses(PRODUCT, [inside, outside], 0)
    cap = outside.queued_prefill_tokens + outside.prompt_tokens
    return Theorem(
        domain=tuple(domains),
        given={"the product takes it": taken},
        claim=inside.batch_size <= cap * outside.batch_size,
        faults={
            "queue forgotten": inside.batch_size <= outside.prompt_tokens * outside.batch_size,
            "one token less": inside.batch_size <= (cap - 1) * outside.batch_size,
        },
        reached={"a full hit uses it up": z3.And(inside.batch_size == cap * outside.batch_size, cap == 1088)},
    )


@theorem
def later_completions_can_exceed_the_leverage() -> Theorem:
    """False: the bound holds at the decision only; a completion on the other instance breaks it.

    Claim: imbalance_stays_within_leverage.
    """
    i, j = plain("i", "j")
    return Theorem(
        domain=(i.p_token >= 1, j.p_token >= 1, i.batch_size >= 1, j.batch_size >= 2),
        given={"the product takes the first": chooses(PRODUCT, [i, j], 0)},
        claim=i.batch_size <= formulas.leverage(j.p_token, i.p_token) * (j.batch_size - 1),
        refuted=True,
    )


@theorem
def a_steady_imbalance_spills_only_above_its_limit() -> Theorem:
    """With R times the residents of another instance a holder is left exactly if ``b_cold (R - rho) > rho - 1``.

    Claim: silent_band.
    """
    imbalance, cold, rho = z3.Reals("imbalance cold rho")
    spill = formulas.spills(imbalance * cold + 1, cold + 1, rho)
    return Theorem(
        given={"the others are not idle": cold > 0},
        claim=z3.And(
            spill == (cold * (imbalance - rho) > rho - 1), spill == (imbalance > formulas.silent_imbalance(cold, rho))
        ),
        faults={
            "leverage alone": spill == (imbalance > rho),
            "own slot forgotten": spill == (cold * (imbalance - rho) > rho),
        },
        reached={"silent above the leverage": z3.And(z3.Not(spill), imbalance > rho, rho > 1)},
    )


@theorem
def without_completions_the_first_spill_comes_at_its_time() -> Theorem:
    """From an equal start there is a spill exactly after ``t*``, and never if ``a <= rho b``.

    Claim: silent_band.
    """
    start, hot, cold, rho, elapsed = z3.Reals("start hot cold rho elapsed")
    spill = formulas.spills(start + hot * elapsed + 1, start + cold * elapsed + 1, rho)
    time = formulas.spill_time_s(start, hot, cold, rho)
    return Theorem(
        domain=(start >= 0, elapsed >= 0),
        given={"a hit is worth something": rho >= 1},
        claim=spill == z3.And(hot > rho * cold, elapsed > time),
        faults={
            "the others stand still": spill
            == z3.And(hot > rho * cold, elapsed > formulas.spill_time_s(start, hot, 0, rho)),
            "own slot forgotten": spill
            == z3.And(hot > rho * cold, elapsed > formulas.spill_time_s(start - 1, hot, cold, rho)),
            "whenever holders receive more": spill == z3.And(hot > cold, elapsed > time),
        },
        reached={"silence ends": z3.And(spill, rho == 17), "silence lasts": z3.And(z3.Not(spill), hot > cold)},
        without={"a hit is worth something": {"start": 0, "hot": 1, "cold": 4, "rho": "1/2", "elapsed": "1/10"}},
    )


def _on_the_way() -> tuple[dict[str, Any], Any, Any]:
    """Terms by name, the condition of a spill a part y of the way, and whether there is ever one."""
    names = ("start", "hot", "cold", "rho", "residence", "passed")
    terms = {name: z3.Real(name) for name in names}
    start, hot, cold, rho, residence, passed = terms.values()
    inside = formulas.residents_between(start, formulas.steady_residents(hot, residence), passed)
    outside = formulas.residents_between(start, formulas.steady_residents(cold, residence), passed)
    ever = (hot - rho * cold) * residence > rho - 1
    return terms, formulas.spills(inside + 1, outside + 1, rho), ever


@theorem
def with_completions_the_first_spill_comes_at_its_part_of_the_way() -> Theorem:
    """With residence time T there is a spill exactly past the part y; never if ``(a - rho b) T <= rho - 1``.

    Claim: silent_band.
    """
    terms, spill, ever = _on_the_way()
    start, hot, cold, rho, residence, passed = terms.values()
    progress = formulas.spill_progress(start, hot, cold, rho, residence)
    return Theorem(
        domain=(start >= 0, passed >= 0, passed < 1),
        given={"a hit is worth something": rho >= 1},
        claim=spill == z3.And(ever, passed > progress),
        faults={
            "a > rho b is enough": spill == z3.And(hot > rho * cold, passed > progress),
            "start forgotten": spill == z3.And(ever, passed > formulas.spill_progress(0, hot, cold, rho, residence)),
        },
        reached={
            "silence ends": z3.And(spill, rho == 17),
            "silence lasts for ever above the leverage": z3.And(z3.Not(ever), hot > rho * cold, rho > 1),
        },
    )


@theorem
def every_request_that_stays_uses_up_the_silence() -> Theorem:
    """A request of the class that does not spill takes one whole unit of what its holder has left; so bursts end it.

    What a holder has left is ``max(0, rho B_cold + 1 - B_holder)``. It falls by one for each request that stays while
    nothing completes, and a holder with less than one left gets no more. So after at most the sum over the holders of
    what is left a request spills: no state is silent against a long enough burst. A queue on the holder lowers rho.

    Claim: bursts_end_the_silence.
    """
    holder, other = plain("holder", "other")
    stays = chooses(PRODUCT, [holder, other], 0)
    rho = formulas.leverage(other.p_token, holder.p_token)
    left, then = (rho * other.batch_size + 1 - holder.batch_size - added for added in (0, 1))
    return Theorem(
        domain=(other.batch_size >= 1, holder.batch_size >= 1),
        given={"P-tokens are positive": z3.And(holder.p_token > 0, other.p_token > 0), "the request stays": stays},
        claim=z3.And(left >= 1, then >= 0, then == left - 1),
        faults={"two are left": left >= 2, "own slot forgotten": rho * other.batch_size - holder.batch_size >= 1},
        reached={"the last one": left == 1},
    )
