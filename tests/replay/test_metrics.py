"""Every number of a summary, worked out by hand."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from replay.metrics import Summary, summarise
from replay.sim.cluster import Cluster
from replay.sim.run import simulate
from scheduler import Request, StepTime, policy

FAST = StepTime(0.04, 1e-4, 0.0, 0.0)  # a step takes 40 ms, a prefill token 0.1 ms
SLOW = FAST.scaled(2.0)


def request(number: int, arrival_s: float, prompt: int, output: int, keys: tuple[int, ...] = ()) -> Request:
    """A request with blocks of a thousand tokens; without keys nothing is shared."""
    return Request(
        id=number,
        arrival_s=arrival_s,
        prompt_tokens=prompt,
        output_tokens=output,
        block_keys=keys,
        block_tokens=1000,
    )


def summary(requests: list[Request], *times: StepTime, until_s: float | None = None, limit: int = 32_000) -> Summary:
    """Round robin over instances with these step times; every prompt fits into one step."""
    cluster = Cluster(times, kv_tokens=100_000, batch_tokens=40_000, max_batch=8, context_limit_tokens=limit)
    record = simulate(requests, policy("round_robin"), cluster, seed=3, until_s=until_s)
    return summarise(record, "round_robin", {"ties": "first"}, len(times), 0.5)


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """All numbers of a summary, by path."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if pairs is None:
        return {name: value}
    return {path: inner for key, item in pairs for path, inner in flat(item, f"{name}.{key}").items()}


def same(found: Summary, expected: dict[str, Any]) -> None:
    """Nothing more, nothing less, and None where None is meant."""
    numbers, wanted = flat(msgspec.to_builtins(found)), flat(expected)
    assert list(numbers) == list(wanted)
    words = {path: value for path, value in wanted.items() if not isinstance(value, int | float)}
    assert {path: numbers[path] for path in words} == words
    figures = {path: value for path, value in wanted.items() if path not in words}
    assert {path: numbers[path] for path in figures} == pytest.approx(figures, rel=1e-12)


NOTHING = {"mean": None, "p50": None, "p95": None, "p99": None}


def test_a_whole_summary_by_hand() -> None:
    requests = [
        #                            on    first    last     TTFT  limit  TPOT   e2e
        request(0, 10.0, 2000, 11),  # fast  10.24  10.64    0.24  1.125  0.04   0.64   good
        request(1, 10.5, 1000, 5, (7,)),  # slow  10.78  11.10  0.28  1.0625  0.08  0.60  too slow a token
        request(2, 11.0, 12_000, 1),  # fast  12.24          1.24  1.75   none   1.24   good by its long prompt
        request(3, 12.0, 2000, 1, (7, 8)),  # slow  12.28      0.28  1.125  none  0.28  good; 1000 tokens cached
        request(4, 12.25, 30_000, 3),  # fast  15.29  15.37  3.04  2.875  0.04   3.12   too late a first token
        request(5, 13.0, 40_000, 9),  # longer than the context limit: rejected
        request(6, 15.0, 500, 2),  # slow  15.18  15.26      0.18  1.03   0.08   0.26   too slow a token
    ]
    # Percentiles of six sorted values: p50 is the middle, p95 and p99 lie 0.75 and 0.95 of the way from fifth to sixth.
    # TTFT 0.18 0.24 0.28 0.28 1.24 3.04, e2e 0.26 0.28 0.60 0.64 1.24 3.12, TPOT 0.04 0.04 0.08 0.08.
    # Batch sizes at arrivals: [1, 0], then one on each instance five times: 2 1 1 1 1 1.
    expected = {
        "name": "round_robin",
        "knobs": {"ties": "first"},
        "seed": 3,
        "mitigation": "none",
        "requests": 7,
        "finished": 6,
        "rejected": 1,
        "failed": 0,
        "not_arrived": 0,
        "ttft_s": {"mean": 5.26 / 6, "p50": 0.28, "p95": 1.24 + 0.75 * 1.80, "p99": 1.24 + 0.95 * 1.80},
        "tpot_s": {"mean": 0.06, "p50": 0.06, "p95": 0.08, "p99": 0.08},
        "e2e_s": {"mean": 6.14 / 6, "p50": 0.62, "p95": 1.24 + 0.75 * 1.88, "p99": 1.24 + 0.95 * 1.88},
        "hit_fraction": 1000 / 87_500,
        "throughput_tokens_per_s": 23 / (15.37 - 10),
        "goodput_fraction": 3 / 7,
        "batch_imbalance": {"p50": 1.0, "p99": 1.95},
        "preemptions": 0,
        "instance_requests": [3, 3],
        "instance_prompt_tokens": [44_000, 3500],
        "wall_s": 0.5,
        "watch": None,
    }
    same(summary(requests, FAST, SLOW), expected)


