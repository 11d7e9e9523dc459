"""Every theorem: its claim follows, each premise is needed, each seeded fault is caught, each bound is reached."""

from collections.abc import Callable

import pytest

from proofs.theorem import (
    Theorem,
    all_theorems,
    check_claim,
    check_fault_is_caught,
    check_is_reached,
    check_premise_is_needed,
    check_some_fault_is_a_slip,
)

STATED = {place.partition("theorems/")[2]: (place, function()) for place, function in all_theorems().items()}


def cases(part: Callable[[Theorem], object]) -> list[tuple[str, str]]:
    return [(short, name) for short, (_, stated) in STATED.items() for name in part(stated)]  # type: ignore[attr-defined]


def ids(case: tuple[str, str]) -> str:
    return ": ".join(case)


@pytest.mark.parametrize("short", STATED)
def test_the_claim_follows_from_its_premises(short: str) -> None:
    check_claim(STATED[short][1])


@pytest.mark.parametrize("case", cases(lambda stated: () if stated.refuted else stated.given), ids=ids)
def test_each_premise_is_needed(case: tuple[str, str]) -> None:
    check_premise_is_needed(STATED[case[0]][1], case[1])


@pytest.mark.parametrize("case", cases(lambda stated: stated.faults), ids=ids)
def test_each_seeded_fault_is_caught(case: tuple[str, str]) -> None:
    check_fault_is_caught(STATED[case[0]][1], case[1])


@pytest.mark.parametrize("case", cases(lambda stated: stated.reached), ids=ids)
def test_each_bound_is_reached(case: tuple[str, str]) -> None:
    check_is_reached(STATED[case[0]][1], case[1])


@pytest.mark.parametrize("short", STATED)
def test_some_fault_of_each_theorem_is_a_slip(short: str) -> None:
    check_some_fault_is_a_slip(STATED[short][1])
