"""Whether a cluster can serve many prefix classes without misses and with equal work: a routing, or what prevents it.

The question is a flow from classes to the instances that hold them (claim ``coverage_law_many_classes``). It is
answered by augmenting paths in whole units, so the answer is exact, and it carries its own proof: the routing, or a set
of classes whose share is greater than the share of the instances that hold one of them. Both are checked before they
are returned.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from scheduler import formulas
from scheduler.domains import Domain
from scheduler.errors import BadInput
from scheduler.ops import SCALAR, as_written

_SHARE = Domain(0, 1, unit="share of the traffic", typical_high=1)
#: Placing the copies takes time in proportion to copies times instances: a second or two at this size.
_INSTANCES = Domain(1, 4096, integer=True, unit="instance")


@dataclass(frozen=True, slots=True)
class Overloaded:
    """A set of classes that the instances cannot serve without misses and with equal work.

    Args:
        classes: their names.
        holders: every instance that holds one of them, sorted.
        share: their part of the traffic.
        bound: the holders' part of the instances; less than the share.
    """

    classes: tuple[str, ...]
    holders: tuple[int, ...]
    share: Fraction
    bound: Fraction


@dataclass(frozen=True, slots=True)
class Coverage:
    """The answer of :func:`coverage`.

    Args:
        feasible: True if a routing without misses and with equal work exists.
        routing: for each class, what part of its requests goes to which holder; the parts add up to 1 if feasible, else
            to what can be served.
        headroom: how much the share of each class alone could grow at the expense of traffic that belongs to no class;
            empty if not feasible.
        slack: least headroom; if not feasible, minus the share of the traffic that must miss or overload an instance.
        overloaded: the greatest overload among all sets of classes, or None if feasible.
        copies: further copies that make it feasible, as (class, instance); few, not always the fewest.
        copies_at_least: no fewer copies can do; equal to ``len(copies)`` for one class.
    """

    feasible: bool
    routing: Mapping[str, Mapping[int, Fraction]]
    headroom: Mapping[str, Fraction]
    slack: Fraction
    overloaded: Overloaded | None
    copies: tuple[tuple[str, int], ...]
    copies_at_least: int

    def __str__(self) -> str:
        rows = [f"{name}: {_parts(parts)}" for name, parts in self.routing.items()]
        if self.overloaded is None:
            return "\n".join(["feasible", *rows, f"slack: {self.slack}"])
        found = self.overloaded
        rows.append(f"overloaded: {', '.join(found.classes)} with {found.share} of the traffic on {found.bound}")
        plan = ", ".join(f"{name} to {i}" for name, i in self.copies)
        return "\n".join(["not feasible", *rows, f"copies (at least {self.copies_at_least}): {plan}"])

    def latex(self) -> str:
        """The routing for the book, one row a class; or the violated condition."""
        if self.overloaded is not None:
            return rf"x_C = {_fraction(self.overloaded.share)} > {_fraction(self.overloaded.bound)} = |M_C|/N"
        lines = [
            rf"\text{{{_escaped(name)}}} & "
            + r",\; ".join(rf"{i}\colon {_fraction(part)}" for i, part in parts.items())
            for name, parts in self.routing.items()
        ]
        return "\\begin{array}{ll}\n" + " \\\\\n".join(lines) + "\n\\end{array}"


def _escaped(name: str) -> str:
    return re.sub(r"([_%&#$])", r"\\\1", name)


def _parts(parts: Mapping[int, Fraction]) -> str:
    return ", ".join(f"{part} to {i}" for i, part in parts.items()) or "nowhere"


def _fraction(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else rf"\tfrac{{{value.numerator}}}{{{value.denominator}}}"


class _Flow:
    """Units of traffic from classes to instances; one instance takes ``room`` units."""

    def __init__(self, supply: list[int], holders: list[tuple[int, ...]], spare: list[int]) -> None:
        self.unsent, self.holders, self.spare = supply, holders, spare
        self.sent: list[dict[int, int]] = [dict.fromkeys(held, 0) for held in holders]
        self.served: list[set[int]] = [set() for _ in spare]

    def copy(self) -> _Flow:
        """The same state, to be changed apart."""
        other = _Flow(list(self.unsent), self.holders, list(self.spare))
        other.sent = [dict(row) for row in self.sent]
        other.served = [set(found) for found in self.served]
        return other

    def send_all(self) -> None:
        """Send along shortest augmenting paths until there is none."""
        while path := self._path([c for c, rest in enumerate(self.unsent) if rest]):
            self._push(path)

    def reached(self, starts: Iterable[int]) -> tuple[dict[int, int], dict[int, int], int | None]:
        """Classes and instances within reach, each with where it was reached from; an instance with room ends it."""
        from_instance: dict[int, int] = dict.fromkeys(starts, -1)
        from_class: dict[int, int] = {}
        queue = deque(from_instance)
        while queue:
            c = queue.popleft()
            for i in self.holders[c]:
                if i in from_class:
                    continue
                from_class[i] = c
                if self.spare[i]:
                    return from_instance, from_class, i
                for other in self.served[i]:
                    if other not in from_instance:
                        from_instance[other] = i
                        queue.append(other)
        return from_instance, from_class, None

    def _path(self, starts: list[int]) -> list[tuple[int, int]]:
        """Pairs (class, instance) from the end of a path to its start; see :meth:`_push`."""
        from_instance, from_class, end = self.reached(starts)
        path: list[tuple[int, int]] = []
        while end is not None and end != -1:
            c = from_class[end]
            path.append((c, end))
            end = from_instance[c]
        return path

    def _push(self, path: list[tuple[int, int]]) -> None:
        first, end = path[-1][0], path[0][1]
        # A class that takes the next instance gives up the one it was reached from, as much as it sends there.
        given_up = [(c, path[k + 1][1]) for k, (c, _) in enumerate(path[:-1])]
        units = min([self.unsent[first], self.spare[end], *(self.sent[c][i] for c, i in given_up)])
        self.unsent[first] -= units
        self.spare[end] -= units
        for (c, i), change in [*((pair, units) for pair in path), *((pair, -units) for pair in given_up)]:
            self.sent[c][i] += change
            (self.served[i].add if self.sent[c][i] else self.served[i].discard)(c)


def coverage(classes: Mapping[str, tuple[Any, Collection[int]]], instance_count: int) -> Coverage:
    """Find a routing without misses and with equal work on all instances, or the set of classes that prevents it.

    Traffic that belongs to none of the classes may go anywhere and fills up what they leave.

    Args:
        classes: share and holders of each class by name. Shares are parts of the traffic, better of the work
            (:func:`scheduler.formulas.work_share`), in [0, 1], together at most 1; a float means the decimal that
            Python prints for it, counts go as ``Fraction(count, window)``. Holders are indices of instances.
        instance_count: N.

    Raises:
        BadInput: naming the class and the field, or if the shares add up to more than 1.

    Example:
        >>> found = coverage({"a": (0.5, [0]), "b": (0.5, [0])}, 2)
        >>> found.feasible, found.overloaded.classes, found.overloaded.bound, found.copies
        (False, ('a', 'b'), Fraction(1, 2), (('b', 1),))
        >>> coverage({"a": (0.5, [0]), "b": (0.25, [0, 1])}, 2).routing["b"]
        {1: Fraction(1, 1)}

    Source: claim ``coverage_law_many_classes``.
    """
    instances = int(_INSTANCES.check("instance_count", instance_count))
    shares, holders = _checked(classes, instances)
    names = list(classes)
    units = math.lcm(instances, *(share.denominator for share in shares))
    supply = [int(share * units) for share in shares]
    flow = _Flow(supply, holders, [units // instances] * instances)
    flow.send_all()
    routing = {
        name: {i: Fraction(sent, units) / share for i, sent in flow.sent[c].items() if sent}
        for c, (name, share) in enumerate(zip(names, shares, strict=True))
    }
    for i in range(instances):
        taken = sum(share * routing[name].get(i, 0) for name, share in zip(names, shares, strict=True))
        assert taken <= Fraction(1, instances), f"instance {i} takes more than its part"
    missing = Fraction(sum(flow.unsent), units)
    if not missing:
        assert all(sum(routing[name].values()) == bool(share) for name, share in zip(names, shares, strict=True))
        room = {name: Fraction(_more(flow, c), units) for c, name in enumerate(names)}
        return Coverage(True, routing, room, min(room.values()), None, (), 0)
    reached, _, _ = flow.reached([c for c, rest in enumerate(flow.unsent) if rest])
    overloaded = _overloaded(sorted(reached), names, shares, holders, instances)
    assert overloaded.share - overloaded.bound == missing, "the set must be overloaded by all that was not sent"
    singly = sum(
        formulas.copies_missing(SCALAR, share, len(held), instances)
        for share, held in zip(shares, holders, strict=True)
    )
    at_least = max(singly, math.ceil(missing * instances))
    return Coverage(False, routing, {}, -missing, overloaded, _copies(flow, names), at_least)


def _checked(classes: Mapping[str, Any], instances: int) -> tuple[list[Fraction], list[tuple[int, ...]]]:
    if not isinstance(classes, Mapping):
        raise BadInput("classes", classes, "a mapping from the name of a class to (share, holders)")
    if not classes:
        raise BadInput("classes", {}, "at least one class")
    shares, holders = [], []
    for name, entry in classes.items():
        if not isinstance(name, str):
            raise BadInput("classes", name, "names of classes that are texts")
        if not isinstance(entry, tuple | list) or len(entry) != 2:
            raise BadInput(f"classes[{name!r}]", entry, "a pair of share and holders")
        if not isinstance(entry[1], Collection) or isinstance(entry[1], str):
            raise BadInput(f"classes[{name!r}].holders", entry[1], "a collection of indices of instances")
        shares.append(as_written(_SHARE.check(f"classes[{name!r}].share", entry[0])))
        index = Domain(0, instances - 1, integer=True, unit="index of an instance")
        held = [int(index.check(f"classes[{name!r}].holders", i)) for i in entry[1]]
        holders.append(tuple(sorted(set(held))))
    if sum(shares) > 1:
        hint = "give counts as Fraction(count, window); a request of two classes counts once"
        raise BadInput("classes", float(sum(shares)), "shares that add up to at most 1", hint)
    return shares, holders


def _more(flow: _Flow, c: int) -> int:
    """How many units more one class could send while all others send theirs."""
    apart = flow.copy()
    everything = sum(apart.spare)
    apart.unsent[c] = everything
    apart.send_all()
    return everything - apart.unsent[c]


def _overloaded(
    members: list[int], names: list[str], shares: list[Fraction], holders: list[tuple[int, ...]], instances: int
) -> Overloaded:
    union = tuple(sorted({i for c in members for i in holders[c]}))
    share = sum((shares[c] for c in members), Fraction(0))
    assert not formulas.covered(share, len(union), instances), "the witness must violate the coverage law"
    return Overloaded(tuple(names[c] for c in members), union, share, Fraction(len(union), instances))


def _copies(flow: _Flow, names: list[str]) -> tuple[tuple[str, int], ...]:
    """Copies for what could not be sent: the greatest rest first, each to where most room is."""
    spare = dict(enumerate(flow.spare))
    found = []
    for rest, c in sorted(((rest, c) for c, rest in enumerate(flow.unsent) if rest), key=lambda x: (-x[0], x[1])):
        while rest:
            i = max(spare, key=lambda index: (spare[index], -index))
            units = min(rest, spare[i])
            assert units, "shares add up to at most 1, so there is room"
            rest -= units
            spare[i] -= units
            found.append((names[c], i))
    return tuple(found)
