"""The catalogue: every rule by name. A new rule is added to a file's ``RULES`` and its file to ``_FILES``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from scheduler.errors import BadInput, unknown_name
from scheduler.policies import (
    aibrix,
    bailian,
    conductor,
    delay,
    dualmap,
    dynamo,
    greedy,
    linear,
    llm_d,
    load_only,
    mooncake,
    polyserve,
    power_of_two,
    preble,
    product,
    product_of_tokens,
    production_stack,
    ray_prefix,
    rotation,
    sglang,
    simulated_ttft,
    smetric,
    vllm,
)
from scheduler.policies.rule import Policy, Rule

_FILES = (
    product,
    product_of_tokens,
    delay,
    linear,
    bailian,
    dynamo,
    vllm,
    llm_d,
    sglang,
    aibrix,
    conductor,
    preble,
    mooncake,
    simulated_ttft,
    polyserve,
    dualmap,
    smetric,
    production_stack,
    ray_prefix,
    load_only,
    greedy,
    power_of_two,
    rotation,
)

#: Every rule by name, in the order of the tables.
CATALOGUE: Mapping[str, Rule] = MappingProxyType({rule.name: rule for file in _FILES for rule in file.RULES})


def policy(text: str) -> Policy:
    """Read ``NAME[:knob=value,...]``.

    Raises:
        BadInput: unknown rule or knob (with the nearest names), or a value outside its domain.

    Example:
        >>> policy("lmetric").rule.source
        'LMetric, arXiv 2603.15202; docs/sources.md#lmetric'
    """
    name, colon, tail = text.partition(":")
    if name not in CATALOGUE:
        raise unknown_name("policy", name, CATALOGUE, "argprod policies")
    if colon and not tail:
        raise BadInput(f"policy {name}", text, "knob=value after the colon", f"knobs: {_knob_names(name)}")
    values: dict[str, str] = {}
    for part in tail.split(",") if tail else ():
        knob, equals, value = part.partition("=")
        if not equals or not value:
            raise BadInput(f"policy {name}", part, "knob=value", f"knobs: {_knob_names(name)}")
        if knob in values:
            raise BadInput(f"policy {name}", part, "each knob once")
        values[knob] = value
    return CATALOGUE[name].with_knobs(values)


def _knob_names(name: str) -> str:
    return ", ".join(knob.name for knob in CATALOGUE[name].all_knobs()) or "none"
