"""Where a product is zero, it says nothing: the floor of one token, and counting the request itself, keep it from that.

The rules are the shipped deviations of the product, each on what a scheduler sees of two instances; a claim about
pairs holds for any number of instances (claim ``choice_is_pairwise``).

Glossary: ``i`` the instance taken, ``j`` another one; ``L`` prompt, ``q`` queued prefill, ``h`` match [token].
"""

from __future__ import annotations

from typing import Any

import z3

from proofs.cluster import chooses, observed, scores
from proofs.theorem import Theorem, theorem
from proofs.theorems.robustness import LMETRIC
from scheduler import formulas
from scheduler.domains import REQUESTS_MAX
from scheduler.indicators import Indicators
from scheduler.policies.catalogue import policy

WITHOUT_FLOOR = policy("lmetric_paper")
WITHOUT_QUEUE = policy("lmetric_no_queue")
WITHOUT_SELF = policy("lmetric_no_self")
_CACHED = "i holds the whole prompt"
_NOTHING_QUEUED = "nothing is queued on i"
_WORK = "j has something to prefill"


def collapsed(x: Indicators) -> Any:
    """The whole prompt is cached and nothing is queued."""
    return z3.And(x.hit_tokens == x.prompt_tokens, x.queued_prefill_tokens == 0)


def idle(x: Indicators) -> Any:
    """No request runs or waits."""
    return x.running + x.waiting == 0


@theorem
def without_floor_the_score_is_zero_exactly_if_nothing_is_to_prefill() -> Theorem:
    """As published, the product is 0 iff the whole prompt is cached and nothing is queued, whatever the batch.

    Claim: zero_collapse.
    """
    [x], domain = observed(1)
    [score] = scores(WITHOUT_FLOOR, [x])
    [with_floor] = scores(LMETRIC, [x])
    return Theorem(
        domain=tuple(domain),
        claim=z3.And((score == 0) == collapsed(x), with_floor > 0),
        faults={
            "if the prompt is cached": (score == 0) == (x.hit_tokens == x.prompt_tokens),
            "if it is idle": (score == 0) == idle(x),
            "with floor too": (with_floor == 0) == collapsed(x),
        },
    )


@theorem
def without_floor_a_saturated_instance_beats_an_idle_one() -> Theorem:
    """As published, i is taken at any batch, be j idle: first or second in the list.

    Claim: zero_collapse.
    """
    (i, j), domain = observed(2)
    takes = z3.And(chooses(WITHOUT_FLOOR, [i, j], 0), chooses(WITHOUT_FLOOR, [j, i], 1))
    return Theorem(
        domain=tuple(domain),
        given={
            _CACHED: i.hit_tokens == i.prompt_tokens,
            _NOTHING_QUEUED: i.queued_prefill_tokens == 0,
            _WORK: z3.Not(collapsed(j)),
        },
        claim=takes,
        faults={
            "with floor too": chooses(LMETRIC, [i, j], 0),
            "unless j is idle": z3.And(takes, z3.Not(idle(j))),
        },
        reached={
            "saturated against idle": z3.And(takes, i.running == REQUESTS_MAX, i.waiting == REQUESTS_MAX, idle(j))
        },
    )


@theorem
def without_floor_two_zeros_tie_by_index() -> Theorem:
    """As published, of two instances with nothing to prefill the first is taken, whatever their batches.

    Claim: zero_collapse.
    """
    (i, j), domain = observed(2)
    takes = chooses(WITHOUT_FLOOR, [i, j], 0)
    return Theorem(
        domain=tuple(domain),
        given={_CACHED: i.hit_tokens == i.prompt_tokens, _NOTHING_QUEUED: i.queued_prefill_tokens == 0},
        claim=takes,
        faults={
            "from the second place too": chooses(WITHOUT_FLOOR, [j, i], 1),
            "with the smaller batch": z3.And(takes, i.batch_size <= j.batch_size),
        },
        reached={"saturated against idle": z3.And(collapsed(j), idle(j), i.running == REQUESTS_MAX)},
    )


@theorem
def with_floor_the_batch_always_counts() -> Theorem:
    """With floor, i is taken only at a batch of at most ``P_j B_j/P_i``, and so of at most ``P_j B_j``.

    Claim: zero_collapse.
    """
    (i, j), domain = observed(2)
    takes = z3.Or(chooses(LMETRIC, [i, j], 0), chooses(LMETRIC, [j, i], 1))
    most = formulas.batch_taken_at_most(i.p_token, j.p_token, j.batch_size)
    plain_most = formulas.batch_taken_at_most(1, j.p_token, j.batch_size)
    bounded = z3.And(i.batch_size <= most, i.batch_size <= plain_most)
    unfloored = z3.Or(chooses(WITHOUT_FLOOR, [i, j], 0), chooses(WITHOUT_FLOOR, [j, i], 1))
    return Theorem(
        domain=tuple(domain),
        claim=z3.Implies(takes, bounded),
        faults={
            "one request fewer": z3.Implies(takes, i.batch_size <= most - 1),
            "without floor too": z3.Implies(unfloored, i.batch_size <= plain_most),
        },
        reached={"both bounds": z3.And(takes, i.batch_size == most, i.batch_size == plain_most, i.batch_size > 1)},
    )


