"""Old and incomplete numbers, on the shipped rules and the shipped accounting."""

import random
import statistics
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.herding import CHOICES, Dispatch, by_rule, most_arrivals, pile, simulate
from scheduler import Accounting, formulas
from scheduler.ops import SCALAR
from scheduler.policies.catalogue import policy
from scheduler.policies.choosing import decide
from scheduler.state import ClusterState, Request
from scheduler.testing.laws import product_indicators

PROMPT = 1000  # of every request of benchmarks.herding


@st.composite
def schedules(draw: st.DrawFn) -> dict[str, Any]:
    """Instances, hits, routers, a delay, and who gets a request when."""
    count = draw(st.integers(2, 5))
    routers = draw(st.integers(1, 4))
    return {
        "start": draw(st.lists(st.integers(0, 9), min_size=count, max_size=count)),
        "hits": draw(st.lists(st.sampled_from([0, 500, 900, 999]), min_size=count, max_size=count)),
        "routers": routers,
        "delay": draw(st.integers(1, 12)),
        "arrivals": sorted(
            draw(st.lists(st.tuples(st.integers(0, 24), st.integers(0, routers - 1)), min_size=1, max_size=40))
        ),
    }


def dispatches(drawn: dict[str, Any], text: str, *, hits: list[int] | None = None) -> tuple[list[Dispatch], int]:
    """The run, and U of its schedule."""
    count = len(drawn["start"])
    choosers = [by_rule(text, seed, count) for seed in range(drawn["routers"])]
    hits = [0] * count if hits is None else hits
    done = simulate(choosers, drawn["arrivals"], drawn["start"], drawn["delay"], hits)
    return done, formulas.unseen_most(drawn["routers"], most_arrivals(drawn["arrivals"], drawn["delay"]))


def gap_after(dispatch: Dispatch) -> int:
    batches = list(dispatch.true)
    batches[dispatch.instance] += 1
    return max(batches) - min(batches)


@pytest.mark.parametrize("text", ["lmetric", "lmetric:ties=random", "join_shortest_queue"])
@settings(max_examples=60)
@given(drawn=schedules())
def test_stale_views_keep_the_gap_within_what_is_unseen(text: str, drawn: dict[str, Any]) -> None:
    done, unseen = dispatches(drawn, text)
    bound = formulas.stale_gap(SCALAR, max(drawn["start"]) - min(drawn["start"]), unseen)
    assert all(gap_after(dispatch) <= bound for dispatch in done)


@given(schedules())
def test_unseen_dispatches_are_those_of_others_in_one_delay(drawn: dict[str, Any]) -> None:
    done, unseen = dispatches(drawn, "lmetric")
    for dispatch in done:
        missing = [true - seen for true, seen in zip(dispatch.true, dispatch.seen, strict=True)]
        assert min(missing) >= 0
        assert sum(missing) <= unseen


@given(schedules())
def test_a_batch_is_chosen_up_to_leverage_and_unseen(drawn: dict[str, Any]) -> None:
    done, unseen = dispatches(drawn, "lmetric", hits=drawn["hits"])
    tokens = [PROMPT - hit for hit in drawn["hits"]]
    for dispatch in done:
        i = dispatch.instance
        for j, batch in enumerate(dispatch.true):
            bound = formulas.stale_batch(formulas.leverage(Fraction(tokens[j]), tokens[i]), batch + 1, unseen)
            assert dispatch.true[i] + 1 <= bound


@pytest.mark.parametrize(("routers", "most"), [(2, 3), (3, 1), (4, 5)])
def test_the_bound_of_the_gap_is_reached(routers: int, most: int) -> None:
    """One instance lacks A - 1 requests; all routers fill it, each with A requests in the same tick."""
    drawn = {
        "start": [0, most - 1, most - 1],
        "routers": routers,
        "delay": 1,
        "arrivals": [(0, router) for router in range(routers) for _ in range(most)],
    }
    done, unseen = dispatches(drawn, "lmetric")
    assert unseen == (routers - 1) * most
    assert gap_after(done[-1]) == unseen + 1 == formulas.stale_gap(SCALAR, most - 1, unseen)


@pytest.mark.parametrize(("routers", "most"), [(1, 3), (2, 3), (4, 5)])
def test_the_bound_of_the_leverage_is_reached(routers: int, most: int) -> None:
    """A hit of 900 tokens is worth ten requests; the last of A dispatches of the last router uses all of it."""
    drawn = {
        "start": [10 - most, 0],
        "routers": routers,
        "delay": 1,
        "arrivals": [(0, router) for router in range(routers) for _ in range(most)],
    }
    done, unseen = dispatches(drawn, "lmetric", hits=[900, 0])
    rho = formulas.leverage(PROMPT, PROMPT - 900)
    assert (rho, unseen, done[-1].instance) == (10, (routers - 1) * most, 0)
    assert done[-1].true[0] + 1 == formulas.stale_batch(rho, done[-1].true[1] + 1, unseen)


