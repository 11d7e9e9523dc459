"""The hot-spot monitor: which prefix classes are too large for their holders, seen from the stream of requests.

Classes are the nodes of an exact tree of the last prompts (:mod:`scheduler.prefix_tree`). At each request the classes
on its path are tested, by count over dyadic windows and by work over the requests in flight (:mod:`scheduler.alarm`):

- phase 1, alarm: the share is significantly above the coverage, the fluid imbalance is more than allowed, and the hit
  buys the request at hand more imbalance than allowed, so that a block with which every prompt begins never alarms;
- phase 2, confirmation: so many requests of the class in a row for which the rule, too, took a holder. It is counted
  only while the class is in alarm; alone it is true of almost all balanced traffic (claim ``confirmation``).

By work: with independent arrivals and in a steady state the residents of a class are Poisson, so given their total the
split is binomial, as requests in a window are. Real residents come in bursts; what that does is measured, not promised.
Sets of classes that are covered each but not together (Hall) are looked for now and then (:mod:`scheduler.unions`).

No clock is read and nothing is drawn: equal calls give equal answers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from scheduler import formulas
from scheduler.active_slots import ActiveSlots
from scheduler.monitor_config import MonitorConfig
from scheduler.monitor_path import Path
from scheduler.monitor_state import SavedMonitor, as_bytes, from_bytes
from scheduler.prefix_tree import Node, PrefixTree
from scheduler.shares import copies_beside_others, settled_share
from scheduler.traffic import ClassTraffic
from scheduler.unions import Joint, covered_classes, disjoint_classes, joint_alarms

__all__ = ["Monitor", "MonitorConfig", "Path"]

_DEFAULT = MonitorConfig()


class Monitor:
    """Counts requests by prefix class and tells which classes are hot spots.

    For each request call :meth:`arrived`, :meth:`suspects`, :meth:`decided` and :meth:`dispatched` in this order, and
    :meth:`ended` when it has left its instance.

    Args:
        config: see :class:`MonitorConfig`.

    Example (half of all requests on one of four instances):
        >>> monitor, keys = Monitor(), [11, 12, 13]
        >>> for number in range(200):
        ...     path = monitor.arrived(keys if number % 2 else (), 16, 64)
        ...     found = monitor.suspects(path, lambda key: 0b0001, (0, 1, 2, 3))
        ...     monitor.decided(path, 0)
        >>> [(traffic.name, traffic.holders, traffic.streak) for traffic in found]
        [('prefix 48 tokens #00000d', (0,), 36)]
        >>> round(found[0].share, 2)
        0.5

    Source: claims ``detector_fires_in_time``, ``alarm_window``, ``error_budget``, ``confirmation``.
    """

    def __init__(self, config: MonitorConfig = _DEFAULT) -> None:
        self.config = config.checked()
        self._tree = PrefixTree(config.window_max)
        self._residents: dict[Hashable, Node] = {}
        self._covered: dict[Node, int] = {}  # classes that could be in a common alarm, with the mask of their holders
        self._joint: dict[Node, Joint] = {}
        self._next_union = config.union_every
        self._active = ActiveSlots((), config)
        self._sent: Sequence[int] = ()

    def __len__(self) -> int:
        """Nodes of the tree, at most two for each prompt in the window or in flight."""
        return self._tree.size

    def arrived(self, keys: Sequence[int], block_tokens: int, prompt_tokens: int) -> Path:
        """Count a request.

        Args:
            keys: chained keys of the prompt's blocks; only those of full blocks count, none is fine. They must not
                change while the request is known here.
            block_tokens: tokens of a block, >= 1 [token].
            prompt_tokens: length of the prompt [token].

        Returns:
            What the other calls want to know of it.
        """
        blocks = min(len(keys), prompt_tokens // block_tokens)
        tree = self._tree
        return Path(
            tree, tree.add(keys, blocks, block_tokens, prompt_tokens), keys, blocks, block_tokens, prompt_tokens
        )

    def suspects(
        self,
        path: Path,
        holders_of: Callable[[int], int],
        active: Sequence[int],
        sent: Sequence[int] = (),
    ) -> tuple[ClassTraffic, ...]:
        """The classes in alarm to which a request belongs, shortest prefix first; usually none.

        Args:
            path: the request.
            holders_of: bitmask of the slots that hold the block of a key.
            active: slots that requests can go to now, in the order of the view; ``holders`` are positions in it.
            sent: of the last requests, how many went to each slot; empty if nobody counted.
        """
        now = self._active
        self._sent = sent
        if active is not now.slots and active != now.slots:
            now = self._active = ActiveSlots(active, self.config)
        if self._tree.number >= self._next_union:
            self._find_unions()
        node, least, least_work = path.node, now.least, now.least_work
        while len(node.arrivals) < least and node.residents < least_work:
            if node.parent is None:
                break
            node.streak = 0
            node.standing = False
            node = node.parent
        if node.parent is None and not self._joint:
            path.alarmed = []
            return ()
        return self._tested(path, node, holders_of)

    def decided(self, path: Path, chosen_slot: int) -> None:
        """The rule itself, without mitigation, took this slot for the request; phase 2 counts it.

        Args:
            path: the request, after :meth:`suspects`.
            chosen_slot: the slot.
        """
        for subject, mask in path.alarmed:
            subject.streak = subject.streak + 1 if mask >> chosen_slot & 1 else 0

    def dispatched(self, request_id: Hashable, path: Path) -> None:
        """The request is in flight; one that already was under this id no longer is."""
        if request_id in self._residents:
            self.ended(request_id)
        node, tree = path.node, self._tree
        if path.tree is not tree or (node.parent is None and node is not tree.root):  # it has left the window since
            node = tree.find(path.keys, path.blocks, path.block_tokens)
        tree.enter(node)
        self._residents[request_id] = node

    def ended(self, request_id: Hashable) -> None:
        """The request has left its instance; an id that is not known is ignored."""
        node = self._residents.pop(request_id, None)
        if node is not None:
            self._tree.leave(node)

    def left(self, slot: int) -> None:
        """The instance of a slot is gone: it holds nothing any more."""
        bit = 1 << slot
        for joint in self._joint.values():
            joint.mask &= ~bit
        self._covered = {node: mask & ~bit for node, mask in self._covered.items()}

    def snapshot(self, holders_of: Callable[[int], int], active: Sequence[int]) -> tuple[ClassTraffic, ...]:
        """The classes that somebody holds and that are at least 1/(4N) of the window, for reports and ``detect``.

        They exclude each other: a request counts for the deepest of them that it belongs to.

        Args:
            holders_of, active: as for :meth:`suspects`.
        """
        now = self._active = ActiveSlots(active, self.config)
        total, residents = min(self._tree.number, self.config.window_max), len(self._residents)
        return tuple(
            ClassTraffic(
                name=each.node.label(),
                share=each.count / total,
                work_share=each.residents / residents if residents else None,
                window_requests=total,
                resident_requests=residents or None,
                holders=now.positions(each.mask),
                prefix_tokens=each.node.end * each.node.block_tokens,
                streak=each.node.streak,
            )
            for each in disjoint_classes(self._tree, holders_of, now.mask, self._least_heavy(), self.config)
        )

    def save(self) -> bytes:
        """All that is known, for :meth:`restore`.

        Raises:
            BadInput: if a request in flight has an id that is neither a number nor a text.
        """
        saved = SavedMonitor(config=self.config, next_union=self._next_union)
        return as_bytes(saved, self._tree, self._residents, self._covered, self._joint)

    @classmethod
    def restore(cls, data: bytes) -> Monitor:
        """The monitor that was saved: to equal calls it gives equal answers.

        Raises:
            BadInput: if these bytes are not from :meth:`save`.
        """
        saved, tree, residents, covered, joint = from_bytes(data)
        monitor = cls(saved.config)
        monitor._tree, monitor._residents, monitor._next_union = tree, residents, saved.next_union
        monitor._covered, monitor._joint = covered, joint
        return monitor

    def _alarmed(self, node: Node, holders: int) -> bool:
        """The definition of an alarm, by count or by work."""
        arrivals, number, now = node.arrivals, self._tree.number, self._active
        seen = len(arrivals)
        for window, least in now.row(holders):
            if seen >= least and arrivals[-least] > number - window:
                return True
        return now.alarms_by_work(node.residents, len(self._residents), holders)

    def _tested(self, path: Path, node: Node, holders_of: Callable[[int], int]) -> tuple[ClassTraffic, ...]:
        """Look at the classes from a node up, shortest prefix first."""
        found: list[ClassTraffic] = []
        alarmed: list[tuple[Node | Joint, int]] = []
        everywhere, allowed = self._active.mask, self.config.imbalance_allowed
        classes: list[Node] = []
        while node.parent is not None:
            classes.append(node)
            node = node.parent
        outside = path.prompt_tokens  # new tokens on an instance that holds no more than all hold; at first from above
        exact = False
        for each in reversed(classes):
            mask = holders_of(each.last) & everywhere
            inside = path.inside_tokens(each)
            buys = False
            if mask == everywhere:
                outside = inside
            elif mask and formulas.leverage(outside, inside) > allowed:
                buys = True
                if self._alarmed(each, mask.bit_count()) or (each.standing and self._missing(each, mask)):
                    if not exact:
                        outside, exact = path.outside_tokens(holders_of, everywhere), True
                    if formulas.leverage(outside, inside) > allowed:
                        each.standing = self.config.hold
                        found.append(self._traffic(each, mask))
                        alarmed.append((each, mask))
                        self._covered.pop(each, None)
                        continue
                    buys = False
            each.streak = 0
            each.standing = False
            if buys and not found:  # what is within a class in alarm is part of that alarm
                self._covered[each] = mask
            else:
                self._covered.pop(each, None)
        if self._joint:
            self._add_joint(path, holders_of, found, alarmed)
        path.alarmed = alarmed
        return tuple(found)

    def _add_joint(
        self,
        path: Path,
        holders_of: Callable[[int], int],
        found: list[ClassTraffic],
        alarmed: list[tuple[Node | Joint, int]],
    ) -> None:
        """The union to which the request belongs, if any; copies made since the last look count as holders."""
        node: Node | None = path.node
        while node is not None and node not in self._joint:
            node = node.parent
        if node is None:
            return
        everywhere = self._active.mask
        outside, inside = path.outside_tokens(holders_of, everywhere), path.inside_tokens(node)
        if formulas.leverage(outside, inside) <= self.config.imbalance_allowed:
            return
        joint = self._joint[node]
        joint.mask = mask = (joint.mask | holders_of(node.last)) & everywhere
        holders = mask.bit_count()
        if not holders or max(joint.share, joint.work_share or 0.0) * self._active.count <= holders:
            joint.streak = 0
            return
        alarmed.append((joint, mask))
        found.append(joint.traffic(self._active.positions(mask), node.end * node.block_tokens))

    def _traffic(self, node: Node, mask: int) -> ClassTraffic:
        residents = len(self._residents)
        share, window = settled_share(node, self._tree.number, self.config.windows)
        return ClassTraffic(
            name=node.label(),
            share=share,
            work_share=node.residents / residents if residents else None,
            window_requests=window,
            resident_requests=residents,
            holders=self._active.positions(mask),
            prefix_tokens=node.end * node.block_tokens,
            streak=node.streak,
            applies=True,
            alarmed=True,
            copies_missing=self._missing(node, mask) if self.config.hold else None,
        )

    def _missing(self, node: Node, mask: int) -> int:
        """Copies that a class in alarm still needs, by its share of the requests or, if it alarms, of the work."""
        now, residents = self._active, len(self._residents)
        number, total = self._tree.number, sum(self._sent)
        share, _ = settled_share(node, number, self.config.windows)
        recent = min(total, number)  # the class's own part of what was sent, over the same requests
        counted = node.count_since(number - recent) / recent if recent else share
        if now.alarms_by_work(node.residents, residents, mask.bit_count()):
            share = max(share, node.residents / residents)
        return copies_beside_others(share, counted, self._sent, now.slots, mask, self.config.imbalance_left)

    def _least_heavy(self) -> float:
        return min(self._tree.number, self.config.window_max) / (4 * max(1, self._active.count))

    def _find_unions(self) -> None:
        tree, active = self._tree, self._active
        self._next_union = tree.number + self.config.union_every
        classes = covered_classes(tree, self._covered, active.least, self.config)
        self._covered = {each.node: each.mask for each in classes}
        found = joint_alarms(classes, tree.number, len(self._residents), active.mask, self.config)
        before = {joint.name: joint.streak for joint in self._joint.values()}
        for joint in found.values():
            joint.streak = before.get(joint.name, 0)
        self._joint = found
