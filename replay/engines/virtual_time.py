"""An event loop whose time is not the wall's: when nobody has anything to do, the time of the next timer comes at once.

With it an hour of simulated engines passes in seconds, by the same runner that drives real ones, and equal runs are
equal to the last digit. It is for programs that wait for timers alone: what comes from a socket or a thread takes real
time, of which this clock knows nothing.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.DefaultSelector):
    """Sleeps by moving the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now; else the clock has moved on by the timeout."""
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("all tasks wait for each other: in virtual time nothing can come from outside")
        if not ready and timeout:
            self.now_s += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, which begins at 0.

    Example (an hour of waiting takes no time):
        >>> async def wait():
        ...     await asyncio.sleep(3600)
        ...     return asyncio.get_running_loop().time()
        >>> run_virtually(wait())
        3600.0
    """

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual time [s]."""
        return self._jumping.now_s


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in virtual time.

    Raises:
        RuntimeError: if all tasks wait for each other, so that no time would ever pass.
    """
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
