"""What live runs show on the terminal: the table, and beneath it what says how far to believe it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from argprod.live_options import LiveOptions
from argprod.reasons import alike
from argprod.tables import legend, replay_table
from argprod.watch_table import watch_table
from replay.engines.kv_subscriber import KvSubscriber
from replay.experiment import Run
from replay.live_result import LiveRun
from replay.log_folder import Standing
from replay.prediction import ON_ITS_WAY, UNKNOWN

#: Why a prediction was off, in words.
_CAUSES = {
    ON_ITS_WAY: "came while another request with the same beginning was being computed there, so nobody could know",
    UNKNOWN: "had another reason (such as blocks pushed out, or KV events that had not come yet)",
}
#: Requests that a line on lost ones names, at most.
IDS_SHOWN = 8


def engines_told(live: LiveOptions) -> str:
    """How many engines of which kind, in a few words: ``2 torch engines (layers 4)``."""
    name, _, more = live.engine.describe().partition(", ")
    kind = "HTTP server" if name == "http" else f"{name} engine"
    plural = "" if live.instances == 1 else "s"
    return f"{live.instances} {kind}{plural}" + (f" ({more})" if more else "")


def show_live(
    console: Console, told: Sequence[tuple[Run, LiveRun]], live: LiveOptions, heard: Sequence[str] = ()
) -> None:
    """Show runs on real engines.

    Args:
        console: where.
        told: runs as tables read them, and what else is told of each.
        live: as the command line says.
        heard: sentences on what was heard of caches.
    """
    runs, live_runs = [run for run, _ in told], [run for _, run in told]
    title = escape(f"measured: {engines_told(live)}")
    console.print(replay_table(runs, title, console.width))
    console.print(legend("Measured", "the repetitions" if live.repeats > 1 else ""))
    if live.findings or any(name != "none" for name in live.mitigations):
        table = watch_table(runs)
        if table is not None:
            console.print(table)
    for line in (*remarks(live_runs, kept=live.log is not None), *heard):
        console.print(escape(line), soft_wrap=True)
    absent = sum(run.summary.not_arrived for run in runs)
    if absent:
        console.print(f"not arrived by the cut-off, and not counted: {absent}")
    if live.log is not None:
        console.print(f"logs: {escape(str(live.log))}", soft_wrap=True)


def remarks(runs: Sequence[LiveRun], *, kept: bool, late: bool = True) -> list[str]:
    """Sentences on predictions, lost requests, instances given up and, if asked, a client that was late."""
    return [*_predicted(runs), *_lost(runs, kept), *_gone(runs), *(late_told(runs) if late else ())]


def cut_told(run: LiveRun) -> str:
    """A run that did not come to its end, which no table shows beside whole ones."""
    return (
        f"{run.policy}, repetition {run.repeat}: in no table above; what had ended by then is in the log and the JSON"
    )


def taken_told(known: Standing, runs: int) -> str:
    """What a folder of logs has of the runs already; nothing if it has nothing.

    Example:
        >>> taken_told(Standing(begun=frozenset({"00-random.jsonl"})), 4)
        '0 of 4 runs taken from the log, 1 run that was cut short is done again'
    """
    if not known.whole and not known.begun:
        return ""
    again, several = len(known.begun), len(known.begun) > 1
    cut = (
        f", {again} {'runs that were' if several else 'run that was'} cut short {'are' if several else 'is'} done again"
    )
    return f"{len(known.whole)} of {runs} runs taken from the log{cut if again else ''}"


def events_told(ear: KvSubscriber) -> str:
    """What came of the KV events of an engine in the runs that were made just now, in a sentence."""
    counts, blocks = ear.counted()
    odd = {
        "lost": counts.lost,
        "unreadable": counts.unreadable,
        "missed before the start": counts.missed_before,
        "restarts": counts.restarts,
        "failed replays": counts.failed_replays,
        "blocks of another size or kind": blocks.others,
        "blocks behind unknown ones": blocks.orphans,
        "blocks forgotten": blocks.dropped,
    }
    words = [f"{count} {word}" for word, count in odd.items() if count]
    ending = f" ({ear.fault})" if ear.fault and (counts.unreadable or counts.failed_replays) else ""
    told = ", ".join([f"{counts.read} batches read", f"{blocks.stored} blocks stored", *words])
    return f"KV events of {ear.name}: {told}{ending}."


def _predicted(runs: Sequence[LiveRun]) -> list[str]:
    told = sum(run.prediction.told for run in runs)
    if not told:
        return ["The engines do not tell what they take from their caches, so there is no hit fraction."]
    equal = sum(run.prediction.equal for run in runs)
    causes: dict[str, int] = {}
    for off in (off for run in runs for off in run.prediction.off):
        causes[off.cause] = causes.get(off.cause, 0) + 1
    others = "; ".join(f"{count} {_CAUSES.get(cause, cause)}" for cause, count in sorted(causes.items()))
    return [
        f"Cached tokens were as the router predicted, to the block, in {100 * equal / told:.1f}% of {told} requests."
        + (f" Of the others, {others}." if others else "")
    ]


def _lost(runs: Sequence[LiveRun], kept: bool) -> list[str]:
    everything = [lost for run in runs for lost in run.lost]
    grouped = alike(everything, lambda lost: f"{lost.end}: {lost.reason}", lambda lost: lost.instance)
    lines = []
    for told, found in grouped:
        end, _, reason = told.partition(": ")
        numbers = list(dict.fromkeys(lost.id for lost in found))
        ids = ", ".join(map(str, numbers[:IDS_SHOWN]))
        more = f", and {len(numbers) - IDS_SHOWN} more" if len(numbers) > IDS_SHOWN else ""
        lines.append(f"{end}: {_times(len(found))} {reason} (request{'s' if len(numbers) > 1 else ''} {ids}{more})")
    if grouped and not kept:
        lines.append("--log FOLDER keeps a line on every request")
    return lines


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _gone(runs: Sequence[LiveRun]) -> list[str]:
    return [
        f"{run.policy}, repetition {run.repeat}: {name} failed too often in a row and got no more requests; last: {why}"
        for run in runs
        for name, why in run.gone.items()
    ]


def late_told(runs: Sequence[LiveRun]) -> list[str]:
    """A sentence on a client that was late, which may undo any comparison."""
    late = [run for run in runs if not run.client_lag.kept_up]
    if not late:
        return []
    worst = max(late, key=lambda run: run.client_lag.share or 0.0)
    return [f"In {len(late)} of {len(runs)} runs {worst.client_lag.warning()} (worst: {worst.policy})."]
