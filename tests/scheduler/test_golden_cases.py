"""Every rule gives what was worked out by hand from its source."""

import pytest

from scheduler.policies.catalogue import CATALOGUE
from scheduler.testing.golden import Golden, check
from scheduler.testing.golden_cases import GOLDEN

#: Rules that only draw or take turns, which test_rule_memory.py looks at. The weights of ``bailian`` are the keys of
#: ``bailian_argmax`` turned round.
WITHOUT_CASE = {"bailian", "power_of_two", "random", "round_robin"}


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case.name)
def test_golden(case: Golden) -> None:
    check(case)


def test_every_rule_has_a_case() -> None:
    assert set(CATALOGUE) - {case.policy.partition(":")[0] for case in GOLDEN} == WITHOUT_CASE


def test_names_of_cases_are_unique() -> None:
    assert len({case.name for case in GOLDEN}) == len(GOLDEN)