def test_a_completion_breaks_the_bound_of_the_gap() -> None:
    """One router that sees everything: it dispatches at a gap of 1, and then one instance runs dry."""
    drawn = {"start": [20, 20], "routers": 1, "delay": 1, "arrivals": [(0, 0)]}
    [dispatch], unseen = dispatches(drawn, "lmetric")
    batches = list(dispatch.true)
    batches[dispatch.instance] += 1
    batches[1 - dispatch.instance] = 0
    assert max(batches) - min(batches) > formulas.stale_gap(SCALAR, 0, unseen)


def test_random_ties_do_not_help_but_a_coin_and_two_choices_do() -> None:
    runs = {name: [pile(name, seed, empty=True, delays=1) for seed in range(8)] for name in CHOICES}
    piles = {name: statistics.median(run["pile on the first"] for run in found) for name, found in runs.items()}
    sent = {name: statistics.median(r["sent to the first in one delay"] for r in found) for name, found in runs.items()}
    assert abs(piles["lmetric, random ties"] - piles["lmetric"]) <= 0.1 * piles["lmetric"]
    assert sent["lmetric"] >= 0.9
    assert 0.35 <= sent["a coin over the best two"] <= 0.65
    assert piles["a coin over the best two"] <= 0.6 * piles["lmetric"]
    assert piles["power_of_two"] <= 0.5 * piles["a coin over the best two"]


# Incomplete numbers: the same history, seen by a plain proxy and by one that is told of every step.


def histories(*, evictions: bool = False) -> st.SearchStrategy[list[tuple[str, int, int]]]:
    """Events about requests 0 to 7 as ``(kind, request, tokens)``; cached tokens found, or preemptions."""
    kinds = ["dispatched", "progressed", "found_more_cache", "first_token", "ended"]
    kinds += ["preempted", "found_less_cache"] if evictions else []
    return st.lists(st.tuples(st.sampled_from(kinds), st.integers(0, 7), st.integers(0, 40)), max_size=40)


def books(events: list[tuple[str, int, int]], count: int) -> tuple[Accounting, Accounting]:
    """A plain proxy's accounting, and that of one told of every step; only events that can happen are told."""
    proxy, told = Accounting(count), Accounting(count)
    left: dict[int, int] = {}
    for kind, request, tokens in events:
        if kind == "dispatched" and request not in left:
            for book in (proxy, told):
                book.dispatched(request, request % count, tokens, tokens)
            left[request] = tokens
        elif request not in left or kind == "dispatched":
            continue
        elif kind == "first_token":
            for book in (proxy, told):
                book.first_token(request)
            left[request] = 0
        elif kind == "ended":
            for book in (proxy, told):
                book.ended(request)
            del left[request]
        else:
            left[request] = tell(told, kind, request, tokens, left[request])
    return proxy, told


def tell(told: Accounting, kind: str, request: int, tokens: int, left: int) -> int:
    """What a plain proxy does not hear of; the tokens left to compute after it."""
    if kind == "progressed":
        told.progressed(request, tokens)
        return max(0, left - tokens)
    after = {"found_more_cache": min(tokens, left), "found_less_cache": left + tokens}.get(kind, tokens)
    (told.preempted if kind == "preempted" else told.corrected)(request, after)
    return after


def state_of(book: Accounting) -> ClusterState:
    count = len(book.running)
    return ClusterState(
        ids=tuple(map(str, range(count))),
        running=tuple(book.running),
        waiting=tuple(book.waiting),
        queued_prefill_tokens=tuple(book.queued_prefill_tokens),
        hit_tokens=(0,) * count,
    )


def products(state: ClusterState, request: Request) -> list[int]:
    return [p * b for p, b in product_indicators(state, request)]


@given(histories(), st.integers(1, 4))
def test_a_plain_proxy_never_counts_fewer_tokens(events: list[tuple[str, int, int]], count: int) -> None:
    proxy, told = books(events, count)
    pairs = zip(proxy.queued_prefill_tokens, told.queued_prefill_tokens, strict=True)
    assert all(booked >= left for booked, left in pairs)
    batches = [[a + b for a, b in zip(book.running, book.waiting, strict=True)] for book in (proxy, told)]
    assert batches[0] == batches[1]


