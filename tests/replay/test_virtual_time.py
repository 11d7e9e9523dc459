"""An event loop in virtual time: timers come in their order and at their time, and a dead end is told."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.engines.virtual_time import run_virtually


@given(st.lists(st.floats(0, 1e6), max_size=20))
def test_sleepers_wake_in_order_and_on_time(waits: list[float]) -> None:
    woken: list[tuple[float, float]] = []

    async def sleeper(wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        woken.append((wait_s, asyncio.get_running_loop().time()))

    async def main() -> None:
        await asyncio.gather(*map(sleeper, waits))

    run_virtually(main())
    assert [wait_s for wait_s, _ in woken] == sorted(waits)
    assert all(at_s == pytest.approx(wait_s, abs=1e-6) for wait_s, at_s in woken)


def test_who_waits_for_what_never_comes_is_told() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="wait for each other"):
        run_virtually(main())
