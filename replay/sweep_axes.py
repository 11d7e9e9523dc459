"""The values of each knob that tuning tries: the published sweep, and what lies beyond its ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from scheduler.domains import Domain
from scheduler.errors import BadInput, unknown_name
from scheduler.policies.catalogue import CATALOGUE
from scheduler.policies.catalogue import policy as read_policy
from scheduler.policies.rule import Knob, Policy


def tunable() -> list[str]:
    """Names of the rules that have knobs to sweep."""
    return [rule.name for rule in CATALOGUE.values() if any(knob.sweep for knob in rule.knobs)]


def axes_of(
    rule: str, knobs: Sequence[str] | None = None, values: Mapping[str, Sequence[Any]] | None = None
) -> dict[str, tuple[Any, ...]]:
    """The values of each knob to sweep; the starting value is always among them.

    Args:
        rule: ``NAME[:knob=value,...]``; knobs given here stay as they are.
        knobs: which to sweep; None for all that have values to try.
        values: values to try instead of the published sweep, as numbers or as words of the command line.

    Returns:
        Values by knob; numbers ascend, after ``None`` if that is tried.

    Raises:
        BadInput: an unknown rule or knob, a knob that the rule itself settles, a value outside its domain, nothing to
            sweep.

    Example:
        >>> axes_of("load_aware"), axes_of("bailian:gamma=0", ["beta"], {"beta": ["0.1", "0.2"]})
        ({'beta': (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)}, {'beta': (0.1, 0.15, 0.2)})
    """
    base, fixed, values = read_policy(rule), _fixed(rule), values or {}
    known = {knob.name: knob for knob in base.rule.all_knobs()}
    for name in (*(knobs or ()), *values):
        if name not in known:
            raise unknown_name(f"knob of {base.rule.name}", name, known)
        if name in fixed:
            raise BadInput(f"knob of {base.rule.name}", name, "a knob that the policy itself does not fix")
    if knobs is None:
        chosen = [name for name, knob in known.items() if (knob.sweep or name in values) and name not in fixed]
    else:
        chosen = [name for name in known if name in knobs or name in values]
    axes = {name: _axis(base, known[name], values.get(name)) for name in chosen}
    if not axes:
        names = ", ".join(tunable())
        raise BadInput("policy to tune", base.label, "a rule with knobs to sweep", f"rules with such knobs: {names}")
    return axes


def _axis(base: Policy, knob: Knob, values: Sequence[Any] | None) -> tuple[Any, ...]:
    tried = knob.sweep or knob.choices if values is None else values
    if not tried:
        raise BadInput(f"{base.rule.name}:{knob.name}", (), "values to try, because the rule publishes no sweep")
    axis = list(dict.fromkeys([*(knob.read(base.rule.name, value) for value in tried), base.values[knob.name]]))
    if all(isinstance(value, int | float) for value in numbers_of(axis)):
        axis.sort(key=lambda value: (value is not None, value or 0))
    return tuple(axis)


def _fixed(text: str) -> set[str]:
    """Names of the knobs that a policy text settles."""
    return {part.partition("=")[0] for part in text.partition(":")[2].split(",") if part}


def numbers_of(values: Sequence[Any]) -> tuple[Any, ...]:
    """The values of a sweep but ``none``, which is no number and comes before them."""
    return tuple(value for value in values if value is not None)


def goes_on(values: Sequence[Any]) -> bool:
    """True if a sweep is of two numbers or more, ``none`` aside, so that there is a next one.

    Example:
        >>> goes_on((0.5, 1)), goes_on((None, 4, 16)), goes_on((None, 4)), goes_on(("first", "random"))
        (True, True, False, False)
    """
    numbers = numbers_of(values)
    return len(numbers) > 1 and all(isinstance(value, int | float) for value in numbers)


def grown(values: Sequence[Any], further: float, *, upper: bool) -> tuple[Any, ...]:
    """A sweep with one more value past an end.

    Example:
        >>> grown((None, 4, 16), 64, upper=True), grown((None, 4, 16), 1, upper=False)
        ((None, 4, 16, 64), (None, 1, 4, 16))
    """
    numbers = numbers_of(values)
    nothing = (None,) * (len(values) - len(numbers))
    return (*nothing, *numbers, further) if upper else (*nothing, further, *numbers)


def beyond(domain: Domain, values: Sequence[float], *, upper: bool) -> float | None:
    """The next value of a sweep past one of its ends, or None where there is none.

    The step is the sweep's own: the ratio of its last two values, or their difference next to a 0. Where that would
    leave the domain, the value lies halfway to the domain's end.

    Args:
        domain: of the knob.
        values: the sweep, ascending, two values or more.
        upper: past the greatest value; else past the least.

    Example:
        >>> from scheduler.domains import Domain
        >>> beyond(Domain(0), (0.5, 1, 2, 4), upper=True), beyond(Domain(0), (0.5, 1, 2, 4), upper=False)
        (8.0, 0.25)
        >>> beyond(Domain(0, 1), (0.3, 0.6), upper=True), beyond(Domain(0, 1), (0.0, 0.5), upper=False) is None
        (0.8, True)
        >>> beyond(Domain(1, None, integer=True), (2, 16), upper=False)
        1
    """
    last, before = (values[-1], values[-2]) if upper else (values[0], values[1])
    further = last * last / before if last > 0 and before > 0 else 2 * last - before
    further = _rounded(domain, further)
    bound = domain.high if upper else domain.low
    if bound is not None and not domain.contains(further):
        halfway = (last + bound) / 2
        further = (math.ceil if upper else math.floor)(halfway) if domain.integer else _rounded(domain, halfway)
    past = further > last if upper else further < last
    return further if past and domain.contains(further) else None


def _rounded(domain: Domain, value: float) -> float:
    """A value that reads well: a whole number, or four significant digits."""
    return round(value) if domain.integer else float(f"{value:.4g}")
