"""Latencies of the same requests in two runs, and by how much they grew; in whole ticks, so that sums are exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from replay.sim.record import RunRecord
from replay.sim.ticks import to_seconds
from scheduler.state import End


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What a fork changed for some requests; positive where they take longer.

    Args:
        ttft_s: change of the sum of their times to first token [s].
        e2e_s: change of the sum of their end-to-end times [s].
        requests: how many of them that finished in both runs are counted; those before the fork are left out where a
            sum is over later ones.
    """

    ttft_s: float
    e2e_s: float
    requests: int

    def less(self, other: Change) -> Change:
        """Beyond another change; ``requests`` are its own."""
        return Change(ttft_s=self.ttft_s - other.ttft_s, e2e_s=self.e2e_s - other.e2e_s, requests=self.requests)


@dataclass(frozen=True, slots=True)
class Times:
    """Arrival, first and last token of requests, one entry each [tick]; first and last are -1 if one did not finish.

    A request in a closed loop arrives when the reply before it says so, so arrivals differ between runs.
    """

    arrival: Any
    first: Any
    last: Any

    @classmethod
    def of(cls, record: RunRecord, ids: Sequence[int]) -> Times:
        """Times of the requests of some ids, in their order; one that never arrived did not finish."""
        by_id = {sim.request.id: sim for sim in record.sims}
        rows = []
        for number in ids:
            sim = by_id.get(number)
            if sim is None or sim.end is not End.FINISHED or sim.first_at is None or sim.last_at is None:
                rows.append((-1 if sim is None else sim.arrival, -1, -1))
            else:
                rows.append((sim.arrival, sim.first_at, sim.last_at))
        table = np.array(rows, dtype=np.int64).reshape(-1, 3)
        return cls(table[:, 0], table[:, 1], table[:, 2])


@dataclass(frozen=True, slots=True)
class Growth:
    """By how much the latencies of requests grew from one run to another, one entry each [tick].

    Args:
        both: whether the request finished in both runs; where not, it counts with 0.
        ttft: of the time to first token.
        e2e: of the end-to-end time.
    """

    both: Any
    ttft: Any
    e2e: Any

    @classmethod
    def between(cls, before: Times, after: Times) -> Growth:
        """From one run to another; the same requests in both."""
        both = (before.last >= 0) & (after.last >= 0)
        ttft = (after.first - after.arrival) - (before.first - before.arrival)
        e2e = (after.last - after.arrival) - (before.last - before.arrival)
        return cls(both, np.where(both, ttft, 0), np.where(both, e2e, 0))

    def change(self, which: Any, later: Any) -> Change:
        """The sum over some requests.

        Args:
            which: the requests to sum over, a mask.
            later: those to count, a mask.
        """
        return Change(
            ttft_s=to_seconds(int(self.ttft[which].sum())),
            e2e_s=to_seconds(int(self.e2e[which].sum())),
            requests=int(np.count_nonzero(self.both & which & later)),
        )
