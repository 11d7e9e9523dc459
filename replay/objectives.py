"""What a rule can be tuned for, by name: one list for the command line, the tuner and the tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from replay.metrics import Summary


@dataclass(frozen=True, slots=True)
class Objective:
    """What tuning makes best.

    Args:
        name: as in ``--objective``.
        title: for readers, without unit.
        unit: that tables show.
        factor: from ``value`` to that unit.
        value: of one run [s] or [share]; None where it does not exist.
        more: True if more is better.
    """

    name: str
    title: str
    unit: str
    factor: float
    value: Callable[[Summary], float | None]
    more: bool = False

    @property
    def label(self) -> str:
        """For tables, with unit."""
        return f"{self.title} [{self.unit}]"

    def scaled(self, value: float | None) -> float | None:
        """A value in the unit that tables show."""
        return None if value is None else self.factor * value


def _both(summary: Summary) -> float | None:
    """Geometric mean of mean TTFT and mean TPOT [s]: no weight between the two, and neither can be given up."""
    ttft, tpot = summary.ttft_s.mean, summary.tpot_s.mean
    return None if ttft is None or tpot is None else (ttft * tpot) ** 0.5


#: Every objective, by name.
OBJECTIVES: Mapping[str, Objective] = MappingProxyType(
    {
        objective.name: objective
        for objective in (
            Objective("ttft_mean", "TTFT mean", "s", 1, lambda s: s.ttft_s.mean),
            Objective("ttft_p99", "TTFT p99", "s", 1, lambda s: s.ttft_s.p99),
            Objective("tpot_mean", "TPOT mean", "ms", 1000, lambda s: s.tpot_s.mean),
            Objective("tpot_p99", "TPOT p99", "ms", 1000, lambda s: s.tpot_s.p99),
            Objective("e2e_mean", "E2E mean", "s", 1, lambda s: s.e2e_s.mean),
            Objective("e2e_p99", "E2E p99", "s", 1, lambda s: s.e2e_s.p99),
            Objective("ttft_tpot", "geometric mean of TTFT and TPOT", "ms", 1000, _both),
            Objective("goodput", "goodput", "%", 100, lambda s: s.goodput_fraction, more=True),
        )
    }
)
