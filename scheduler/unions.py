"""Classes that are covered each but not together: Hall's condition on the heaviest classes of the tree.

Work spread without misses over N instances needs, for every set of classes, shares that sum to at most the share of
instances that hold any of them (claim ``coverage_law_many_classes``). Each request belongs to its deepest heavy class,
so classes exclude each other and their shares add up. Unions of the holders of one or two classes are tested, with all
classes whose holders lie within; larger ones are found only through these. (Tested and rejected: the worst set of all
by maximum flow. Its error budget is 2^N sets, which costs N ln 2 of evidence and with it the speed of the alarm.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from heapq import nlargest
from itertools import combinations_with_replacement

from scheduler.alarm import alarms, evidence_nats, needed_nats
from scheduler.monitor_config import MonitorConfig
from scheduler.prefix_tree import Node, PrefixTree
from scheduler.traffic import ClassTraffic

#: Heavy classes that are looked at, the heaviest.
CLASSES_MAX = 32


@dataclass(slots=True, eq=False)
class Heavy:
    """A heavy class without the heavy classes within it.

    Args:
        node: the class.
        mask: bitmask of the slots that hold it.
        count, recent, residents: its requests in the window, in the last quarter of it, and in flight.
    """

    node: Node
    mask: int
    count: int
    recent: int
    residents: int


@dataclass(slots=True, eq=False)
class Joint:
    """Classes in a common alarm.

    Args:
        name: of the union; it stays while classes of little weight come and go.
        mask: bitmask of the slots that hold any of them; grows as copies are made.
        share: of the requests, over ``window``.
        window: [request].
        work_share: of the residents; None without any.
        residents: of all classes there are, over which the work share was counted [request].
        streak: requests in a row for which the rule took a holder.
    """

    name: str
    mask: int
    share: float
    window: int
    work_share: float | None
    residents: int
    streak: int = 0

    def traffic(self, holders: tuple[int, ...], prefix_tokens: int) -> ClassTraffic:
        """It as one class, for a request whose own prefix has so many tokens."""
        return ClassTraffic(
            name=self.name,
            share=self.share,
            work_share=self.work_share,
            window_requests=self.window,
            resident_requests=self.residents,
            holders=holders,
            prefix_tokens=prefix_tokens,
            streak=self.streak,
            applies=True,
        )


def disjoint_classes(
    tree: PrefixTree, holders_of: Callable[[int], int], active_mask: int, least: float, config: MonitorConfig
) -> list[Heavy]:
    """The heavy classes that some active instance holds, each without those within it.

    Args:
        tree: the prompts.
        holders_of: bitmask of the slots that hold the block of a key.
        active_mask: slots that requests can go to.
        least: what counts as heavy [request].
        config: see :class:`MonitorConfig`.
    """
    found = []
    stack = _heavy(tree.root, least)
    while stack:
        node = stack.pop()
        mask = holders_of(node.last) & active_mask
        if mask:
            heavy = _heavy(node, least)
            stack.extend(heavy)
            found.append(_without(tree, node, heavy, mask, config))
    return [each for each in found if each.count or each.residents]


def covered_classes(tree: PrefixTree, seen: Mapping[Node, int], least: float, config: MonitorConfig) -> list[Heavy]:
    """The heavy classes among those that were seen, each without those within it.

    Args:
        tree, config: as for :func:`disjoint_classes`.
        seen: classes that could be in a common alarm, with the mask of those that hold them.
        least: what counts as heavy [request].
    """
    heavy = {node for node in seen if node.parent is not None and len(node.arrivals) >= least}
    within: dict[Node, list[Node]] = {}
    for node in heavy:
        up = node.parent
        while up is not None and up not in heavy:  # what lies between was not seen, or is covered
            up = up.parent
        if up is not None:
            within.setdefault(up, []).append(node)
    heaviest = nlargest(CLASSES_MAX, (node for node in seen if node in heavy), key=lambda node: len(node.arrivals))
    return [_without(tree, node, within.get(node, []), seen[node], config) for node in heaviest]


def _heavy(node: Node, least: float) -> list[Node]:
    return [child for child in node.children.values() if len(child.arrivals) >= least]


def _without(tree: PrefixTree, node: Node, heavy: list[Node], mask: int, config: MonitorConfig) -> Heavy:
    since = tree.number - max(1, config.window_max // 4)
    return Heavy(
        node,
        mask,
        len(node.arrivals) - sum(len(child.arrivals) for child in heavy),
        node.count_since(since) - sum(child.count_since(since) for child in heavy),
        node.residents - sum(child.residents for child in heavy),
    )


def joint_alarms(
    classes: list[Heavy], number: int, residents: int, active_mask: int, config: MonitorConfig
) -> dict[Node, Joint]:
    """The classes in a common alarm, each with the union that speaks loudest.

    Args:
        classes: see :func:`covered_classes`.
        number: requests so far.
        residents: requests in flight.
        active_mask: slots that requests can go to.
        config: see :class:`MonitorConfig`.
    """
    by_mask: dict[int, list[Heavy]] = {}
    for each in classes:
        by_mask.setdefault(each.mask, []).append(each)
    sums = {
        mask: (sum(e.count for e in same), sum(e.recent for e in same), sum(e.residents for e in same))
        for mask, same in by_mask.items()
    }
    masks = nlargest(config.union_masks, sums, key=lambda mask: sums[mask][0])
    totals = (min(number, config.window_max), min(number, max(1, config.window_max // 4)), residents)
    nats = needed_nats(config.error / 2, config.unions, config.union_tests)
    instances = active_mask.bit_count()
    loud = []
    for union in sorted({a | b for a, b in combinations_with_replacement(masks, 2)}):
        count = recent = flying = 0
        for mask in masks:
            if not mask & ~union:
                more = sums[mask]
                count, recent, flying = count + more[0], recent + more[1], flying + more[2]
        holders, evidence = union.bit_count(), 0.0
        for seen, total in zip((count, recent, flying), totals, strict=True):
            # What decides is asked first, because it is seldom so.
            if seen * instances > holders * total and alarms(
                seen, total, holders, instances, nats, config.imbalance_allowed
            ):
                evidence = max(evidence, evidence_nats(seen, total, holders, instances))
        if evidence:
            loud.append((evidence, union, (count, recent, flying)))
    found: dict[Node, Joint] = {}
    for _, union, counts in sorted(loud, key=lambda each: (-each[0], each[1])):
        nodes = [each.node for mask in masks if not mask & ~union for each in by_mask[mask]]
        shares = [count / total for count, total in zip(counts[:2], totals[:2], strict=True)]
        place = shares.index(max(shares))
        joint = Joint(
            name=f"prefixes that share holders with {min(node.label() for node in nodes)}",
            mask=union,
            share=shares[place],
            window=totals[place],
            work_share=counts[2] / residents if residents else None,
            residents=residents,
        )
        for node in nodes:
            found.setdefault(node, joint)
    return found
