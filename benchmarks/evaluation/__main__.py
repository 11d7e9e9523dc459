"""``python -m benchmarks.evaluation [QUESTION ...]``: tune what is not tuned, run what was not run."""

from __future__ import annotations

import argparse
import datetime as dt
import functools
import json
import os

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from benchmarks.evaluation import tuning
from benchmarks.evaluation.questions import QUESTIONS
from benchmarks.evaluation.rows import FOLDER, Rows
from benchmarks.measure import machine


def main() -> None:
    """Answer the questions."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation", description=__doc__)
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=f"of {', '.join(QUESTIONS)}; all, if none")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    given = parser.parse_args()
    unknown = [name for name in given.questions if name not in QUESTIONS]
    if unknown:
        parser.error(f"{unknown[0]!r} is not one of {', '.join(QUESTIONS)}")
    names = given.questions or list(QUESTIONS)
    rows = Rows()
    columns = (TextColumn("{task.description:<36}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        if "everyone" in names:
            task = bars.add_task("tuning", total=None)
            tuning.fill(given.jobs, functools.partial(_told, bars, task))
            tuning.read_tuned_once.cache_clear()
        for name in names:
            task = bars.add_task(name, total=None)
            cases = list(QUESTIONS[name]())
            rows.fill(cases, given.jobs, functools.partial(_told, bars, task))
            bars.update(task, completed=1, total=1)
    # What no question asks any more is dropped once all have been answered.
    rows.pack({case for ask in QUESTIONS.values() for case in ask()} if set(names) == set(QUESTIONS) else None)
    facts = {"kind": "simulated", "rows": len(rows), "machine": machine(), "command": "make evaluation"}
    facts["date"] = dt.datetime.now(tz=dt.UTC).date().isoformat()
    (FOLDER / "provenance.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _told(bars: Progress, task: TaskID, done: int, total: int) -> None:
    bars.update(task, completed=done, total=total)


if __name__ == "__main__":
    main()
