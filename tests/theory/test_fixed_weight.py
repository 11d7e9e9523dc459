"""No fixed weight fits all states: exact ends by brute force on small ranges, the shipped rules on real ones."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import formulas
from scheduler.ops import SCALAR
from scheduler.policies.catalogue import CATALOGUE, policy
from scheduler.policies.choosing import decide
from scheduler.policies.linear import BATCH_SCALE, TOKEN_SCALE
from scheduler.state import ClusterState, Request

Pair = tuple[tuple[int, int], tuple[int, int]]
TOKENS_MAX, BATCH_MAX = 131072, 256
ONE_TOKEN = Request(id=0, arrival_s=0.0, prompt_tokens=1)


def pairs_of_range(tokens_max: int, batch_max: int) -> Iterator[Pair]:
    """Every pair whose first instance has fewer tokens and the larger batch."""
    for p_i, p_j in combinations(range(1, tokens_max + 1), 2):
        for b_j, b_i in combinations(range(1, batch_max + 1), 2):
            yield (p_i, b_i), (p_j, b_j)


def errs(pair: Pair, rate: Fraction | int) -> str:
    """How the line errs on a pair, judged by the product."""
    (p_i, b_i), (p_j, b_j) = pair
    product = p_j * b_j - p_i * b_i
    line = formulas.line(p_j, b_j, rate) - formulas.line(p_i, b_i, rate)
    return "too dear" if product > 0 > line else "too cheap" if line > 0 > product else ""


def dear(step: int) -> Pair:
    return (1, 2 * step + 1), (2, step + 1)


def cheap(step: int) -> Pair:
    return (step + 1, 2), (2 * step + 1, 1)


def choices(pair: Pair, rate: Fraction) -> tuple[int, int]:
    """The choices of the shipped product and of the shipped line."""
    state = ClusterState(
        ids=("i", "j"),
        running=(pair[0][1] - 1, pair[1][1] - 1),
        waiting=(0, 0),
        queued_prefill_tokens=(pair[0][0] - 1, pair[1][0] - 1),
        hit_tokens=(0, 0),
    )
    weight = formulas.weight_of_rate(rate, TOKEN_SCALE, BATCH_SCALE)
    line = CATALOGUE["linear"].with_knobs({"form": "p_token", "weight": weight})
    product, other = (decide(rule, state, ONE_TOKEN)[0] for rule in (policy("lmetric"), line))
    assert len(product.ties) == len(other.ties) == 1
    return product.instance, other.instance


@pytest.mark.parametrize("tokens_max", range(3, 10))
@pytest.mark.parametrize("batch_max", range(3, 10))
def test_the_ends_are_exact_in_a_small_range(tokens_max: int, batch_max: int) -> None:
    thresholds: dict[bool, list[Fraction]] = {True: [], False: []}
    for (p_i, b_i), (p_j, b_j) in pairs_of_range(tokens_max, batch_max):
        if p_i * b_i != p_j * b_j:
            thresholds[p_i * b_i < p_j * b_j].append(formulas.indifference_rate(Fraction(p_i), b_i, p_j, b_j))
    # Too dear needs a weight above one of the first kind, too cheap one below one of the second.
    assert min(thresholds[True]) == Fraction(1, formulas.greatest_step(SCALAR, batch_max))
    assert max(thresholds[False]) == formulas.greatest_step(SCALAR, tokens_max)


@given(st.fractions(Fraction(1, 127), 65535).filter(lambda rate: Fraction(1, 127) < rate < 65535))
def test_every_sane_weight_errs_in_both_directions_on_the_shipped_rules(rate: Fraction) -> None:
    assert choices(dear(127), rate) == (0, 1)
    assert choices(cheap(65535), rate) == (1, 0)


def test_the_two_pairs_just_fit_the_range() -> None:
    batch_step, token_step = formulas.greatest_step(SCALAR, BATCH_MAX), formulas.greatest_step(SCALAR, TOKENS_MAX)
    assert (batch_step, token_step) == (127, 65535)
    assert max(batch for _, batch in dear(batch_step)) in (BATCH_MAX - 1, BATCH_MAX)
    assert max(tokens for tokens, _ in cheap(token_step)) in (TOKENS_MAX - 1, TOKENS_MAX)


def test_at_the_ends_the_two_pairs_err_no_more() -> None:
    assert errs(dear(127), Fraction(1, 127)) == "" != errs(dear(127), Fraction(1, 126))
    assert errs(cheap(65535), 65535) == "" != errs(cheap(65535), 65534)


def test_one_token_a_request_fits_every_pair_of_the_four_by_four_range_only() -> None:
    assert {errs(pair, 1) for pair in pairs_of_range(4, 4)} == {""}
    assert {errs(pair, 1) for pair in pairs_of_range(4, 5)} == {"", "too dear"}
    assert {errs(pair, 1) for pair in pairs_of_range(5, 4)} == {"", "too cheap"}


@pytest.mark.parametrize("rate", range(3, 7))
def test_the_smallest_pairs(rate: int) -> None:
    totals: dict[str, list[int]] = {"": [], "too dear": [], "too cheap": []}
    for pair in pairs_of_range(2 * rate + 4, 6):
        totals[errs(pair, rate)].append(sum(map(sum, pair)))
    assert min(totals["too cheap"]) == 3 * rate + 8 == sum(map(sum, cheap(rate + 1)))
    assert min(totals["too dear"]) == 7
