"""What a rule is: data over Ops, with its knobs, its source and (for some) a memory that is handed in and out.

A rule says, for one instance: is it ``eligible``, and what is its ``key`` (a number, or a tuple compared in order; the
least key wins). What it needs to know of the whole cluster it computes once per decision in ``aggregates``. ``pick``
says what happens among equal keys, or that keys are weights to draw from. If no instance is eligible, all are: a filter
never empties the candidate set.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType, SimpleNamespace
from typing import Any

from scheduler.domains import Domain
from scheduler.errors import BadInput, unknown_name
from scheduler.indicators import Indicators
from scheduler.ops import Number, Ops, Over
from scheduler.state import Request

#: The values of a rule's knobs, by attribute.
Knobs = Any
#: What ``aggregates`` returned.
Aggregates = Any


class Pick(enum.Enum):
    """How one instance is taken once keys are known."""

    FIRST = "first"  # least key, lowest index among ties
    RANDOM = "random"  # least key, uniform among ties
    WEIGHTED = "weighted"  # the key is a weight >= 0: draw in proportion; all zero: the first
    SOFTMAX = "softmax"  # p ~ exp(-normalised key / temperature); temperature 0: least key, uniform among ties


@dataclass(frozen=True, slots=True)
class Knob:
    """A number or a word that changes a rule.

    Args:
        name: as in ``--policy NAME:knob=value``.
        default: the published default.
        meaning: one sentence with unit.
        domain: allowed numbers, or None if ``choices`` is given.
        choices: allowed words.
        sweep: values that ``argprod tune`` tries.
        optional: True if the knob may be None (written ``none``), meaning "derive it".
        derived_from: optional columns that are read while the knob is None.
    """

    name: str
    default: Any
    meaning: str
    domain: Domain | None = None
    choices: tuple[str, ...] = ()
    sweep: tuple[Any, ...] = ()
    optional: bool = False
    derived_from: tuple[str, ...] = ()

    def read(self, rule: str, value: Any) -> Any:
        """Convert a word or number to the knob's value.

        Raises:
            BadInput: naming rule, knob, value and domain.
        """
        name = f"{rule}:{self.name}"
        if self.optional and (value is None or value == "none"):
            return None
        if self.choices:
            if value not in self.choices:
                raise unknown_name(name, str(value), self.choices)
            return value
        assert self.domain is not None
        if isinstance(value, str):
            try:
                value = int(value) if self.domain.integer else float(value)
            except ValueError:
                raise BadInput(name, value, self.domain.describe()) from None
        return self.domain.check(name, value)


@dataclass(frozen=True, slots=True)
class Memory:
    """What a rule remembers between decisions; a value that goes in and comes out, never a global.

    Args:
        columns: the recalled columns and their domains.
        start: ``start(instance_count, knobs)`` gives the first memory.
        recall: ``recall(memory, request, view, knobs, rng)`` gives the recalled columns, one entry an instance.
        remember: ``remember(memory, request, view, chosen, knobs)`` gives the next memory.
        kept: whether anything is remembered at all; False if the columns follow from the request alone, so that a rule
            can be asked at any moment what it would do.
    """

    columns: Mapping[str, Domain]
    start: Callable[[int, Knobs], Any]
    recall: Callable[[Any, Request, Any, Knobs, random.Random], Mapping[str, Sequence[Number]]]
    remember: Callable[[Any, Request, Any, int, Knobs], Any]
    kept: bool = True


def no_aggregates(_ops: Ops, _over: Over, _knobs: Knobs) -> Aggregates:
    """For rules that look at one instance at a time."""
    return None


@dataclass(frozen=True, slots=True)
class Rule:
    """A routing rule as data.

    Args:
        name: as in ``--policy``.
        summary: one line for tables.
        source: where the rule is written down in at most 60 characters: paper, file or pull request with its
            heading in docs/sources.md, or the claim it comes from.
        key: ``key(ops, indicators, aggregates, knobs)``; least wins (for ``Pick.WEIGHTED``: a weight).
        aggregates: what it needs of the whole cluster, computed once a decision.
        eligible: filter, or None.
        pick: what happens among ties.
        knobs: with published defaults.
        needs: optional columns it reads whatever its knobs are; see ``Policy.needs``.
        memory: what it remembers, or None.
        readable: True if key, eligible and aggregates are plain Ops arithmetic that solvers can read.
    """

    name: str
    summary: str
    source: str
    key: Callable[[Ops, Indicators, Aggregates, Knobs], Any]
    aggregates: Callable[[Ops, Over, Knobs], Aggregates] = no_aggregates
    eligible: Callable[[Ops, Indicators, Aggregates, Knobs], Any] | None = None
    pick: Pick = Pick.FIRST
    knobs: tuple[Knob, ...] = ()
    needs: tuple[str, ...] = ()
    memory: Memory | None = None
    readable: bool = True

    def all_knobs(self) -> tuple[Knob, ...]:
        """The rule's own knobs and, for rules that take the least key, ``ties``."""
        if self.pick in (Pick.FIRST, Pick.RANDOM):
            ties = Knob("ties", self.pick.value, "which of equal instances is taken", choices=("first", "random"))
            return (*self.knobs, ties)
        return self.knobs

    def with_knobs(self, values: Mapping[str, Any] | None = None) -> Policy:
        """The rule with its defaults, changed by ``values``.

        Raises:
            BadInput: for an unknown knob (with the nearest names) or a value outside its domain.
        """
        known = {knob.name: knob for knob in self.all_knobs()}
        settled = {name: knob.default for name, knob in known.items()}
        for name, value in (values or {}).items():
            if name not in known:
                raise unknown_name(f"knob of {self.name}", name, known)
            settled[name] = known[name].read(self.name, value)
        return Policy(self, MappingProxyType(settled))


@dataclass(frozen=True, slots=True)
class Policy:
    """A rule with its knobs settled: what a scheduler runs.

    Args:
        rule: the rule.
        values: the knobs by name.
    """

    rule: Rule
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def knobs(self) -> Knobs:
        """The knobs by attribute."""
        return SimpleNamespace(**self.values)

    @property
    def needs(self) -> tuple[str, ...]:
        """The optional columns that the rule reads with these knobs."""
        derived = (knob.derived_from for knob in self.rule.knobs if self.values[knob.name] is None)
        return tuple(dict.fromkeys((*self.rule.needs, *(name for names in derived for name in names))))

    @property
    def pick(self) -> Pick:
        """How one instance is taken, the ``ties`` knob considered."""
        return Pick(self.values["ties"]) if "ties" in self.values else self.rule.pick

    @property
    def samples(self) -> bool:
        """True if a worse key may be taken too: the choice is drawn by weight, not made among the best."""
        return self.pick is Pick.WEIGHTED or (self.pick is Pick.SOFTMAX and self.values["temperature"] > 0)

    @property
    def label(self) -> str:
        """Name with the knobs that differ from their defaults, as the command line writes it.

        Example:
            >>> from scheduler.policies.catalogue import policy
            >>> policy("lmetric:ties=random").label
            'lmetric:ties=random'
        """
        defaults = {knob.name: knob.default for knob in self.rule.all_knobs()}
        changed = [f"{name}={value}" for name, value in self.values.items() if value != defaults[name]]
        return self.rule.name + (":" + ",".join(changed) if changed else "")
