"""Many classes: a routing without misses and with equal work exists exactly if every set of classes is covered.

Shares add up to 1 (what belongs to no class is a class that every instance holds). A routing says how much of class c
goes to instance i, ``f_ci >= 0``, only to holders; each instance takes 1/N in total, so ``sum_c f_ci = 1/N``.

Both directions for any number of classes and instances, by running totals over the cells ``(c, i)``:

- *Necessary.* What the classes of a set send goes to instances that hold one of them, which take 1/N each.
- *Sufficient*, for shares that are fractions. Start with nothing sent and send along augmenting paths, in units of the
  common denominator. Each sends at least one unit more, so this ends. Then either all is sent, and that is the routing;
  or the classes that can be reached from an unsent rest, along arcs to any holder and back from an instance to a class
  it serves, are a set that is not covered.

That a finite sum may be taken by rows or by columns is used without proof. The last theorem needs none of this: it asks
for the routing itself, for up to three classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


def _groups() -> tuple[tuple[int, ...], ...]:
    """Every set of classes that an instance may hold, the empty one left out: it never serves a class."""
    return tuple(chosen for size in range(1, len(CLASSES) + 1) for chosen in combinations(CLASSES, size))


def _every_set_is_covered(
    work: Mapping[int, Any], sizes: Mapping[tuple[int, ...], Any], sets: Iterable[tuple[int, ...]]
) -> Any:
    unions = {chosen: z3.Sum([size for held, size in sizes.items() if set(held) & set(chosen)]) for chosen in sets}
    return z3.And([formulas.covered(z3.Sum([work[c] for c in chosen]), union, 1) for chosen, union in unions.items()])


@theorem
def three_classes_on_any_number_of_instances() -> Theorem:
    """The whole statement at once: with every set covered there is a routing, and with a routing every set is covered.

    Instances that hold the same classes form a group of any size; within a group work is spread evenly. A class may
    have the share 0, so fewer classes are included. Work is counted in instances: each takes 1, filled up with traffic
    that belongs to no class.

    Claim: small_clusters_route_what_they_cover.
    """
    work = {c: z3.Real(f"work_{c}") for c in CLASSES}
    sizes = {held: z3.Real("group_" + "".join(map(str, held))) for held in _groups()}
    flows = {(c, held): z3.Real(f"flow_{c}_in_{''.join(map(str, held))}") for held in _groups() for c in held}
    routed = z3.And(
        *(flow >= 0 for flow in flows.values()),
        *(z3.Sum([flow for (own, _), flow in flows.items() if own == c]) == work[c] for c in CLASSES),
        *(z3.Sum([flows[c, held] for c in held]) <= sizes[held] for held in _groups()),
    )
    covered = _every_set_is_covered(work, sizes, _groups())
    singles, pairs = (_every_set_is_covered(work, sizes, combinations(CLASSES, size)) for size in (1, 2))
    can = z3.Exists(list(flows.values()), routed)
    return Theorem(
        domain=(*(x >= 0 for x in (*work.values(), *sizes.values())),),
        claim=covered == can,
        faults={"single classes are enough": singles == can, "pairs are enough": z3.And(singles, pairs) == can},
        bound="up to 3 classes, any number of instances",
    )


@theorem
def single_classes_do_not_suffice() -> Theorem:
    """False: two classes with one holder in common, each covered, leave the other instance with nothing.

    On two instances whose first holds both classes a routing would send both shares, 1 in total, to the first.

    Claim: single_class_coverage_suffices.
    """
    first, second = z3.Reals("share_0 share_1")
    return Theorem(
        domain=(first >= 0, second >= 0, first + second == 1),
        given={"each class is covered": z3.And([formulas.covered(share, 1, 2) for share in (first, second)])},
        claim=formulas.covered(first + second, 1, 2),
        refuted=True,
    )
