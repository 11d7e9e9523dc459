"""The options of ``argprod search`` under the names that its questions use, so that messages speak of what was typed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from proofs.search import FreeKnob, rule_named
from scheduler.errors import BadInput
from scheduler.policies.rule import Policy

#: Options that are not called as the field of a question is.
_OPTIONS = {
    "prompt_tokens_max": "--prompt-max",
    "batch_size_max": "--batch-max",
    "queued_prefill_tokens_max": "--queue-max",
}
_SAME = (
    "rule against kind objective cost regret instances block_tokens eps count max_size min_regret arrivals gap imbalance "
    "time_limit_s every"
).split()
_WHERE_RULES_ARE = "`argprod policies` lists the rules"


def rule_of(option: str, text: str) -> Policy:
    """Read a rule; what is wrong with it names the option.

    Raises:
        BadInput: for a rule that is unknown or cannot be searched.
    """
    try:
        return rule_named(text)
    except BadInput as fault:
        unknown = fault.field == "policy" or "rule of the catalogue" in fault.expected
        hint = "; ".join(part for part in (fault.hint, _WHERE_RULES_ARE if unknown else "") if part)
        place = "" if fault.field in ("rule", "policy") else f", {fault.field}"
        raise BadInput(option + place, fault.value, fault.expected, hint) from None


@contextmanager
def options_named(free: Sequence[FreeKnob] = ()) -> Iterator[None]:
    """Errors of questions and searches inside name the option that was typed.

    Args:
        free: the knobs that the search may set.
    """
    try:
        yield
    except BadInput as fault:
        raise BadInput(_option(fault, free), fault.value, fault.expected, fault.hint) from None


def _option(fault: BadInput, free: Sequence[FreeKnob]) -> str:
    if fault.field in _OPTIONS:
        return _OPTIONS[fault.field]
    if fault.field in _SAME:
        return "--" + fault.field.replace("_", "-")
    for knob in free:
        if fault.value == knob.name or fault.field.endswith(f":{knob.name}"):
            return f"{'--every' if knob.every else '--free'}, {fault.field}"
    return fault.field
