"""Many classes: a routing without misses and with equal work exists exactly if every set of classes is covered.

Shares add up to 1 (what belongs to no class is a class that every instance holds). A routing says how much of class c
goes to instance i, ``f_ci >= 0``, only to holders; each instance takes 1/N in total, so ``sum_c f_ci = 1/N``.

Both directions for any number of classes and instances, by running totals over the cells ``(c, i)``:

- *Necessary.* What the classes of a set send goes to instances that hold one of them, which take 1/N each.
- *Sufficient*, for shares that are fractions. Start with nothing sent and send along augmenting paths, in units of the
  common denominator. Each sends at least one unit more, so this ends. Then either all is sent, and that is the routing;
  or the classes that can be reached from an unsent rest, along arcs to any holder and back from an instance to a class
  it serves, are a set that is not covered.

Three steps are left to the reader: that a finite sum may be taken by rows or by columns; that what is reached is
reached by a path that visits no class and no instance twice, so that each cell changes once; and that a reached
instance with room ends such a path, so that without an augmenting path all reached instances are full. The last
theorems need none of this: they ask for the routing itself, for up to three classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import combinations
from typing import Any

import z3

from proofs.theorem import Theorem, theorem
from scheduler import formulas

#: Classes of the bounded check.
CLASSES = (0, 1, 2)


def _cell() -> tuple[Any, Any, Any, Any, Any]:
    """Running totals before a cell, what the cell carries, and the totals after it for given memberships."""
    sent, received, flow = z3.Reals("sent received flow")
    of_set, of_union = z3.Bools("class_in_set instance_in_union")
    return flow, of_set, of_union, (sent, received), (_add(sent, of_set, flow), _add(received, of_union, flow))


def _add(total: Any, counts: Any, flow: Any) -> Any:
    return total + z3.If(counts, flow, 0)


@theorem
def holders_receive_what_a_set_of_classes_sends() -> Theorem:
    """Step over one cell: the total received by the union of holders stays no less than the total sent by the set.

    Claim: coverage_law_many_classes.
    """
    flow, of_set, of_union, (sent, received), (sent_after, received_after) = _cell()
    held = z3.Bool("instance_holds_class")
    return Theorem(
        domain=(z3.Implies(z3.And(of_set, held), of_union), flow >= 0),
        given={
            "induction: no more was sent than received": sent <= received,
            "no request misses": z3.Implies(flow > 0, held),
        },
        claim=sent_after <= received_after,
        faults={"more than is sent": sent_after + flow <= received_after, "equal": sent_after == received_after},
        reached={"equal": z3.And(sent_after == received_after, flow > 0, of_set)},
    )


@theorem
def a_routing_covers_every_set_of_classes() -> Theorem:
    """The end of the sum: the whole share of the set is sent, and its holders take 1/N each.

    Claim: coverage_law_many_classes.
    """
    share, union, instances, sent, received = z3.Reals("share union instances sent received")
    return Theorem(
        domain=(instances >= 1, union >= 0),
        given={
            "no request misses": sent <= received,
            "all of the set is sent": share == sent,
            "equal work": received == union / instances,
        },
        claim=formulas.covered(share, union, instances),
        faults={
            "strictly": share * instances < union,
            "one holder to spare": formulas.covered(share, union - 1, instances),
        },
        reached={"full": share * instances == union},
    )


@theorem
def reached_instances_receive_from_reached_classes_alone() -> Theorem:
    """Step over one cell: without an augmenting path both totals over the reached part stay equal.

    Claim: coverage_law_many_classes.
    """
    flow, of_set, of_union, (sent, received), (sent_after, received_after) = _cell()
    held = z3.Bool("instance_holds_class")
    return Theorem(
        domain=(flow >= 0, z3.Implies(flow > 0, held)),
        given={
            "induction: as much was sent as received": sent == received,
            "holders of a reached class are reached": z3.Implies(z3.And(of_set, held), of_union),
            "classes that a reached instance serves are reached": z3.Implies(z3.And(of_union, flow > 0), of_set),
        },
        claim=sent_after == received_after,
        faults={
            "less is sent": sent_after < received_after,
            "a cell of flow": z3.Implies(flow > 0, sent_after == received_after + flow),
        },
        reached={"something flows": z3.And(of_set, of_union, flow > 0)},
    )


@theorem
def without_an_augmenting_path_the_reached_classes_are_not_covered() -> Theorem:
    """The end of the sum: all reached instances are full, a rest is unsent, so the reached classes are too many.

    Claim: coverage_law_many_classes.
    """
    share, union, reached, instances, sent, rest = z3.Reals("share union reached instances sent rest")
    return Theorem(
        domain=(instances >= 1, union >= 0, share == sent + rest),
        given={
            "a rest is unsent": rest > 0,
            "reached instances are full": sent == reached / instances,
            "their holders are reached": union <= reached,
        },
        claim=z3.Not(formulas.covered(share, union, instances)),
        faults={
            "a whole instance too many": z3.Not(formulas.covered(share, union + 1, instances)),
            "without counting the rest": z3.Not(formulas.covered(sent, union, instances)),
        },
        reached={"by little": z3.And(share * instances < union + z3.Q(1, 100))},
    )


@theorem
def augmenting_ends() -> Theorem:
    """In whole units each augmentation sends at least one more, and no more than all is ever sent.

    Claim: coverage_law_many_classes.
    """
    sent, more, everything = (z3.ToReal(z3.Int(name)) for name in ("sent", "more", "everything"))
    left = everything - sent
    return Theorem(
        given={"something is sent": more > 0, "no more than all": sent + more <= everything},
        claim=z3.And(left - more >= 0, left - more <= left - 1),
        faults={"two units": left - more <= left - 2, "nothing is left": left - more < 0},
        reached={"one unit": left - more == left - 1},
    )


@theorem
def sending_along_a_path_keeps_a_routing() -> Theorem:
    """The path sends ``more`` from class to instance on each arc forth and takes it back on each arc back.

    Each class and each instance between the ends has one arc of each kind, so its total stays; the class at the one end
    sends more, within its share, and the instance at the other receives more, within its part.

    Claim: coverage_law_many_classes.
    """
    more, forth, back, sent, share, received = z3.Reals("more forth back sent share received")
    instances = z3.Real("instances")
    part = 1 / instances
    return Theorem(
        domain=(instances >= 1, more >= 0, forth >= 0),
        given={
            "no more than an arc back carries": more <= back,
            "no more than is unsent": sent + more <= share,
            "no more than there is room": more <= part - received,
        },
        claim=z3.And(
            forth + more >= 0,
            back - more >= 0,
            (forth + more) + (back - more) == forth + back,
            sent + more <= share,
            received + more <= part,
        ),
        faults={
            "only sent, nothing taken back": (forth + more) + back == forth + back,
            "twice as much": z3.And(back - 2 * more >= 0, received + 2 * more <= part),
        },
        reached={"the instance is full": z3.And(received + more == part, more > 0)},
    )


@theorem
def a_path_carries_at_least_one_unit() -> Theorem:
    """Step over the arcs: in whole units, what the path can carry stays at least one unit.

    The first is the unsent rest of the class at its beginning, the last the room of the instance at its end.

    Claim: coverage_law_many_classes.
    """
    so_far, arc = (z3.ToReal(z3.Int(name)) for name in ("so_far", "arc"))
    bottleneck = z3.If(so_far <= arc, so_far, arc)
    return Theorem(
        given={"induction: the path so far carries a unit": so_far >= 1, "the arc can carry something": arc > 0},
        claim=bottleneck >= 1,
        faults={"two units": bottleneck >= 2, "as much as before": bottleneck >= so_far},
        reached={"one unit": z3.And(bottleneck == 1, so_far == 3)},
    )


@theorem
def when_all_is_sent_every_instance_takes_its_part() -> Theorem:
    """Step over the instances: the room left never shrinks, so if there is none in all, there is none on any.

    All shares add up to 1, as the parts do; so once all is sent the room left on all instances together is 0.

    Claim: coverage_law_many_classes.
    """
    room, received, instances = z3.Reals("room received instances")
    part = 1 / instances
    after = room + (part - received)
    return Theorem(
        domain=(instances >= 1,),
        given={"induction: the room so far is not negative": room >= 0, "no more than its part": received <= part},
        claim=z3.And(after >= room, z3.Implies(after <= 0, received == part)),
        faults={"full in any case": received == part, "nothing is added": after <= room},
        reached={"full": z3.And(received == part, after == 0)},
    )


def _groups() -> tuple[tuple[int, ...], ...]:
    """Every set of classes that an instance may hold, the empty one left out: it never serves a class."""
    return tuple(chosen for size in range(1, len(CLASSES) + 1) for chosen in combinations(CLASSES, size))


def _every_set_is_covered(
    work: Mapping[int, Any], sizes: Mapping[tuple[int, ...], Any], sets: Iterable[tuple[int, ...]]
) -> Any:
    unions = {chosen: z3.Sum([size for held, size in sizes.items() if set(held) & set(chosen)]) for chosen in sets}
    return z3.And([formulas.covered(z3.Sum([work[c] for c in chosen]), union, 1) for chosen, union in unions.items()])


def _small() -> tuple[tuple[Any, ...], Any, Callable[[Iterable[tuple[int, ...]]], Any]]:
    """Three classes: what holds by construction, that there is a routing, and that each of some sets is covered.

    Instances that hold the same classes form a group of any size; within a group work is spread evenly. A class may
    have the share 0, so fewer classes are included. Work is counted in instances: each takes 1, filled up with traffic
    that belongs to no class.
    """
    work = {c: z3.Real(f"work_{c}") for c in CLASSES}
    sizes = {held: z3.Real("group_" + "".join(map(str, held))) for held in _groups()}
    flows = {(c, held): z3.Real(f"flow_{c}_in_{''.join(map(str, held))}") for held in _groups() for c in held}
    routed = z3.And(
        *(flow >= 0 for flow in flows.values()),
        *(z3.Sum([flow for (own, _), flow in flows.items() if own == c]) == work[c] for c in CLASSES),
        *(z3.Sum([flows[c, held] for c in held]) <= sizes[held] for held in _groups()),
    )
    domain = tuple(x >= 0 for x in (*work.values(), *sizes.values()))
    return domain, z3.Exists(list(flows.values()), routed), partial(_every_set_is_covered, work, sizes)


@theorem
def three_classes_on_any_number_of_instances() -> Theorem:
    """The whole statement at once: with every set covered there is a routing, and with a routing every set is covered.

    Claim: small_clusters_route_what_they_cover.
    """
    domain, can, covered = _small()
    singles, pairs = (covered(combinations(CLASSES, size)) for size in (1, 2))
    return Theorem(
        domain=domain,
        claim=covered(_groups()) == can,
        faults={"single classes are enough": singles == can, "pairs are enough": z3.And(singles, pairs) == can},
        bound="up to 3 classes, any number of instances",
    )


@theorem
def single_classes_do_not_suffice() -> Theorem:
    """False: two classes with one holder in common, each covered, leave the other instance with nothing.

    Claim: single_class_coverage_suffices.
    """
    domain, can, covered = _small()
    return Theorem(
        domain=domain,
        given={"each class is covered": covered(combinations(CLASSES, 1))},
        claim=can,
        refuted=True,
    )
