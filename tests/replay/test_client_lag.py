"""The lag of the client is told, and where it is much of what is measured, it is said."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.client_lag import LAG_ALLOWED_S, SHARE_ALLOWED, client_lag
from replay.engines.virtual_time import run_virtually
from replay.live_record import Line
from replay.metrics import spread
from replay.pulse import PERIOD_S, Pulse
from tests.replay.test_run import Fake, replayed, request


def line(lag_s: float, first_s: float | None) -> Line:
    return Line(id=1, due_s=10.0, sent_s=10.0 + lag_s, token_s=[] if first_s is None else [10.0 + first_s])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.001, 10))
def test_a_client_has_kept_up_if_its_lag_is_little_of_the_time_to_first_token(lags: list[float], first: float) -> None:
    told = client_lag([line(lag, first) for lag in lags])
    assert told.share is not None
    assert told.lag_s.p99 is not None
    assert told.share == pytest.approx(told.lag_s.p99 / first, rel=1e-6)
    assert told.kept_up is (told.share <= SHARE_ALLOWED or told.lag_s.p99 <= LAG_ALLOWED_S)
    assert (told.warning() == "") is told.kept_up
    assert min(lags) - 1e-9 <= told.lag_s.p99 <= max(lags) + 1e-9


def test_without_requests_or_tokens_there_is_nothing_to_keep_up_with() -> None:
    for lines in ([], [line(1.0, None)]):
        told = client_lag(lines)
        assert (told.share, told.kept_up, told.warning()) == (None, True, "")


def test_a_warning_says_how_late_and_what_to_try() -> None:
    assert client_lag([line(0.1, 0.4)]).warning() == (
        "the client could not keep up: it sent requests up to 100 ms late (p99), 25% of the median time to first "
        "token; replay more slowly, or on more cores"
    )


def test_a_lag_that_no_slower_replay_cures_is_not_warned_of_however_quick_the_engine() -> None:
    """0.835 ms and a time to first token of 16 ms: 5.16% of it, on a machine with two busy cores."""
    told = client_lag([line(0.000835, 0.01618)])
    assert told.share == pytest.approx(0.0516, abs=1e-4)
    assert (told.kept_up, told.warning()) == (True, "")
    assert client_lag([line(0.0, 0.008)], spread([0.004])).kept_up
    assert not client_lag([line(0.0, 0.008)], spread([0.006])).kept_up


def test_a_lag_of_many_times_the_time_to_first_token_is_told_in_times() -> None:
    assert "14 times the median time to first token" in client_lag([line(0.141, 0.01)]).warning()


def test_a_client_that_hears_nothing_for_a_while_has_not_kept_up() -> None:
    told = client_lag([line(0.001, 0.4)], spread([0.0, 0.2]))
    assert not told.kept_up
    assert told.warning() == (
        "the client could not keep up: it stood still for up to 198 ms (p99) in which it heard no engine, "
        "49.5% of the median time to first token; replay more slowly, or on more cores"
    )
    assert client_lag([line(0.001, 0.4)], spread([0.0, 0.001])).kept_up


def test_a_pulse_sees_how_long_a_loop_stood_still() -> None:
    async def main(still_s: float) -> list[float]:
        async with Pulse() as pulse:
            await asyncio.sleep(PERIOD_S / 2)
            until = asyncio.get_running_loop().time() + still_s
            while asyncio.get_running_loop().time() < until:
                pass
            await asyncio.sleep(2 * PERIOD_S)
        return pulse.late_s

    assert max(asyncio.run(main(0.2))) >= 0.2 - PERIOD_S  # the beat before was due within a period
    assert run_virtually(main(0.0)) == []


def test_in_virtual_time_no_client_is_late() -> None:
    live, _ = replayed([request(number, 0.1 * number) for number in range(9)], [Fake("0", "works"), Fake("1", "works")])
    told = client_lag(live.lines)
    assert told.lag_s.p99 == pytest.approx(0.0, abs=1e-9)
    assert told.kept_up
