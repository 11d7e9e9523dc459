"""Laws of windows, rates and limits."""

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from replay.traces import ShapeReport, limited, scaled, windowed
from scheduler.errors import BadInput
from scheduler.state import Request


@st.composite
def streams(draw: st.DrawFn) -> list[Request]:
    """Requests in order of arrival with links that lead backwards."""
    times = sorted(draw(st.lists(st.floats(0, 1000), max_size=15)))
    return [
        Request(
            id=index * 2,
            arrival_s=time,
            prompt_tokens=1,
            after=(
                after := draw(st.none() | st.integers(0, index - 1).map(lambda other: other * 2)) if index else None
            ),
            think_s=1.0 if after is not None else 0.0,
        )
        for index, time in enumerate(times)
    ]


rates = st.floats(0.01, 100)
cuts = st.floats(0, 1100)


def ids(requests: Iterator[Request]) -> list[int]:
    return [request.id for request in requests]


@given(streams(), rates)
def test_scaling_divides_every_gap(stream: list[Request], rate: float) -> None:
    shaped = list(scaled(stream, rate))
    assert ids(iter(shaped)) == ids(iter(stream))
    assert [request.arrival_s for request in shaped[:1]] == [request.arrival_s for request in stream[:1]]
    for (a, b), (x, y) in zip(itertools.pairwise(stream), itertools.pairwise(shaped), strict=True):
        assert y.arrival_s >= x.arrival_s
        # The times are sums, so a gap is known to within the last digits of the times.
        assert (y.arrival_s - x.arrival_s) * rate == pytest.approx(b.arrival_s - a.arrival_s, abs=1e-9 * max(1, rate))
    assert [request.think_s for request in shaped] == [request.think_s for request in stream]


@given(streams(), rates, rates)
def test_scaling_twice_is_scaling_by_the_product(stream: list[Request], first: float, second: float) -> None:
    twice = [request.arrival_s for request in scaled(scaled(stream, first), second)]
    assert twice == pytest.approx([request.arrival_s for request in scaled(stream, first * second)], rel=1e-9)


@given(streams())
def test_scaling_by_one_changes_nothing(stream: list[Request]) -> None:
    assert list(scaled(stream, 1)) == stream


@given(streams(), cuts)
def test_two_windows_that_meet_are_the_whole(stream: list[Request], cut_s: float) -> None:
    assume(cut_s > 0)
    early, late = list(windowed(stream, 0, cut_s)), list(windowed(stream, cut_s))
    assert ids(iter(early + late)) == ids(iter(stream))
    times = [request.arrival_s for request in early] + [request.arrival_s + cut_s for request in late]
    assert times == pytest.approx([request.arrival_s for request in stream], abs=1e-9)
    assert all(request.arrival_s >= 0 for request in late)
    assert all(request.arrival_s < cut_s for request in early)


@given(streams(), cuts, st.none() | st.floats(1e-3, 1000), st.none() | st.integers(1, 20))
def test_links_lead_to_kept_requests_or_nowhere(
    stream: list[Request], from_s: float, length_s: float | None, limit: int | None
) -> None:
    report = ShapeReport()
    to_s = None if length_s is None else from_s + length_s
    shaped = list(limited(windowed(stream, from_s, to_s, report), limit))
    seen: set[int] = set()
    by_id = {request.id: request for request in stream}
    cut = 0
    for request in shaped:
        before = by_id[request.id]
        assert request.id not in seen
        if request.after is None:
            cut += before.after is not None
            assert before.after not in seen
            assert request.think_s == 0
        else:
            assert request.after == before.after
            assert request.after in seen
            assert request.think_s == before.think_s
        seen.add(request.id)
    assert (report.kept, report.links_cut) == (len(shaped), cut)
    if to_s is None and limit is None:
        assert report.dropped == len(stream) - len(shaped)


@given(streams(), st.integers(1, 20))
def test_a_limit_keeps_the_first(stream: list[Request], limit: int) -> None:
    assert list(limited(stream, limit)) == stream[:limit]


def test_nothing_is_drawn_behind_the_window_or_the_limit() -> None:
    def endless() -> Iterator[Request]:
        for index in itertools.count():
            assert index <= 10, "drawn too far"
            yield Request(id=index, arrival_s=float(index), prompt_tokens=1)

    assert len(list(windowed(endless(), 2, 10))) == 8
    assert len(list(limited(endless(), 10))) == 10


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), True])
def test_a_bad_rate_is_named(rate: float) -> None:
    with pytest.raises(BadInput, match="rate_scale: expected a finite number > 0"):
        scaled([], rate)


@pytest.mark.parametrize(("from_s", "to_s"), [(-1, None), (float("nan"), None), (2, 2), (0, float("nan")), (0, True)])
def test_a_bad_window_is_named(from_s: float, to_s: float | None) -> None:
    with pytest.raises(BadInput, match=r"(from_s|to_s): expected"):
        windowed([], from_s, to_s)


@pytest.mark.parametrize("limit", [0, -1, 1.5, True])
def test_a_bad_limit_is_named(limit: int) -> None:
    with pytest.raises(BadInput, match="limit: expected an integer >= 1"):
        limited([], limit)
