"""What detector and mitigation did, for the terminal: one row a kind of finding and policy."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from replay.experiment import Run
from replay.metrics import Watch

_SEVERITIES = ("info", "warning", "critical")


def share(count: int, total: int) -> str:
    """A count as a share of all decisions; a dash for none.

    Example:
        >>> share(5, 1000), share(0, 1000), share(1, 100_000)
        ('0.5%', '-', '<0.1%')
    """
    if not count:
        return "-"
    percent = 100 * count / total
    return "<0.1%" if percent < 0.1 else f"{percent:.1f}%"


def watch_table(runs: Sequence[Run]) -> Table | None:
    """Share of the decisions with each finding, and what mitigation changed at what price; None if nobody looked.

    Seeds are pooled.
    """
    watches: dict[str, list[Watch]] = {}
    for run in runs:
        if run.summary.watch is not None:
            watches.setdefault(run.policy, []).append(run.summary.watch)
    if not watches:
        return None
    table = Table(title="Findings, share of the decisions", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.padding = (0, 1, 0, 0)
    table.add_column("policy", overflow="fold", min_width=10)
    table.add_column("finding or mitigation", overflow="fold", min_width=16)
    for name in ("decisions", *_SEVERITIES):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("price\ntoken", justify="right", no_wrap=True)  # a number that is cut reads as another
    for label, found in watches.items():
        for row in watch_rows(found):
            table.add_row(escape(label), *row)
            label = ""
        table.add_section()
    return table


def watch_rows(found: Sequence[Watch]) -> list[list[str]]:
    """What it is, share of the decisions, of a finding by severity, price [token]; of the runs of one policy pooled."""
    total = sum(watch.decisions for watch in found)
    unsafe = sum(watch.unsafe for watch in found)
    rows = [["any unsafe", share(unsafe, total), "", "", "", ""]]
    for kind in sorted({kind for watch in found for kind in watch.findings}):
        counts = [sum(watch.findings.get(kind, {}).get(name, 0) for watch in found) for name in _SEVERITIES]
        rows.append([kind, "", *(share(count, total) for count in counts), ""])
    for kind in sorted({kind for watch in found for kind in watch.mitigated}):
        count = sum(watch.mitigated.get(kind, 0) for watch in found)
        price = sum(watch.price_tokens.get(kind, 0) for watch in found)
        rows.append([f"mitigated: {kind}", share(count, total), "", "", "", f"{price:,}"])
    return rows
