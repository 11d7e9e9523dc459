"""Tables for the terminal; they fit 80 columns and say their units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table

from replay.experiment import Run
from replay.metrics import Summary


def number(value: float | None, digits: int = 3) -> str:
    """A number to ``digits`` significant digits; a dash where there is none.

    Example:
        >>> number(0.0123456), number(1234.5), number(2.0), number(None)
        ('0.0123', '1234', '2.00', '-')
    """
    if value is None:
        return "-"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:.0f}"
    return f"{value:#.{digits}g}"


def _ms(value: float | None) -> float | None:
    return None if value is None else 1000 * value


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


@dataclass(frozen=True)
class Column:
    """One column: heading, value, whether more is better, and whether it is shown in narrow terminals too."""

    heading: str
    value: Callable[[Summary], float | None]
    more: bool = False
    narrow: bool = True


_COLUMNS = (
    Column("TTFT\nmean\ns", lambda s: s.ttft_s.mean),
    Column("\np50\ns", lambda s: s.ttft_s.p50, narrow=False),
    Column("\np99\ns", lambda s: s.ttft_s.p99),
    Column("TPOT\nmean\nms", lambda s: _ms(s.tpot_s.mean)),
    Column("\np50\nms", lambda s: _ms(s.tpot_s.p50), narrow=False),
    Column("\np99\nms", lambda s: _ms(s.tpot_s.p99)),
    Column("E2E\nmean\ns", lambda s: s.e2e_s.mean),
    Column("\np99\ns", lambda s: s.e2e_s.p99, narrow=False),
    Column("\nhit\n%", lambda s: _percent(s.hit_fraction), more=True),
    Column("\ngood\n%", lambda s: _percent(s.goodput_fraction), more=True),
    Column("output\ntoken\n/s", lambda s: s.throughput_tokens_per_s, more=True, narrow=False),
    Column("max/\nmean\np50", lambda s: s.batch_imbalance.p50),
    Column("load\n\np99", lambda s: s.batch_imbalance.p99),
)
#: From this terminal width on all columns are shown.
_WIDE = 110


def by_policy(runs: Sequence[Run]) -> dict[str, list[Summary]]:
    """Summaries of all seeds of each policy, in order of first appearance."""
    grouped: dict[str, list[Summary]] = {}
    for run in runs:
        grouped.setdefault(run.policy, []).append(run.summary)
    return grouped


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _cell(values: Sequence[float | None], mean: float | None) -> str:
    """Mean over the seeds, and half the range where there are several."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return number(mean)
    return f"{number(mean)}\n±{number((max(known) - min(known)) / 2, 2)}"


def replay_table(runs: Sequence[Run], title: str, width: int = 80) -> Table:
    """One row a policy; the best value of each column is bold.

    With several seeds each cell is the mean, and below it half the range over the seeds.

    Args:
        runs: what to show.
        title: above the table.
        width: of the terminal [column]; narrow ones get fewer columns.
    """
    columns = [column for column in _COLUMNS if column.narrow or width >= _WIDE]
    grouped = by_policy(runs)
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("\n\npolicy", overflow="fold")
    for column in columns:
        table.add_column(column.heading, justify="right", no_wrap=True)
    table.add_column("\n\nlost", justify="right", no_wrap=True)
    means = {
        name: [_mean([column.value(summary) for summary in summaries]) for column in columns]
        for name, summaries in grouped.items()
    }
    for name, summaries in grouped.items():
        cells = []
        for index, column in enumerate(columns):
            rivals = [row[index] for row in means.values() if row[index] is not None]
            text = _cell([column.value(summary) for summary in summaries], means[name][index])
            best = (max if column.more else min)(rivals, default=None)  # type: ignore[type-var]
            cells.append(f"[bold]{text}[/bold]" if best is not None and means[name][index] == best else text)
        lost = sum(summary.rejected + summary.failed for summary in summaries)
        table.add_row(name, *cells, str(lost))
    return table
