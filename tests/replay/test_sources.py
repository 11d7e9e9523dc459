"""A source is a window of a trace, at a rate, up to a limit, in this order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from replay.sources import open_source


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """Ten requests, one a second, with prompts of 100, 101, ... tokens."""
    path = tmp_path / "ten.jsonl"
    rows = [{"timestamp": 1000 * n, "input_length": 100 + n, "output_length": 1, "hash_ids": [n]} for n in range(10)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_the_window_is_cut_before_the_rate_is_scaled_and_the_limit_counts_last(trace: str) -> None:
    # Four arrive in [2 s, 6 s); at twice the rate they are half a second apart.
    requests, info = open_source(trace, from_s=2, to_s=6, rate_scale=2)
    assert [(one.prompt_tokens, one.arrival_s) for one in requests] == [(102, 0), (103, 0.5), (104, 1), (105, 1.5)]
    assert (info.shape.kept, info.shape.dropped) == (4, 2)
    requests, _ = open_source(trace, from_s=2, to_s=6, rate_scale=0.5)
    assert [(one.prompt_tokens, one.arrival_s) for one in requests] == [(102, 0), (103, 2), (104, 4), (105, 6)]
    requests, _ = open_source(trace, from_s=2, rate_scale=4, limit=3)
    assert [(one.prompt_tokens, one.arrival_s) for one in requests] == [(102, 0), (103, 0.25), (104, 0.5)]


@pytest.mark.parametrize("rate_scale", [0.5, 3.0])
def test_a_workload_is_shaped_as_a_trace_is(rate_scale: float) -> None:
    text = "workload:chat:requests=60,rate_per_s=6"
    whole = list(open_source(text, seed=4)[0])
    part = list(open_source(text, seed=4, from_s=2, to_s=7, rate_scale=rate_scale, limit=15)[0])
    inside = [one for one in whole if 2 <= one.arrival_s < 7][:15]
    assert [one.id for one in part] == [one.id for one in inside]
    # The gap before the first stays what it is: rates divide the time since the first arrival.
    first = inside[0].arrival_s
    assert [one.arrival_s for one in part] == pytest.approx(
        [first - 2 + (one.arrival_s - first) / rate_scale for one in inside]
    )
