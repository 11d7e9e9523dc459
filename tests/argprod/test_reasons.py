"""Reasons are told in few lines, and none of what was lost goes missing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from argprod.live_view import remarks
from argprod.reasons import alike
from replay.client_lag import ClientLag
from replay.live_result import Lost
from replay.metrics import spread

NEVER = "{} tokens can never fit the KV cache of an instance"


def run_with(*lost: Lost) -> Any:
    lag = ClientLag(lag_s=spread(np.asarray([0.0])), share=0.0, kept_up=True)
    told = SimpleNamespace(told=0, equal=0, off=[])
    return SimpleNamespace(policy="lmetric", repeat=0, lost=list(lost), gone={}, client_lag=lag, prediction=told)


@given(st.lists(st.from_regex(r"[a-c ]{0,3}[0-9]{0,3}[a-c ]{0,3}[0-9]{0,2}", fullmatch=True)))
def test_everything_is_in_exactly_one_line(reasons: list[str]) -> None:
    told = alike(reasons, str)
    assert sorted(one for _, found in told for one in found) == sorted(reasons)
    assert [len(found) for _, found in told] == sorted((len(found) for _, found in told), reverse=True)
    for text, found in told:
        if len(set(found)) == 1:
            assert text == found[0]  # one reason alone is told as it is


def test_reasons_that_differ_in_numbers_are_one_line_with_their_range() -> None:
    lost = [
        Lost(id=number, instance=None, end="rejected", reason=NEVER.format(tokens))
        for number, tokens in enumerate([900, 161, 161, 1500])
    ]
    lines = [line for line in remarks([run_with(*lost)], kept=True) if "fit" in line]
    assert lines == [f"rejected: 4 times {NEVER.format('161 to 1500')} (requests 0, 1, 2, 3)"]


def test_answers_of_servers_are_one_line_but_servers_are_not() -> None:
    lost = [
        Lost(id=n, instance=name, end="rejected", reason=f"{name} answered 400: at most 4096 tokens, not {tokens}")
        for n, (name, tokens) in enumerate(
            [("127.0.0.1:8100", 5000), ("127.0.0.1:8101", 5001), ("127.0.0.1:8100", 6000)]
        )
    ]
    lines = [line for line in remarks([run_with(*lost)], kept=True) if "400" in line]
    assert lines == [
        "rejected: 2 times 127.0.0.1:8100 answered 400: at most 4096 tokens, not 5000 to 6000 (requests 0, 2)",
        "rejected: once 127.0.0.1:8101 answered 400: at most 4096 tokens, not 5001 (request 1)",
    ]


def test_a_request_lost_in_every_run_is_named_once() -> None:
    lost = Lost(id=7, instance="a", end="failed", reason="a hung up")
    lines = [line for line in remarks([run_with(lost), run_with(lost)], kept=True) if "hung" in line]
    assert lines == ["failed: 2 times a hung up (request 7)"]
