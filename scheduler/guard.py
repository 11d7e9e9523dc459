"""Monitor, detector and mitigation of one router, in the order in which a decision needs them.

The guard remembers what the pure functions cannot: copies that are on their way (sent, not yet computed), the holders
as they were when a class was first confirmed as hot, and how many of the last requests went to each instance.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import msgspec

from scheduler.detect_config import DetectConfig
from scheduler.detection import Detector
from scheduler.errors import BadInput
from scheduler.finding import Detection, Kind
from scheduler.mitigation import Mode, confirmed_hot_spot, mitigate
from scheduler.monitor import Monitor
from scheduler.remedies import Mitigation
from scheduler.screening import ARRAYS_FROM, PRODUCTS, Columns
from scheduler.state import Request
from scheduler.traffic import ClassTraffic
from scheduler.unions import Joint

#: The fair share of a starved instance is counted over so many dispatches an instance.
FAIR_WINDOW = 16
#: Decisions without an alarm after which the holders of a class are no longer frozen, for ``filter``.
THAW_AFTER = 2048
#: Of more frozen classes those that have thawed are forgotten.
FROZEN_AT_MOST = 256


class GuardState(msgspec.Struct, frozen=True, kw_only=True):
    """All that a :class:`Guard` remembers, from ``save()``.

    Args:
        monitor: what :meth:`scheduler.monitor.Monitor.save` gave.
        pending: by class, slots and the ids of the requests that carry a copy there.
        carried: by request, the classes of which it carries a copy.
        frozen: by class, the slots of its frozen holders, and the decision at which it was last confirmed.
        decisions: how many were made.
        recent: slots of the last dispatches, oldest first.
        tried_s: by slot, when a silent instance got its last request all the same [s].
    """

    monitor: msgspec.Raw
    pending: list[tuple[str, list[tuple[int, int | str]]]]
    carried: list[tuple[int | str, list[str]]]
    frozen: list[tuple[str, list[int], int]]
    decisions: int
    recent: list[int]
    tried_s: list[tuple[int, float]]


class Guard:
    """What looks at every decision of a router before it is carried out.

    Args:
        mode: what may be done about findings.
        config: thresholds of the detector, with the policy.
        monitor: of the traffic.

    Attributes:
        pending: by class, the slots that a copy of its prefix is on its way to, with the request that carries it. Any
            request of a class in alarm that goes where its prefix is not carries one, whoever sent it there.
    """

    def __init__(self, mode: Mode, config: DetectConfig, monitor: Monitor) -> None:
        self.mode, self.config, self.monitor = mode, config, monitor
        self.detector = Detector(config)
        self.pending: dict[str, dict[int, Hashable]] = {}
        self._carried: dict[Hashable, list[str]] = {}
        self._frozen: dict[str, tuple[frozenset[int], int]] = {}
        self._decisions = 0
        self._recent: deque[int] = deque()
        self._sent: list[int] = []
        self._tried_s: dict[int, float] = {}  # when a silent instance got its last request all the same
        #: The detector's one pass gives the keys of these rules with few instances: no need to compute them twice.
        self.gives_keys = self.detector.policy.rule.name in PRODUCTS
        self._acts_always = mode in (Mode.OFFSET, Mode.PROBE_COLD)

    def columns(self, view: Any, request: Request) -> Columns | None:
        """The detector's pass over the instances, if its keys are the rule's; else None."""
        if self.gives_keys and len(view.ids) < ARRAYS_FROM:
            return self.detector.columns(view, request.prompt_tokens)
        return None

    def grow(self, slot_count: int) -> None:
        """There are more slots now."""
        self._sent += [0] * (slot_count - len(self._sent))

    def left(self, slot: int) -> None:
        """The instance of a slot is gone; who comes after it in the slot holds nothing and was sent nothing."""
        self._sent[slot] = 0
        self._tried_s.pop(slot, None)
        self.monitor.left(slot)
        self._recent = deque([other for other in self._recent if other != slot])
        self._frozen = {name: (slots - {slot}, last) for name, (slots, last) in self._frozen.items()}

    def look(
        self,
        view: Any,
        request: Request,
        path: Any,
        keys: list[Any],
        chosen: int,
        slots: Sequence[int],
        holders_of: Callable[[Any], int],
        expected_output_tokens: float | None,
        columns: Columns | None = None,
    ) -> tuple[Detection, Mitigation | None]:
        """Detect, and mitigate if there is something to mitigate.

        Args:
            view: columns of the routable instances.
            request: the request at hand.
            path: its place in the monitor's tree.
            keys: what the rule says of every instance.
            chosen: position that the rule takes.
            slots: slot of every position.
            holders_of: bitmask of the slots that hold a block.
            expected_output_tokens: what to believe of its output length [token].
            columns: what the detector's pass over the instances gave, if it was asked for the keys.

        Returns:
            What was found, and what was done about it; None if nothing had to be looked at.
        """
        self._decisions += 1
        rows = self.monitor.suspects(path, holders_of, slots, self._sent)
        if rows:
            rows = tuple([self._as_it_will_be(row, slots) for row in rows])
        detection = self.detector.look(
            view,
            request,
            rows,
            expected_output_tokens=expected_output_tokens,
            keys=keys,
            columns=columns,
            trusted=True,
        )
        self.monitor.decided(path, slots[chosen])
        if not self._acts_always and (detection.safe or self.mode is Mode.NONE):
            return detection, None
        if self.mode is Mode.FILTER:
            detection = self._with_frozen_holders(detection, view, slots)
        mitigation = mitigate(
            view,
            request,
            self._with_a_try(detection, view, chosen, slots[chosen]),
            mode=self.mode,
            policy=self.config.policy,
            chosen=chosen,
            keys=keys,
            expected_output_tokens=expected_output_tokens,
            kappa_tokens=self.config.kappa_tokens,
            recent=[self._sent[slot] for slot in slots],
        )
        return detection, mitigation

    def _with_a_try(self, detection: Detection, view: Any, chosen: int, slot: int) -> Detection:
        """A silent instance that the rule takes gets one request each grace period: else it could never be heard again.

        A first token that was lost on its way looks like an instance that is dead.
        """
        silent = detection.found(Kind.PROGRESS_STALLED)
        if silent is None or view.ids[chosen] not in silent.instances:
            return detection
        if view.now_s - self._tried_s.get(slot, -math.inf) < self.config.stall_grace_s:
            return detection
        self._tried_s[slot] = view.now_s
        others = tuple(name for name in silent.instances if name != view.ids[chosen])
        left = (msgspec.structs.replace(silent, instances=others),) if others else ()
        findings = left + tuple(finding for finding in detection.findings if finding is not silent)
        return msgspec.structs.replace(detection, findings=findings)

    def _as_it_will_be(self, row: ClassTraffic, slots: Sequence[int]) -> ClassTraffic:
        """The row with the copies that are on their way counted as holders."""
        coming = self.pending.get(row.name)
        if not coming:
            return row
        more = [place for place, slot in enumerate(slots) if slot in coming and place not in row.holders]
        if not more:
            return row
        missing = None if row.copies_missing is None else max(0, row.copies_missing - len(more))
        return msgspec.structs.replace(row, holders=(*row.holders, *more), copies_missing=missing)

    def _with_frozen_holders(self, detection: Detection, view: Any, slots: Sequence[int]) -> Detection:
        """For ``filter``: a confirmed class is kept away from those that held its prefix when it was confirmed."""
        hot = confirmed_hot_spot(detection)
        if hot is None:
            return detection
        places = {name: index for index, name in enumerate(view.ids)}
        name = str(hot.evidence.get("class", ""))
        frozen, last = self._frozen.get(name, (frozenset(), 0))
        if not frozen or self._decisions - last > THAW_AFTER:
            frozen = frozenset(slots[places[holder]] for holder in hot.instances)
        self._frozen[name] = (frozen, self._decisions)
        if len(self._frozen) > FROZEN_AT_MOST:
            least = self._decisions - THAW_AFTER
            self._frozen = {each: kept for each, kept in self._frozen.items() if kept[1] >= least}
        ids = tuple(view.ids[place] for place, slot in enumerate(slots) if slot in frozen)
        changed = msgspec.structs.replace(hot, instances=ids or hot.instances)
        findings = tuple(changed if finding is hot else finding for finding in detection.findings)
        return msgspec.structs.replace(detection, findings=findings)

    def dispatched(self, request_id: Hashable, path: Any, slot: int) -> None:
        """The request goes to a slot."""
        self.monitor.dispatched(request_id, path)
        self._sent[slot] += 1
        self._recent.append(slot)
        if len(self._recent) > FAIR_WINDOW * len(self._sent):
            self._sent[self._recent.popleft()] -= 1
        for subject, holders in path.alarmed:
            if not holders >> slot & 1:
                name = subject.name if isinstance(subject, Joint) else subject.label()
                self.pending.setdefault(name, {})[slot] = request_id
                self._carried.setdefault(request_id, []).append(name)

    def computed(self, request_id: Hashable) -> None:
        """Its prefill is done: the copy that it carried is there, and the index knows."""
        for name in self._carried.pop(request_id, ()):
            coming = self.pending.get(name, {})
            for slot in [slot for slot, carrier in coming.items() if carrier == request_id]:
                del coming[slot]
            if not coming:
                self.pending.pop(name, None)

    def ended(self, request_id: Hashable) -> None:
        """The request is gone, and a copy that it never computed with it."""
        if request_id in self._carried:
            self.computed(request_id)
        self.monitor.ended(request_id)

    def save(self) -> GuardState:
        """All that is remembered, as plain values that are not changed by what comes.

        Raises:
            BadInput: if a request in flight has an id that is neither a number nor a text.
        """
        pending: list[tuple[str, list[tuple[int, Any]]]] = [
            (name, list(coming.items())) for name, coming in self.pending.items()
        ]
        carried: list[tuple[Any, list[str]]] = [(name, list(classes)) for name, classes in self._carried.items()]
        return GuardState(
            monitor=msgspec.Raw(self.monitor.save()),
            pending=pending,
            carried=carried,
            frozen=[(name, sorted(slots), last) for name, (slots, last) in self._frozen.items()],
            decisions=self._decisions,
            recent=list(self._recent),
            tried_s=list(self._tried_s.items()),
        )

    @classmethod
    def restore(cls, mode: Mode, config: DetectConfig, slot_count: int, saved: GuardState) -> Guard:
        """A guard that goes on where :meth:`save` was called.

        Args:
            mode, config: see the class.
            slot_count: how many slots there are.
            saved: what was saved.

        Raises:
            BadInput: if the bytes of the monitor are damaged, or a slot is not there.
        """
        guard = cls(mode, config, Monitor.restore(bytes(saved.monitor)))
        guard.grow(slot_count)
        guard.pending = {name: dict(coming) for name, coming in saved.pending}
        guard._carried = {name: list(classes) for name, classes in saved.carried}
        guard._frozen = {name: (frozenset(slots), last) for name, slots, last in saved.frozen}
        guard._decisions = saved.decisions
        guard._recent = deque(saved.recent)
        guard._tried_s = dict(saved.tried_s)
        for slot in saved.recent:
            if not 0 <= slot < slot_count:
                raise BadInput("guard.recent", slot, f"a slot from 0 to {slot_count - 1}")
            guard._sent[slot] += 1
        return guard
