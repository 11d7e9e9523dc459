"""The steps in which the search sets a free knob, so that what it finds can be written down."""

from __future__ import annotations

import math
from fractions import Fraction

from proofs.search.question import FreeKnob, Question

#: Steps in a thousandth unless the interval is so narrow that it would hold fewer than this.
_STEPS_MIN = 100
_SCALE_MAX = 10**15


def scale_of(question: Question, free: FreeKnob) -> int:
    """Steps in one unit: 1 for whole numbers, else a power of ten, so that the ends of the interval are steps.

    Example:
        >>> from scheduler import policy
        >>> scale_of(Question(policy("linear")), FreeKnob("weight", 0.0001, 0.0004))
        1000000
    """
    domain = next(knob.domain for knob in question.rule.rule.knobs if knob.name == free.name)
    if domain is not None and domain.integer:
        return 1
    low, high = Fraction(repr(free.low)), Fraction(repr(free.high))
    scale = 1000
    while scale < _SCALE_MAX and not _fine(scale, low, high):
        scale *= 10
    return scale


def _fine(scale: int, low: Fraction, high: Fraction) -> bool:
    whole = (low * scale).denominator == (high * scale).denominator == 1
    return whole and (low == high or (high - low) * scale >= _STEPS_MIN)


def steps_of(question: Question, free: FreeKnob) -> tuple[int, int]:
    """First and last step of the interval."""
    scale = scale_of(question, free)
    return math.ceil(Fraction(repr(free.low)) * scale), math.floor(Fraction(repr(free.high)) * scale)


def value_at(question: Question, free: FreeKnob, step: int) -> float:
    """The value of the knob at a step."""
    scale = scale_of(question, free)
    return step if scale == 1 else float(Fraction(step, scale))


def steps_told(question: Question) -> str:
    """The steps of real knobs in words; empty if there are none."""
    real = [(k.name, scale) for k in question.free if not k.every and (scale := scale_of(question, k)) > 1]
    return "".join(f"; {name} in steps of {1 / scale:g}" for name, scale in real)
