"""The measures of the report: what is read from a summary, in which unit it is shown, and which way is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from replay.metrics import TPOT_LIMIT_S, TTFT_BASE_S, TTFT_S_PER_PROMPT_TOKEN, Spread, Summary

#: What counts for goodput, in words.
SERVICE_OBJECTIVE = (
    f"TTFT within {TTFT_BASE_S:g} s + {1e6 * TTFT_S_PER_PROMPT_TOKEN:g} ms per 1,000 prompt tokens "
    f"and TPOT within {1000 * TPOT_LIMIT_S:g} ms"
)


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of a run.

    Args:
        label: what it is.
        unit: shown after it; may be empty.
        read: of a summary, in that unit; None where it does not exist.
        more: True if more is better.
        latency: a worse value is slower, not just less or more.
    """

    label: str
    unit: str
    read: Callable[[Summary], float | None]
    more: bool = False
    latency: bool = False

    def shown(self, value: float | None) -> str:
        """The value with its unit."""
        gap = "" if self.unit in ("", "%") else " "
        return number(value) + (gap + self.unit if value is not None else "")

    @property
    def worse(self) -> str:
        """What a worse value is: slower, less or more."""
        if self.latency:
            return "slower"
        return "less" if self.more else "more"

    def worse_by(self, share: float) -> str:
        """A distance in words, as a share of the better value.

        Example:
            >>> TTFT[0].worse_by(0.4), GOODPUT.worse_by(0.25)
            ('40.0% slower', '25.0% less')
        """
        return self.worse if share == float("inf") else f"{number(100 * share)}% {self.worse}"


@dataclass(frozen=True, slots=True)
class OverSeeds:
    """A measure of one policy: by seed, the mean, and the range; None where no seed has it."""

    mean: float | None
    low: float | None
    high: float | None
    by_seed: Mapping[int, float]


def over_seeds(measure: Measure, summaries: Sequence[Summary]) -> OverSeeds:
    """Mean and range of a measure."""
    by_seed = {s.seed: value for s in summaries if (value := measure.read(s)) is not None}
    if not by_seed:
        return OverSeeds(None, None, None, by_seed)
    known = by_seed.values()
    return OverSeeds(sum(known) / len(known), min(known), max(known), by_seed)


def number(value: float | None, digits: int = 3) -> str:
    """A number to so many significant digits, thousands set apart; a dash where there is none.

    Example:
        >>> number(0.0123456), number(123456.7), number(12.0), number(None)
        ('0.0123', '123,457', '12.0', '–')
    """
    if value is None:
        return "–"
    if value and abs(value) < 1e-3:
        return f"{value:.{digits - 1}e}"
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    if whole == 0:
        return f"{value:#.{digits}g}" if value else "0"
    return f"{value:,.{max(0, digits - whole)}f}"


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value


def _latency(name: str, of: Callable[[Summary], Spread], unit: str, factor: float) -> list[Measure]:
    return [
        Measure(f"{name} mean", unit, lambda s: _scaled(of(s).mean, factor), latency=True),
        Measure(f"{name} p50", unit, lambda s: _scaled(of(s).p50, factor), latency=True),
        Measure(f"{name} p95", unit, lambda s: _scaled(of(s).p95, factor), latency=True),
        Measure(f"{name} p99", unit, lambda s: _scaled(of(s).p99, factor), latency=True),
    ]


TTFT = _latency("TTFT", lambda s: s.ttft_s, "s", 1)
TPOT = _latency("TPOT", lambda s: s.tpot_s, "ms", 1000)
E2E = _latency("E2E", lambda s: s.e2e_s, "s", 1)
GOODPUT = Measure("goodput", "%", lambda s: _scaled(s.goodput_fraction, 100), more=True)
HITS = Measure("cache hit", "%", lambda s: _scaled(s.hit_fraction, 100), more=True)
THROUGHPUT = Measure("output throughput", "token/s", lambda s: s.throughput_tokens_per_s, more=True)
IMBALANCE_P50 = Measure("batch imbalance (max/mean load) p50", "", lambda s: s.batch_imbalance.p50)
IMBALANCE_P99 = Measure("batch imbalance (max/mean load) p99", "", lambda s: s.batch_imbalance.p99)

#: What the verdict is about.
HEADLINE = (TTFT[0], TTFT[3], TPOT[0], TPOT[3], E2E[0], GOODPUT)
#: What it mentions besides.
FURTHER = (E2E[3], THROUGHPUT, HITS, IMBALANCE_P50, IMBALANCE_P99)