@theorem
def without_queue_any_queue_is_let_pass() -> Theorem:
    """The port that drops queued prefill takes a cached i before j without cache iff ``B_i <= L B_j``, queues unseen.

    Claim: zero_collapse.
    """
    (i, j), domain = observed(2)
    takes, takes_second = chooses(WITHOUT_QUEUE, [i, j], 0), chooses(WITHOUT_QUEUE, [j, i], 1)
    most = formulas.batch_taken_at_most(1, i.prompt_tokens, j.batch_size)
    return Theorem(
        domain=tuple(domain),
        given={_CACHED: i.hit_tokens == i.prompt_tokens, "nothing is cached on j": j.hit_tokens == 0},
        claim=z3.And(takes == (i.batch_size <= most), takes_second == (i.batch_size < most)),
        faults={
            "with the queue too": chooses(LMETRIC, [i, j], 0) == (i.batch_size <= most),
            "at any batch": takes,
            "up to the prompt's length, be j busy": takes == (i.batch_size <= i.prompt_tokens),
        },
        reached={
            "a queue longer than any prompt seen, j idle": z3.And(
                takes,
                i.queued_prefill_tokens == 10_000_000,
                idle(j),
                j.queued_prefill_tokens == 0,
                i.batch_size == most,
            )
        },
    )


@theorem
def without_queue_a_large_batch_is_not_let_pass() -> Theorem:
    """It is not true that a cached instance is taken whatever its batch, not even against an idle one without cache.

    Claim: port_without_queue_takes_any_cached_instance.
    """
    (i, j), domain = observed(2, whole=True)
    return Theorem(
        domain=(*domain, i.prompt_tokens == 1000),
        given={
            _CACHED: i.hit_tokens == i.prompt_tokens,
            "j is idle": idle(j),
            "nothing is cached on j": j.hit_tokens == 0,
        },
        claim=chooses(WITHOUT_QUEUE, [i, j], 0),
        refuted=True,
    )


@theorem
def without_queue_two_cached_instances_are_told_apart_by_their_batch() -> Theorem:
    """Where both hold the whole prompt, the port takes the one with the smaller batch, whatever is queued.

    Claim: zero_collapse.
    """
    (i, j), domain = observed(2)
    return Theorem(
        domain=tuple(domain),
        given={_CACHED: i.hit_tokens == i.prompt_tokens, "j holds the whole prompt": j.hit_tokens == j.prompt_tokens},
        claim=chooses(WITHOUT_QUEUE, [i, j], 0) == (i.batch_size <= j.batch_size),
        faults={
            "with the queue too": chooses(LMETRIC, [i, j], 0) == (i.batch_size <= j.batch_size),
            "the first": chooses(WITHOUT_QUEUE, [i, j], 0),
        },
    )


@theorem
def without_self_an_idle_instance_beats_every_busy_one() -> Theorem:
    """If the request is not counted, i idle scores 0 and is strictly less than any j that is not, whatever its cache.

    Claim: idle_collapse.
    """
    (i, j), domain = observed(2)
    score_i, score_j = scores(WITHOUT_SELF, [i, j])
    counted_i, counted_j = scores(LMETRIC, [i, j])
    return Theorem(
        domain=tuple(domain),
        given={
            "i is idle": idle(i),
            "a request runs or waits on j": j.running + j.waiting >= 1,
        },
        claim=z3.And(score_i == 0, score_i < score_j),
        faults={"counted too": counted_i < counted_j, "by its tokens": score_i + i.p_token <= score_j},
        reached={"j holds the whole prompt": z3.And(j.hit_tokens == j.prompt_tokens, i.hit_tokens == 0)},
    )


@theorem
def without_self_idle_instances_tie_whatever_their_cache() -> Theorem:
    """If the request is not counted, two idle instances tie and the first is taken; counted, the one with less to do.

    Claim: idle_collapse.
    """
    (i, j), domain = observed(2)
    score_i, score_j = scores(WITHOUT_SELF, [i, j])
    counted = chooses(LMETRIC, [i, j], 0) == (i.p_token <= j.p_token)
    return Theorem(
        domain=tuple(domain),
        given={"i is idle": idle(i), "j is idle": idle(j)},
        claim=z3.And(score_i == score_j, chooses(WITHOUT_SELF, [i, j], 0), counted),
        faults={
            "only with equal caches": i.hit_tokens == j.hit_tokens,
            "from the second place too": chooses(WITHOUT_SELF, [j, i], 1),
            "counted, a tie too": chooses(LMETRIC, [i, j], 0),
        },
    )


@theorem
def without_self_an_idle_choice_costs_up_to_half_its_tokens() -> Theorem:
    """The idle i that is taken over a busy j costs the product at most ``P_i/2`` times j.

    Claim: idle_collapse.
    """
    (i, j), domain = observed(2)
    product_i, product_j = scores(LMETRIC, [i, j])
    bound = formulas.idle_regret(i.p_token) * product_j
    return Theorem(
        domain=tuple(domain),
        given={
            "i is idle": idle(i),
            "a request runs or waits on j": j.running + j.waiting >= 1,
        },
        claim=product_i <= bound,
        faults={"a third": product_i <= bound * 2 / 3, "no cost": product_i <= product_j},
        reached={"a cached prompt and one request on j": z3.And(product_i == bound, i.p_token == 4096)},
    )
