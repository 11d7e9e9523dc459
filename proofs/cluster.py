"""Instances as solver terms, so that a proof runs the shipped rules on them.

Two views. :func:`observed` starts where a scheduler starts, with what is known of each instance. :func:`plain` starts
at P-token and batch size, for claims about these two indicators alone; a rule that reads anything else fails on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import z3

from proofs.ops import Z3
from proofs.terms import instance_terms, premises, request_terms
from scheduler.domains import Domain
from scheduler.indicators import Indicators, indicators_of
from scheduler.policies.reading import chosen, exact, read
from scheduler.policies.rule import Policy

#: Columns that an observed instance has unless others are asked for.
COLUMNS = ("running", "waiting", "queued_prefill_tokens", "hit_tokens")


def plain(*names: str) -> list[Indicators]:
    """Instances of which only ``P_name`` and ``B_name`` are known, as real constants.

    Example:
        >>> [x] = plain("i")
        >>> x.p_token * x.batch_size
        P_i*B_i
    """
    nothing: Mapping[str, Any] = dict.fromkeys(
        ("running", "waiting", "queued_prefill_tokens", "hit_tokens", "prompt_tokens", "new_prefill_tokens")
    )
    return [Indicators(p_token=z3.Real(f"P_{name}"), batch_size=z3.Real(f"B_{name}"), **nothing) for name in names]


def observed(
    count: int, *, columns: Sequence[str] = COLUMNS, recalled: Mapping[str, Domain] | None = None, whole: bool = False
) -> tuple[list[Indicators], list[Any]]:
    """Instances as a scheduler sees them, and the premises of their domains.

    Args:
        count: number of instances.
        columns: what is known of each.
        recalled: columns of a rule's memory, as free terms within their domains.
        whole: True demands whole numbers where the domain does; False proves more and is quicker.

    Returns:
        The indicators, and premises: each domain, and that no hit is longer than the prompt.
    """
    request, given = request_terms(whole=whole)
    found = []
    for index in range(count):
        terms, domains = instance_terms(index, whole=whole)
        given += domains
        given.append(terms["hit_tokens"] <= request["prompt_tokens"])
        remembered = {name: z3.Real(f"recalled_{name}_{index}") for name in recalled or {}}
        for name, domain in (recalled or {}).items():
            given += premises(remembered[name], domain, whole=whole)
        found.append(indicators_of(Z3, recalled=remembered, **{name: terms[name] for name in columns}, **request))
    return found, given


def scores(policy: Policy, instances: Sequence[Indicators]) -> list[Any]:
    """The single-number keys of a shipped rule on solver terms."""
    keys, _ = read(exact(policy), Z3, list(instances))
    return [part for (part,) in keys]


def chooses(policy: Policy, instances: Sequence[Indicators], index: int) -> Any:
    """The condition under which the shipped rule takes this instance, ties to the lowest index."""
    keys, eligible = read(exact(policy), Z3, list(instances))
    return chosen(Z3, keys, eligible, index)
