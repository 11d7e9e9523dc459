"""Tables for the terminal; they fit 80 columns and say their units."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from replay.experiment import Run
from replay.metrics import TPOT_LIMIT_S, TTFT_BASE_S, TTFT_S_PER_PROMPT_TOKEN, Summary


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


def _busiest(loads: Sequence[int]) -> float | None:
    """What the busiest instance got, over an even share."""
    return max(loads) * len(loads) / sum(loads) if sum(loads) else None


@dataclass(frozen=True)
class Column:
    """One column: heading, value, whether more is better, and how soon it goes when the terminal is narrow."""

    heading: str
    value: Callable[[Summary], float | None]
    more: bool = False
    rank: int = 0


_COLUMNS = (
    Column("TTFT\nmean\ns", lambda s: s.ttft_s.mean),
    Column("\np50\ns", lambda s: s.ttft_s.p50, rank=4),
    Column("\np95\ns", lambda s: s.ttft_s.p95, rank=5),
    Column("\np99\ns", lambda s: s.ttft_s.p99, rank=1),
    Column("TPOT\nmean\nms", lambda s: _ms(s.tpot_s.mean)),
    Column("\np50\nms", lambda s: _ms(s.tpot_s.p50), rank=4),
    Column("\np95\nms", lambda s: _ms(s.tpot_s.p95), rank=5),
    Column("\np99\nms", lambda s: _ms(s.tpot_s.p99), rank=1),
    Column("E2E\nmean\ns", lambda s: s.e2e_s.mean),
    Column("\np50\ns", lambda s: s.e2e_s.p50, rank=6),
    Column("\np95\ns", lambda s: s.e2e_s.p95, rank=6),
    Column("\np99\ns", lambda s: s.e2e_s.p99, rank=5),
    Column("\nhit\n%", lambda s: _percent(s.hit_fraction), more=True, rank=2),
    Column("\ngood\n%", lambda s: _percent(s.goodput_fraction), more=True, rank=2),
    Column("output\ntoken\n/s", lambda s: s.throughput_tokens_per_s, more=True, rank=5),
    Column("max/\nmean\np50", lambda s: s.batch_imbalance.p50, rank=3),
    Column("load\n\np99", lambda s: s.batch_imbalance.p99, rank=4),
    Column("busiest\n/even\nreq", lambda s: _busiest(s.instance_requests), rank=4),
    Column("\n/even\ntoken", lambda s: _busiest(s.instance_prompt_tokens), rank=5),
)


#: Columns up to this rank are needed for a verdict: hits, goodput, how even batches are.
_WANTED = 3


def legend(kind: str, varied: str = "") -> str:
    """What the columns mean, below the table.

    Args:
        kind: ``Simulated`` or ``Measured``.
        varied: over what the spread is, if there is one.
    """
    text = (
        f"{kind}. Bold is the best mean. good: TTFT <= {TTFT_BASE_S:g} s + {1e6 * TTFT_S_PER_PROMPT_TOKEN:g} ms per "
        f"1,000 prompt tokens and TPOT <= {1000 * TPOT_LIMIT_S:g} ms. lost: rejected + failed."
    )
    return f"{text} ±: half the range over {varied}; without it all gave the same." if varied else text


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
    if len(known) < 2 or max(known) == min(known):
        return number(mean)
    return f"{number(mean)}\n±{number((max(known) - min(known)) / 2, 2)}"


def replay_table(runs: Sequence[Run], title: str, width: int = 80) -> Table:
    """One row a policy; the best value of each column is bold.

    With several seeds each cell is the mean, and below it half the range over the seeds.

    Args:
        runs: what to show.
        title: above the table.
        width: of the terminal [column]; where it is narrow the less important columns go, then long names are broken,
            then other columns go, never the name.
    """
    grouped = by_policy(runs)
    broken = {"\n".join(re.split(r"(?<=[:,])", name)): summaries for name, summaries in grouped.items()}
    tables = [
        _table_of(names, [column for column in _COLUMNS if column.rank <= rank], title)
        for names, ranks in ((grouped, range(max(column.rank for column in _COLUMNS), _WANTED - 1, -1)),
                             (broken, range(_WANTED, -1, -1)))
        for rank in ranks
    ]  # fmt: skip
    fitting = (table for table in tables if Console(width=1000).measure(table).maximum <= width)
    return next(fitting, tables[-1])


def _table_of(grouped: Mapping[str, Sequence[Summary]], columns: Sequence[Column], title: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("\n\npolicy", overflow="fold", min_width=12)
    for column in columns:
        table.add_column(column.heading, justify="right", no_wrap=True)
    table.add_column("\n\nlost", justify="right", no_wrap=True)
    means = [[_mean_of(column, summaries) for summaries in grouped.values()] for column in columns]
    best = [_best(column, found) if len(grouped) > 1 else None for column, found in zip(columns, means, strict=True)]
    for name, summaries in grouped.items():
        cells = []
        for column, leader in zip(columns, best, strict=True):
            mean = _mean_of(column, summaries)
            text = _cell([column.value(summary) for summary in summaries], mean)
            cells.append(f"[bold]{text}[/bold]" if mean is not None and mean == leader else text)
        table.add_row(escape(name), *cells, str(sum(summary.rejected + summary.failed for summary in summaries)))
    return table


def _mean_of(column: Column, summaries: Sequence[Summary]) -> float | None:
    return _mean([column.value(summary) for summary in summaries])


def _best(column: Column, means: Sequence[float | None]) -> float | None:
    known = [mean for mean in means if mean is not None]
    if not known:
        return None
    return max(known) if column.more else min(known)
