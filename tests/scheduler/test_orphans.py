"""Blocks kept aside until the one before them arrives, against a plain dictionary."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from scheduler.orphans import Orphans

KEYS = st.integers(1, 6)
STEPS = st.tuples(st.sampled_from(["keep", "take", "discard", "clear"]), KEYS, KEYS)


@given(st.lists(STEPS, max_size=40), st.integers(0, 5))
def test_orphans_are_those_of_a_dictionary_the_one_kept_longest_goes_first(steps: list[Any], limit: int) -> None:
    orphans, kept = Orphans(limit), dict[int, int]()
    for step, key, parent in steps:
        if step == "keep":
            orphans.keep(key, parent)
            if kept.get(key) != parent:
                kept.pop(key, None)
                kept[key] = parent
                if len(kept) > limit:
                    del kept[next(iter(kept))]
        elif step == "take":
            taken = {child for child, after in kept.items() if after == parent}
            assert set(orphans.take(parent)) == taken
            kept = {child: after for child, after in kept.items() if child not in taken}
        elif step == "discard":
            orphans.discard(key)
            kept.pop(key, None)
        else:
            orphans.clear()
            kept.clear()
        assert len(orphans) == len(kept)
        assert set(orphans._waiting) == set(kept.values())  # nothing is waited for in vain
    for parent in range(1, 7):
        assert set(orphans.take(parent)) == {child for child, after in kept.items() if after == parent}
