"""The last decisions of a router, and a line of JSON for each to whoever keeps them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from scheduler.routed import Routed

#: Gets one line of JSON, with its newline, for each decision: ``open(path, "ab").write`` will do.
LogSink = Callable[[bytes], object]


class DecisionLog:
    """A ring of decisions, newest last; iterate over it or index it.

    A sink that fails must not cost a request, which is booked by then: its errors are counted, the line is lost.

    Args:
        size: decisions kept, >= 0.
        sink: gets a line of JSON for each; None for nobody.

    Attributes:
        failures: lines that the sink did not take.
    """

    def __init__(self, size: int, sink: LogSink | None) -> None:
        self._kept: deque[Routed] = deque(maxlen=size)
        self._sink = sink
        self.failures = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Routed]:
        return iter(self._kept)

    def __getitem__(self, place: int) -> Routed:
        return self._kept[place]

    def keep(self, routed: Routed) -> None:
        """A decision was made."""
        self._kept.append(routed)

    def tell(self, routed: Routed) -> None:
        """Tell the sink; the router does so outside its lock, so lines of threads may change places."""
        if self._sink is None:
            return
        try:
            self._sink(routed.as_line())
        except Exception:  # noqa: BLE001 - whatever a sink of somebody else raises
            self.failures += 1
