"""What a router's accounting is made of, as plain values: what it sees, a request in flight, the snapshot of all."""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec


class Level(Enum):
    """How much the router can see."""

    PROXY = "proxy"
    EVENTS = "events"
    PER_STEP = "per_step"


class OpenRequest(msgspec.Struct, gc=False):
    """A request in flight, as the router books it.

    Args:
        instance: index of the instance it was sent to.
        queued_tokens: what is still booked as to be prefilled [token].
        prompt_tokens: length of its prompt [token].
        prefilling: False from its first token on.
    """

    instance: int
    queued_tokens: int
    prompt_tokens: int
    prefilling: bool = True


class AccountingState(msgspec.Struct, frozen=True, kw_only=True):
    """All that :class:`scheduler.accounting.Accounting` knows, from ``save()``.

    Through JSON only ids that are texts or whole numbers come back as they were.

    Args:
        open: id and booking of every request in flight, in order of dispatch.
        last_heard: ids of those heard of at a known time, and that time, the longest silent first [s].
        slots: number of instances.
        progress_at_s: last sign of progress of every instance [s].
        ended: ids that ended, by generation, the older first.
        computed: ids whose first token came before their dispatch, likewise.
        remember: size of a generation.
        ended_count: requests whose output length was told, and one for the prior.
        output_tokens: the sum of those lengths [token].
        ignored: events that could not be.
        now_s: the latest time heard [s].
    """

    open: list[tuple[Any, OpenRequest]]
    last_heard: list[tuple[Any, float]]
    slots: int
    progress_at_s: list[float]
    ended: tuple[list[Any], list[Any]]
    computed: tuple[list[Any], list[Any]]
    remember: int
    ended_count: int
    output_tokens: int
    ignored: int
    now_s: float
