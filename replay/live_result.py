"""What is told of live runs: the tables' numbers, and what says how far they can be believed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from replay.client_lag import ClientLag, client_lag
from replay.experiment import Run, label_of
from replay.metrics import Summary
from replay.prediction import Prediction, prediction
from replay.run import CUT_OFF
from replay.run_log import Log, record_of, summary_of
from scheduler.policies.catalogue import policy as read_policy
from scheduler.state import End, Request


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """A request that did not finish.

    Args:
        id, instance: of the request, and of the engine that got it; None if it was never routed.
        end, reason: ``failed`` or ``rejected``, and why.
    """

    id: int
    instance: str | None
    end: str
    reason: str

    @property
    def blames_an_engine(self) -> bool:
        """Whether an engine lost it, refused ones too: not who was cut off, too long for all, or was never sent."""
        return self.instance is not None and self.reason != CUT_OFF


class LiveRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run on engines, beside its :class:`replay.metrics.Summary`.

    Args:
        policy: label of the rule, with `` +NAME`` for a mitigation.
        repeat: which repetition, from 0.
        complete: whether it came to its end.
        client_lag: how late the client was.
        prediction: whether engines took from their caches what the router predicted.
        gone: instances that were given up, and why.
        lost: requests that did not finish.
    """

    policy: str
    repeat: int
    complete: bool
    client_lag: ClientLag
    prediction: Prediction
    gone: dict[str, str]
    lost: list[Lost]


class LiveResult(msgspec.Struct, frozen=True, kw_only=True):
    """The file that ``replay --engine ... --json`` writes; all times in it are measured."""

    trace: dict[str, Any]
    settings: dict[str, Any]
    policies: list[Summary]
    runs: list[LiveRun]


def told_of(log: Log, requests: Mapping[int, Request], block_tokens: int) -> tuple[Run, LiveRun]:
    """A run as tables read it, and what else is told of it.

    Args:
        log: its log; a run that was cut short is called so.
        requests: those of the trace, by id.
        block_tokens: tokens in a block of the engines [token].

    Raises:
        BadTrace: if the log is of another trace.
    """
    record = record_of(log, requests)
    label = label_of(read_policy(log.header.policy), log.header.mitigation)
    if log.footer is None:
        label += " (cut short)"
    lost = [
        Lost(id=line.id, instance=line.instance, end=line.end, reason=line.reason)
        for line in log.lines
        if line.end != End.FINISHED.value
    ]
    live = LiveRun(
        policy=label,
        repeat=log.header.repeat,
        complete=log.footer is not None,
        client_lag=client_lag(log.lines, None if log.footer is None else log.footer.stall_s),
        prediction=prediction(log.lines, block_tokens, requests),
        gone={} if log.footer is None else log.footer.gone,
        lost=lost,
    )
    return Run(label, summary_of(log, record), record), live
