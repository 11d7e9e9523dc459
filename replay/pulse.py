"""How long the client itself stood still while it should have listened.

All streams are read by one event loop. While it is busy with something else (a long prompt, a decision, a model that
computes in the same process) what engines say waits, and is stamped later than it came. A pulse that should beat evenly
shows for how long.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from replay.engines.virtual_time import VirtualTimeLoop

#: Between two beats [s]; a stall much shorter than that is seen only by chance, and does little.
PERIOD_S = 0.02


class Pulse:
    """Beats while it is entered; ``late_s`` has how much later than due each beat came [s].

    In virtual time it does not beat: such a loop is never late.

    Example:
        >>> async def standing_still():
        ...     async with Pulse() as pulse:
        ...         await asyncio.sleep(PERIOD_S)
        ...         time.sleep(5 * PERIOD_S)
        ...         await asyncio.sleep(PERIOD_S)
        ...     return max(pulse.late_s)
        >>> import time
        >>> asyncio.run(standing_still()) > 3 * PERIOD_S
        True
    """

    def __init__(self) -> None:
        self.late_s: list[float] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Pulse:
        loop = asyncio.get_running_loop()
        if not isinstance(loop, VirtualTimeLoop):
            self._task = loop.create_task(self._beat())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + PERIOD_S
            await asyncio.sleep(PERIOD_S)
            self.late_s.append(max(0.0, loop.time() - due_s))
