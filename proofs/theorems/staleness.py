"""Choices by old or incomplete numbers.

What the router sees are instances of their own, on which the shipped rule runs; what is true stands beside it.
"""

from __future__ import annotations

import z3

from proofs.cluster import chooses, plain, scores
from proofs.ops import Z3
from proofs.theorem import Theorem, theorem
from scheduler import formulas
from scheduler.indicators import p_token
from scheduler.policies.catalogue import policy

LMETRIC = policy("lmetric")


@theorem
def unseen_dispatches_add_up_over_the_other_routers() -> Theorem:
    """One more router adds at most A unseen dispatches: the step of an induction that starts at one router with 0.

    Claim: herding_on_stale_state.
    """
    routers, arrivals, others, last = z3.Reals("routers arrivals unseen_of_others unseen_of_last")
    return Theorem(
        given={
            "no router gets more than A arrivals in one delay": last <= arrivals,
            "induction: the others have at most (k - 1) A dispatches unseen": others
            <= formulas.unseen_most(routers, arrivals),
        },
        claim=z3.And(
            formulas.unseen_most(1, arrivals) == 0, others + last <= formulas.unseen_most(routers + 1, arrivals)
        ),
        faults={"one router fewer": others + last <= formulas.unseen_most(routers, arrivals)},
        reached={"every router at its most": others + last == formulas.unseen_most(routers + 1, arrivals)},
    )


@theorem
def a_dispatch_keeps_the_gap_of_stale_views() -> Theorem:
    """A dispatch by the least seen batch keeps every difference of batches within ``max(gap_0, U + 1)``.

    The step of an induction over dispatches. A difference concerns two instances and the dispatch a third at most, so
    three instances stand for any number; the chosen one is the first, where the tie rule asks least of it.

    Claim: herding_on_stale_state.
    """
    seen = plain("0", "1", "2")
    before, after = z3.Reals("before_0 before_1 before_2"), z3.Reals("after_0 after_1 after_2")
    unseen, gap = z3.Reals("U gap_0")

    def within(batches: list[z3.ArithRef], unseen: z3.ArithRef) -> z3.BoolRef:
        bound = formulas.stale_gap(Z3, gap, unseen)
        return z3.And([a - b <= bound for a in batches for b in batches if a is not b])

    return Theorem(
        domain=(*(x.p_token > 0 for x in seen), after[0] == before[0] + 1),
        given={
            "P-tokens are equal": z3.And([x.p_token == seen[0].p_token for x in seen]),
            "a router takes the least product it sees": chooses(LMETRIC, seen, 0),
            "at most (k - 1) A dispatches of other routers are unseen": before[0] - seen[0].batch_size <= unseen,
            "no batch is seen larger than it is": z3.And(
                [x.batch_size <= b for x, b in zip(seen, before, strict=True)]
            ),
            "nothing completes": z3.And([a == b for a, b in zip(after[1:], before[1:], strict=True)]),
            "induction: the differences are within the bound so far": within(before, unseen),
        },
        claim=within(after, unseen),
        faults={
            "one less unseen": within(after, unseen - 1),
            "the request itself forgotten": z3.And([a - b <= unseen for a in after for b in after if a is not b]),
        },
        reached={
            "the bound": z3.And(after[0] - after[1] == formulas.stale_gap(Z3, gap, unseen), gap == 0, unseen == 24)
        },
    )


@theorem
def a_batch_is_chosen_up_to_the_leverage_and_the_unseen() -> Theorem:
    """The product picks i over j on stale views only if ``B_i <= rho B_j + U``.

    Claim: herding_on_stale_state.
    """
    i, j = seen = plain("i", "j")
    batch_i, batch_j, unseen = z3.Reals("batch_i batch_j U")
    leverage = j.p_token / i.p_token
    bound = formulas.stale_batch(leverage, batch_j, unseen)
    return Theorem(
        domain=(i.p_token > 0, j.p_token > 0),
        given={
            "a router takes the least product it sees": chooses(LMETRIC, seen, 0),
            "at most (k - 1) A dispatches of other routers are unseen": batch_i - i.batch_size <= unseen,
            "no batch is seen larger than it is": j.batch_size <= batch_j,
        },
        claim=batch_i <= bound,
        faults={
            "unseen dispatches forgotten": batch_i <= formulas.stale_batch(leverage, batch_j, 0),
            "leverage forgotten": batch_i <= formulas.stale_batch(1, batch_j, unseen),
        },
        reached={"the bound": z3.And(batch_i == bound, unseen == 24, batch_j == 2, leverage == 17)},
    )


