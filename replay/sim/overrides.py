"""Overrides of a run: at some decisions another instance is taken than the rule says. For forks of a run.

A run with an override at decision d is, up to d, the run without it: the same arrivals, draws and ties. The rule is
asked at every decision all the same, so what it draws later does not shift.
"""

from __future__ import annotations

from collections.abc import Mapping

from scheduler.errors import BadInput
from scheduler.policies.rule import Policy

#: Number of a decision -> index of the instance. Decisions count from 0 in the order in which they are made; rejected
#: requests have none.
Overrides = Mapping[int, int]


def checked_overrides(overrides: Overrides | None, policy: Policy, instance_count: int) -> Overrides:
    """The overrides of a run, found good.

    Args:
        overrides: None for none.
        policy: of the run.
        instance_count: instances of the cluster.

    Raises:
        BadInput: if an override names no decision or no instance, or the rule has a memory, which would be of choices
            that were not taken.

    Example:
        >>> from scheduler.policies.catalogue import policy
        >>> checked_overrides({7: 1}, policy("lmetric"), 2), checked_overrides(None, policy("round_robin"), 2)
        ({7: 1}, {})
    """
    if not overrides:
        return {}
    if policy.rule.memory is not None and policy.rule.memory.kept:
        raise BadInput("overrides", policy.label, "a rule without a memory", "its memory is of its own choices")
    for number, instance in overrides.items():
        if number < 0:
            raise BadInput("overrides", number, "the number of a decision, >= 0")
        if not 0 <= instance < instance_count:
            raise BadInput(f"overrides[{number}]", instance, f"an index from 0 to {instance_count - 1}")
    return overrides