def test_a_cut_off_run_by_hand() -> None:
    # Request 0 ends at 5.24; request 1 has three tokens by 6.20 (at 6.10, 6.14 and 6.18); request 2 comes too late.
    requests = [request(0, 5.0, 2000, 1), request(1, 6.0, 600, 30), request(2, 7.0, 100, 1)]
    found = summary(requests, FAST, until_s=6.20)
    assert (found.requests, found.finished, found.failed, found.rejected, found.not_arrived) == (2, 1, 1, 0, 1)
    assert found.ttft_s.mean == found.e2e_s.mean == pytest.approx(0.24)  # of finished requests only
    assert found.throughput_tokens_per_s == pytest.approx((1 + 3) / (6.18 - 5.0))
    assert found.goodput_fraction == 0.5
    assert found.instance_requests == [2]


def test_what_does_not_exist_is_none_and_what_is_zero_is_zero() -> None:
    empty = summary([], FAST)
    assert empty.ttft_s == empty.tpot_s == empty.e2e_s
    assert msgspec.to_builtins(empty.ttft_s) == NOTHING
    assert empty.hit_fraction is empty.throughput_tokens_per_s is empty.goodput_fraction is None
    assert msgspec.to_builtins(empty.batch_imbalance) == {"p50": None, "p99": None}
    assert empty.instance_requests == [0]
    rejected = summary([request(0, 1.0, 500, 1)], FAST, limit=100)
    assert (rejected.rejected, rejected.hit_fraction, rejected.goodput_fraction) == (1, 0.0, 0.0)
    assert rejected.throughput_tokens_per_s is None, "no time passed"
    assert msgspec.to_builtins(rejected.ttft_s) == NOTHING
    assert msgspec.to_builtins(rejected.batch_imbalance) == {"p50": None, "p99": None}
    one_token = summary([request(0, 1.0, 500, 1)], FAST)
    assert msgspec.to_builtins(one_token.tpot_s) == NOTHING
    assert one_token.ttft_s.mean == pytest.approx(0.09)
    assert one_token.goodput_fraction == 1.0


@pytest.mark.parametrize(
    ("time", "good"),
    [
        (StepTime(0.05, 1.95 / 16_000, 0.0, 0.0), 1.0),  # TTFT 0.05 + 1.95 s = the limit, TPOT 50 ms
        (StepTime(0.05 + 1e-9, 1.95 / 16_000 - 1e-11, 0.0, 0.0), 0.0),  # TPOT just above, TTFT below
        (StepTime(0.04, 1.96 / 16_000 + 1e-10, 0.0, 0.0), 0.0),  # TTFT just above, TPOT below
    ],
    ids=["at both limits", "token above", "first token above"],
)
def test_both_limits_of_the_objective_are_included(time: StepTime, good: float) -> None:
    # A prompt of 16,000 tokens: TTFT <= 1 s + 16 x 62.5 ms = 2 s.
    assert summary([request(0, 1.0, 16_000, 4)], time).goodput_fraction == good
