"""Messages of ``argprod search`` speak of the options that were typed, not of the fields of a question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from proofs.search import FreeKnob, Question, SequenceQuestion, rule_named
from scheduler.errors import BadInput
from scheduler.policies.rule import Policy

#: Options that are not called as the field of a question is.
_OPTIONS = {
    "prompt_tokens_max": "--prompt-max",
    "batch_size_max": "--batch-max",
    "queued_prefill_tokens_max": "--queue-max",
}
_SAME = {
    *Question.__dataclass_fields__,
    *SequenceQuestion.__dataclass_fields__,
    "block_tokens",
    "time_limit_s",
    "every",
}
#: Options that one kind or one objective alone reads.
_ONLY = {
    "--arrivals": ("--kind", "sequence"),
    "--gap": ("--kind", "sequence"),
    "--imbalance": ("--kind", "sequence"),
    "--eps": ("--kind", "noise"),
    "--count": ("--objective", "diverse"),
}
_IDLE = "the option has no effect there"
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


def refuse_without_effect(kind: str, objective: str, given: Mapping[str, bool]) -> None:
    """Refuse options that would change nothing.

    Args:
        kind, objective: of the question.
        given: of every option that some questions do not read, whether it differs from its default.

    Raises:
        BadInput: naming the option.
    """
    asked = {"--kind": kind, "--objective": objective}
    for option in (option for option, changed in given.items() if changed):
        option_read, value = _ONLY.get(option, ("", ""))
        if option_read and asked[option_read] != value:
            raise BadInput(option, f"{option_read} {asked[option_read]}", f"{option_read} {value}", _IDLE)
        if kind == "sequence" and option not in _ONLY:
            raise BadInput(option, "--kind sequence", "another kind", _IDLE)


def _option(fault: BadInput, free: Sequence[FreeKnob]) -> str:
    if fault.field in _OPTIONS:
        return _OPTIONS[fault.field]
    if fault.field in _SAME:
        return "--" + fault.field.replace("_", "-")
    for knob in free:
        if fault.value == knob.name or fault.field.endswith(f":{knob.name}"):
            return f"{'--every' if knob.every else '--free'}, {fault.field}"
    return fault.field
