"""Back from a state that was found to the whole numbers behind it, and how far its free knobs may move."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from fractions import Fraction

from proofs.search.question import Found, FreeKnob, Question
from proofs.search.replaying import replayed, settled
from proofs.search.situation import variables

#: How many steps a knob is moved either way, at most.
_STEPS_MAX = 1000


def model_of(question: Question, found: Found) -> dict[str, Fraction]:
    """The whole numbers behind a state that was found, its free knobs among them."""
    model: dict[str, Fraction] = {}
    for prefix, file in (("", found.file), ("true_", found.truth)):
        if file is None:
            continue
        for v in variables(question):
            column, _, index = v.name.rpartition("_")
            value = getattr(file.state, column)[int(index)] if index.isdigit() else getattr(file.request, v.name)
            model[prefix + v.name] = Fraction(round(Fraction(value) / v.step))
    for free in question.free:
        if not free.every:
            domain = next(knob.domain for knob in question.rule.rule.knobs if knob.name == free.name)
            value = found.rule.values[free.name]
            model[f"knob_{free.name}"] = Fraction(value) if domain and domain.integer else Fraction(round(value * 1000))
    assert settled(question, model).values == found.rule.values
    return model


def with_knob_ranges(question: Question, found: Found) -> Found:
    """The state with the interval of each free knob in which it still shows the kind, the other knobs held.

    Steps of one for whole knobs and of a thousandth for others, each run by the shipped rules.
    """
    model = model_of(question, found)
    ranges = {k.name: _moved(question, model, k) for k in question.free if not k.every}
    return dataclasses.replace(found, knobs=ranges)


def _moved(question: Question, model: Mapping[str, Fraction], free: FreeKnob) -> tuple[float, float]:
    name = f"knob_{free.name}"
    ends = []
    for sign in (-1, 1):
        last = model[name]
        for _ in range(_STEPS_MAX):
            trial = {**model, name: last + sign}
            value = settled(question, trial).values[free.name]
            if not free.low <= value <= free.high or replayed(question, trial) is None:
                break
            last += sign
        ends.append(settled(question, {**model, name: last}).values[free.name])
    return ends[0], ends[1]