@theorem
def completions_break_the_gap() -> Theorem:
    """If requests complete, the gap after a dispatch has no bound in gap_0 and U.

    Claim: stale_gap_despite_completions.
    """
    i, j = seen = plain("i", "j")
    before, after = z3.Reals("before_i before_j"), z3.Reals("after_i after_j")
    bound = formulas.stale_gap(Z3, z3.Real("gap_0"), z3.Real("U"))
    return Theorem(
        domain=(i.p_token > 0, z3.Real("U") >= 0, z3.Real("gap_0") >= 0, after[0] == before[0] + 1, after[1] >= 1),
        given={
            "P-tokens are equal": i.p_token == j.p_token,
            "a router takes the least product it sees": chooses(LMETRIC, seen, 0),
            "batches are seen as they are, up to U dispatches": z3.And(
                before[0] - i.batch_size <= z3.Real("U"), i.batch_size <= before[0], j.batch_size == before[1]
            ),
            "completions after the decision": after[1] <= before[1],
            "induction: the differences are within the bound so far": before[0] - before[1] <= bound,
        },
        claim=after[0] - after[1] <= bound,
        refuted=True,
    )


@theorem
def only_the_error_at_the_optimum_is_paid() -> Theorem:
    """The choice by scores seen costs at most ``(1 + e_j)/(1 - f_k)`` times that of any instance j.

    k is the choice; with j the true optimum this is the price. Where nothing is under-counted, f = 0.

    Claim: proxy_information_loss_is_one_sided.
    """
    (k, j), seen = plain("k", "j"), plain("seen_k", "seen_j")
    (true_k, true_j), (seen_k, seen_j) = scores(LMETRIC, [k, j]), scores(LMETRIC, seen)
    over, under = z3.Reals("e_j f_k")
    price = formulas.information_price(over, under)
    return Theorem(
        domain=(true_j > 0, true_k > 0, over >= 0, under >= 0, under < 1),
        given={
            "the router takes the least score it sees": chooses(LMETRIC, seen, 0),
            "the chosen score is seen too low by at most f": (1 - under) * true_k <= seen_k,
            "the optimum is seen too high by at most e": seen_j <= (1 + over) * true_j,
        },
        claim=true_k <= price * true_j,
        faults={
            "no price": true_k <= true_j,
            "over-counting only": true_k <= formulas.information_price(over) * true_j,
            "under-counting only": true_k <= formulas.information_price(0, under) * true_j,
        },
        reached={"the price": z3.And(true_k == price * true_j, over == 1, under == z3.Q(1, 2))},
    )


@theorem
def a_plain_proxy_pays_one_factor() -> Theorem:
    """With nothing under-counted, ``S_k <= (1 + e_j) S_j``: the error at the chosen instance is free.

    Claim: proxy_information_loss_is_one_sided.
    """
    (k, j), seen = plain("k", "j"), plain("seen_k", "seen_j")
    (true_k, true_j), (seen_k, seen_j) = scores(LMETRIC, [k, j]), scores(LMETRIC, seen)
    over, error_k = z3.Reals("e_j e_k")
    bound = formulas.information_price(over) * true_j
    return Theorem(
        domain=(true_j > 0, true_k > 0, over >= 0, error_k >= 0),
        given={
            "the router takes the least score it sees": chooses(LMETRIC, seen, 0),
            "no score is seen too low": true_k <= seen_k,
            "the optimum is seen too high by at most e": seen_j <= (1 + over) * true_j,
        },
        claim=true_k <= bound,
        faults={"the optimum is found": true_k <= true_j},
        reached={"the price": z3.And(true_k == bound, over == 1, seen_k == true_k)},
    )


@theorem
def a_wide_margin_makes_a_plain_proxy_certain() -> Theorem:
    """If every other score seen exceeds the best by its own over-count, the choice is a true optimum.

    Claim: proxy_information_loss_is_one_sided.
    """
    (k, j), seen = plain("k", "j"), plain("seen_k", "seen_j")
    (true_k, true_j), (seen_k, seen_j) = scores(LMETRIC, [k, j]), scores(LMETRIC, seen)
    over = z3.Real("e_j")
    return Theorem(
        domain=(true_j > 0, true_k > 0, over >= 0),
        given={
            "no score is seen too low": true_k <= seen_k,
            "the optimum is seen too high by at most e": seen_j <= (1 + over) * true_j,
            "the margin seen is at least the over-count": seen_j >= formulas.information_price(over) * seen_k,
        },
        claim=true_k <= true_j,
        faults={"strictly": true_k < true_j},
        reached={"the margin": z3.And(true_k == true_j, over == 1)},
    )


@theorem
def a_preempted_request_is_missing_from_a_plain_proxy() -> Theorem:
    """After its first token nothing of a request is booked; preempted, it has tokens to compute again.

    Claim: proxy_never_undercounts.
    """
    (true,), (seen,) = plain("k"), plain("seen_k")
    new, again = z3.Reals("new_tokens computed_again")
    [true_score], [seen_score] = scores(LMETRIC, [true]), scores(LMETRIC, [seen])
    return Theorem(
        domain=(
            new >= 1,
            again >= 0,
            true.batch_size >= 1,
            seen.batch_size == true.batch_size,
            seen.p_token == p_token(z3.RealVal(0), new),
            true.p_token == p_token(again, new),
        ),
        claim=true_score <= seen_score,
        refuted=True,
    )
