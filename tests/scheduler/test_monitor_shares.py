"""The share to act on: quick after a change, quiet without one."""

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from scheduler.prefix_tree import Node
from scheduler.shares import WIDTH, settled_share

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
