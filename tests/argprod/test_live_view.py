"""Sentences beneath the table of a live replay."""

from __future__ import annotations

from argprod.live_view import remarks
from replay.client_lag import client_lag
from replay.live_result import LiveRun
from replay.prediction import ON_ITS_WAY, UNKNOWN, Off, Prediction


def run(*causes: str) -> LiveRun:
    off = [Off(id=1, instance="a", predicted_tokens=16, cached_tokens=0, cause=cause) for cause in causes]
    told = Prediction(told=10, equal=10 - len(off), off=off)
    return LiveRun(
        policy="lmetric", repeat=0, complete=True, client_lag=client_lag([]), prediction=told, gone={}, lost=[]
    )


def test_why_predictions_were_off_is_said_in_words() -> None:
    assert " ".join(remarks([run(ON_ITS_WAY, UNKNOWN), run(UNKNOWN)], kept=True)) == (
        "Cached tokens were as the router predicted, to the block, in 85.0% of 20 requests. Of the others, 1 came "
        "while another request with the same beginning was being computed there, so nobody could know; 2 had another "
        "reason (such as blocks pushed out, or KV events that had not come yet)."
    )
    assert remarks([run()], kept=True) == [
        "Cached tokens were as the router predicted, to the block, in 100.0% of 10 requests."
    ]