@given(histories(), st.integers(2, 4), st.integers(1, 60))
def test_a_plain_proxy_pays_the_over_count_of_each_other_instance_at_most(
    events: list[tuple[str, int, int]], count: int, prompt: int
) -> None:
    seen, true = (state_of(book) for book in books(events, count))
    request = Request(id=99, arrival_s=0.0, prompt_tokens=prompt)
    k = decide(policy("lmetric"), seen, request)[0].instance
    scores, shown = products(true, request), products(seen, request)
    for j, (tokens, _) in enumerate(product_indicators(true, request)):
        computed = seen.queued_prefill_tokens[j] - true.queued_prefill_tokens[j]
        over = formulas.over_count(Fraction(computed), tokens)
        assert shown[j] == (1 + over) * scores[j]
        assert scores[k] <= formulas.information_price(over) * scores[j]


@given(histories(), st.integers(2, 4), st.integers(1, 60))
def test_a_margin_beyond_the_over_count_is_certain(events: list[tuple[str, int, int]], count: int, prompt: int) -> None:
    seen, true = (state_of(book) for book in books(events, count))
    request = Request(id=99, arrival_s=0.0, prompt_tokens=prompt)
    k = decide(policy("lmetric"), seen, request)[0].instance
    scores, shown = products(true, request), products(seen, request)
    factors = [Fraction(shown[j], scores[j]) for j in range(count)]
    if all(shown[j] >= factors[j] * shown[k] for j in range(count) if j != k):
        assert scores[k] == min(scores)


@given(histories(evictions=True), st.integers(2, 4), st.integers(1, 60))
def test_untold_evictions_add_the_other_factor(events: list[tuple[str, int, int]], count: int, prompt: int) -> None:
    seen, true = (state_of(book) for book in books(events, count))
    request = Request(id=99, arrival_s=0.0, prompt_tokens=prompt)
    k = decide(policy("lmetric"), seen, request)[0].instance
    scores = products(true, request)
    untold = [b - a for a, b in zip(seen.queued_prefill_tokens, true.queued_prefill_tokens, strict=True)]
    tokens = [p for p, _ in product_indicators(true, request)]
    under = formulas.under_count(Fraction(max(0, untold[k])), tokens[k])
    batches_agree = [a + b for a, b in zip(seen.running, seen.waiting, strict=True)] == [
        a + b for a, b in zip(true.running, true.waiting, strict=True)
    ]
    assert batches_agree
    for j in range(count):
        over = formulas.over_count(Fraction(max(0, -untold[j])), tokens[j])
        assert scores[k] <= formulas.information_price(over, under) * scores[j]


def test_the_price_of_over_counting_is_reached() -> None:
    """B is best but for 100 tokens that were computed long ago; A ties with what is seen of B and comes first."""
    proxy, told = Accounting(2), Accounting(2)
    for book in (proxy, told):
        book.dispatched(0, 1, 100, 100)
        book.dispatched(1, 0, 100, 100)
    told.progressed(0, 100)
    request = Request(id=2, arrival_s=0.0, prompt_tokens=100)
    k = decide(policy("lmetric"), state_of(proxy), request)[0].instance
    scores = products(state_of(told), request)
    assert (k, scores) == (0, [400, 200])
    assert Fraction(scores[0], scores[1]) == formulas.information_price(formulas.over_count(Fraction(100), 100))


def test_the_price_of_both_errors_is_reached() -> None:
    """As before, and 100 tokens of A that nobody told of: A is seen at 400 and is 600, B is seen at 400 and is 200."""
    proxy, told = Accounting(2), Accounting(2)
    for book in (proxy, told):
        book.dispatched(0, 1, 100, 100)
        book.dispatched(1, 0, 100, 100)
    told.progressed(0, 100)
    told.corrected(1, 200)
    request = Request(id=2, arrival_s=0.0, prompt_tokens=100)
    k = decide(policy("lmetric"), state_of(proxy), request)[0].instance
    scores = products(state_of(told), request)
    over, under = formulas.over_count(Fraction(100), 100), formulas.under_count(Fraction(100), 300)
    assert (k, scores) == (0, [600, 200])
    assert Fraction(scores[0], scores[1]) == formulas.information_price(over, under) == 3


def test_a_preemption_makes_a_plain_proxy_count_too_few_tokens() -> None:
    proxy, told = books([("dispatched", 0, 40), ("first_token", 0, 0), ("preempted", 0, 7)], 1)
    assert (proxy.queued_prefill_tokens, told.queued_prefill_tokens) == ([0], [7])


def test_a_coin_takes_one_of_the_two_least() -> None:
    rng = random.Random(0)
    zeros = (0, 0, 0)
    for seed in range(5):
        choose = CHOICES["a coin over the best two"](seed)
        running = tuple(rng.sample(range(30), 3))
        state = ClusterState(
            ids=("A", "B", "C"), running=running, waiting=zeros, queued_prefill_tokens=zeros, hit_tokens=zeros
        )
        assert running[choose(state)] < max(running)
