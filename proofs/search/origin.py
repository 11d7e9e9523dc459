"""Back from a state that was found to the whole numbers behind it, and how far its free knobs may move."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from fractions import Fraction

from proofs.search.knobs import scale_of, steps_of, value_at
from proofs.search.question import Found, FreeKnob, Question
from proofs.search.replaying import replayed, settled
from proofs.search.situation import variables


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
            value = Fraction(repr(found.rule.values[free.name]))
            model[f"knob_{free.name}"] = Fraction(round(value * scale_of(question, free)))
    assert settled(question, model).values == found.rule.values
    return model


def with_knob_ranges(question: Question, found: Found) -> Found:
    """The state with the interval of each free knob in which it still shows the kind, the other knobs held.

    In steps of one for whole knobs, else of a thousandth or finer. Steps are doubled and then halved, each run by the
    shipped rules: an end is a step that shows it, and is the end of what was asked or the next step does not.
    """
    model = model_of(question, found)
    ranges = {k.name: _moved(question, model, k) for k in question.free if not k.every}
    return dataclasses.replace(found, knobs=ranges)


def _moved(question: Question, model: Mapping[str, Fraction], free: FreeKnob) -> tuple[float, float]:
    name = f"knob_{free.name}"

    def shown(step: int) -> bool:
        return replayed(question, {**model, name: Fraction(step)}) is not None

    start = int(model[name])
    first, last = (_farthest(shown, start, limit) for limit in steps_of(question, free))
    return value_at(question, free, first), value_at(question, free, last)


def _farthest(shown: Callable[[int], bool], start: int, limit: int) -> int:
    """The last step towards ``limit`` that shows it."""
    sign = 1 if limit > start else -1
    reach, near, far = abs(limit - start), 0, 1
    while far <= reach and shown(start + sign * far):
        near, far = far, 2 * far if far < reach and 2 * far < reach else max(far + 1, reach)
    far = min(far, reach + 1)
    while near + 1 < far:
        middle = (near + far) // 2
        near, far = (middle, far) if shown(start + sign * middle) else (near, middle)
    return start + sign * near
