"""The share to act on: quick after a change, quiet without one."""

import math
import random
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from scheduler import formulas
from scheduler.ops import SCALAR
from scheduler.prefix_tree import Node
from scheduler.shares import WIDTH, copies_beside_others, settled_share

WINDOWS = (32, 64, 128, 256)


def node_of(of_class: list[bool]) -> Node:
    node = Node(((1,),), 1, None, 16)
    node.arrivals.extend(number for number, hit in enumerate(of_class, 1) if hit)
    return node


@given(st.integers(1, 300), st.sampled_from([0.1, 0.5, 0.9]), st.integers(0, 20), st.booleans())
def test_the_longest_window_is_taken_whose_interval_meets_all_shorter_ones(
    number: int, share: float, seed: int, changes: bool
) -> None:
    rng = random.Random(seed)
    of_class = [rng.random() < (share if not changes or n > number - 60 else 0.3) for n in range(number)]
    ends, shares = list[tuple[float, float]](), dict[int, float]()
    for window in WINDOWS:
        total = min(window, number)
        seen = sum(of_class[-total:]) / total
        half = WIDTH * math.sqrt(max(seen * (1 - seen), 1 / total) / total)
        ends.append((max(0.0, seen - half), min(1.0, seen + half)))
        if len(ends) > 1 and max(low for low, _ in ends) > min(high for _, high in ends):
            break
        shares[total] = seen
        if total < window:
            break
    taken = max(shares)
    assert settled_share(node_of(of_class), number, WINDOWS) == (shares[taken], taken)


def test_after_a_change_only_what_came_since_counts() -> None:
    assert settled_share(node_of([False] * 200 + [True] * 70), 270, WINDOWS) == (1.0, 64)
    assert settled_share(node_of([True, False] * 200), 400, WINDOWS) == (0.5, 256)


def test_a_change_that_creeps_is_seen_against_all_shorter_windows() -> None:
    """Each interval meets the one before, but the longest no longer meets the shortest."""
    creeping = [n % 20 < (20 * n) // 256 for n in range(256)]
    share, window = settled_share(node_of(creeping), 256, WINDOWS)
    assert window < 256
    assert share > sum(creeping) / 256


SENT = st.lists(st.integers(0, 30), min_size=2, max_size=9)
PERCENT = st.integers(0, 99)


@given(SENT, st.data(), PERCENT, PERCENT, st.sampled_from([Fraction(1), Fraction(5, 4), Fraction(2)]))
def test_copies_are_the_fewest_that_leave_the_holders_no_more_than_their_part(
    sent: list[int], data: st.DataObject, work: int, counted: int, left: Fraction
) -> None:
    """Against the definition in exact numbers: holders are added where least is sent, each with what it gets anyway."""
    count = len(sent)
    held = data.draw(st.integers(1, count))
    inside, outside = list(range(held)), sorted(range(held, count), key=lambda slot: sent[slot])
    share, of_requests, total = Fraction(work, 100), Fraction(counted, 100), sum(sent)
    scale = (1 - share) / (1 - of_requests)

    def load(added: int) -> Fraction:
        if not total:
            return share
        others = max(Fraction(0), Fraction(sum(sent[slot] for slot in inside), total) - of_requests)
        return share + scale * (others + Fraction(sum(sent[slot] for slot in outside[:added]), total))

    fits = [load(added) <= left * (held + added) / count for added in range(len(outside) + 1)]
    expected = fits.index(True) if True in fits else len(outside)
    near = any(abs(load(k) - left * (held + k) / count) < Fraction(1, 10**9) for k in range(len(outside) + 1))
    if not near:  # where the two are equal, floats may fall on either side
        got = copies_beside_others(work / 100, counted / 100, sent, range(count), (1 << held) - 1, float(left))
        assert got == expected


@given(st.integers(1, 31), PERCENT)
def test_if_others_keep_away_the_copies_are_those_of_the_coverage_law(held: int, percent: int) -> None:
    law = formulas.copies_missing(SCALAR, Fraction(percent, 100), held, 32)
    if percent * 32 % 100:
        assert copies_beside_others(percent / 100, percent / 100, (), range(32), (1 << held) - 1, 1.0) == min(
            law, 32 - held
        )
