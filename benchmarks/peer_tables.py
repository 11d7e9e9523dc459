"""Tables of how fast argprod is beside its peers, computed from committed results, for the book.

A ratio is how many times as long the peer takes, in the same round: above 1 argprod is quicker. It is shown as the
median with the least and the greatest of the rounds; bold where argprod was quicker in every round, in italics where
the peer was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.tables import markdown, origin, result

Spread = Mapping[str, float]

#: How rows of the results are called in tables. A look-up without blocks is none of them: it is a call, nothing else.
LOOKUPS = {
    "miss": "nobody holds any of it",
    "one holds all": "one instance holds all of it",
    "all hold 700": "all instances hold 700 blocks of it",
}
LATENCIES = {"mean_ttft_s": "mean TTFT", "mean_e2e_s": "mean E2E"}


@dataclass(frozen=True)
class Compared:
    """One thing that was measured on both sides.

    Args:
        what: what was measured.
        ours, theirs: medians with their unit.
        ratio: the peer's time over ours: median, least and greatest of the rounds.
    """

    what: str
    ours: str
    theirs: str
    ratio: Spread

    @property
    def won(self) -> bool:
        """Whether argprod was quicker in every round."""
        return self.ratio["min"] > 1

    @property
    def lost(self) -> bool:
        """Whether the peer was quicker in every round."""
        return self.ratio["max"] < 1


def number(value: float) -> str:
    """Three significant digits, and never fewer than the whole part has.

    Example:
        >>> number(0.43211), number(20.333), number(16150.9)
        ('0.432', '20.3', '16,151')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def times(row: Compared) -> str:
    """The ratio of a row, its verdict in the type.

    Example:
        >>> times(Compared("replay", "", "", {"median": 20.333, "min": 19.91, "max": 20.54}))
        '**20.3** (19.9 to 20.5)'
    """
    mark = "**" if row.won else "*" if row.lost else ""
    least, greatest = number(row.ratio["min"]), number(row.ratio["max"])
    return f"{mark}{number(row.ratio['median'])}{mark} ({least} to {greatest})"


def part(name: str, benchmark: str, *keys: str) -> Any:
    """A part of a committed result.

    Raises:
        LookupError: if it is not there, with the command that measures it.
    """
    try:
        found: Any = result(name)
        for key in keys:
            found = found[key]
    except (FileNotFoundError, KeyError) as fault:
        place = " > ".join((f"benchmarks/results/{name}.json", *keys))
        raise LookupError(f"{place} is not there: run make bench BENCH_ARGS={benchmark}") from fault
    return found


def rates(row: Mapping[str, Spread], ours: str, theirs: str) -> tuple[str, str]:
    """Medians of two speeds."""
    return tuple(f"{number(row[name]['median'])} requests/s" for name in (ours, theirs))  # type: ignore[return-value]


def dynamo_rows() -> list[Compared]:
    """The simulator and Dynamo's replay of the real trace."""
    speeds = part("simulator", "simulator", "requests_per_s")
    named = (("the replay alone", "replay", "ratio_replay"), ("trace read, and replayed", "whole call", "ratio_whole"))
    return [
        Compared(
            what,
            *rates(speeds, f"argprod lmetric, {stage}", f"dynamo kv_router, {stage}"),
            part("simulator", "simulator", ratio),
        )
        for what, stage, ratio in named
    ]


def vidur_rows() -> list[Compared]:
    """The simulator and vidur's, on the same requests and step times."""
    rows = []
    for name, scene in part("simulator_vidur", "simulator_vidur", "scenes").items():
        for what, ours, stage, ratio in (
            ("the replay alone", "argprod", "replay", "ratio_replay"),
            ("trace read, and replayed", "argprod", "whole call", "ratio_whole"),
            ("the replay alone, step by step", "argprod step by step", "replay", "ratio_step_by_step"),
        ):
            speeds = rates(scene["requests_per_s"], f"{ours}, {stage}", f"vidur, {stage}")
            rows.append(Compared(f"`{name}`: {what}", *speeds, scene[ratio]))
    return rows


def decision_rows() -> list[Compared]:
    """A decision of the router, and a selection of Dynamo's service."""
    rows = []
    for size, ratio in part("decision", "decision", "ratios").items():
        both = (part("decision", "decision", name, size) for name in ("route_us", "dynamo_select_us"))
        ours, theirs = (f"{number(row['p50'])} us (p99 {number(row['p99'])})" for row in both)
        rows.append(Compared(f"one decision, {size} instances", ours, theirs, ratio))
    return rows


def index_rows() -> list[Compared]:
    """The prefix index and Dynamo's tree."""
    rows = []
    for size, found in part("index_peer", "index_peer", "instances").items():
        for blocks, row in found["add_us_per_block"].items():
            rows.append(_timed(f"add from JSON, {_blocks(blocks)} an event, {size} instances", row, " a block"))
        for case, called in LOOKUPS.items():
            rows.append(_timed(f"look up: {called}, {size} instances", found["lookup_us"][case]))
    return rows


def _timed(what: str, row: Mapping[str, Spread], per: str = "") -> Compared:
    ours, theirs = (f"{number(row[side]['median'])} us{per}" for side in ("ours", "theirs"))
    return Compared(what, ours, theirs, row["ratio"])


def everything() -> list[Compared]:
    """All rows that stand in a table."""
    return [*vidur_rows(), *dynamo_rows(), *decision_rows(), *index_rows()]


def answer() -> str:
    """How often argprod is quicker, by how much, and where it is not."""
    rows = everything()
    won = sorted(row.ratio["median"] for row in rows if row.won)
    told = f"argprod was quicker than its peer in every round of {len(won)} of {len(rows)} comparisons"
    if won:
        told += f", by {number(won[0])} to {number(won[-1])} times"
    lost = [f"{row.what} ({number(row.ratio['median'])})" for row in rows if row.lost]
    level = [row.what for row in rows if not row.won and not row.lost]
    slower = f"The peer was quicker at: {'; '.join(lost)}" if lost else "The peer was quicker in none"
    if level:
        slower += f". Now the one, now the other: {'; '.join(level)}"
    return f"{told}. {slower}."


def table(rows: Sequence[Compared], peer: str) -> str:
    """Rows as Markdown."""
    head = ("compared", "argprod", peer, "ratio")
    return markdown(head, ((row.what, row.ours, row.theirs, times(row)) for row in rows))


def vidur() -> str:
    """Speed of the simulator beside vidur's."""
    found = part("simulator_vidur", "simulator_vidur")
    return f"{table(vidur_rows(), 'vidur')}\n\n{_beneath(found)}"


def vidur_latencies() -> str:
    """What both simulators say of the same requests, and how far that is apart."""
    rows = []
    for name, scene in part("simulator_vidur", "simulator_vidur", "scenes").items():
        for metric, row in scene["latency"].items():
            apart = f"{abs(row['ratio'] - 1):.0e}" if row["ratio"] != 1 else "0"
            both = (f"{row[side]:.6f} s" for side in ("argprod", "vidur"))
            rows.append((f"`{name}`: {LATENCIES.get(metric, metric)}", *both, apart))
    return markdown(("simulated", "argprod", "vidur", "relative difference"), rows)


def dynamo() -> str:
    """Speed of the simulator beside Dynamo's replay."""
    return f"{table(dynamo_rows(), 'Dynamo')}\n\n{_beneath(part('simulator', 'simulator'))}"


def decision() -> str:
    """Time of a decision beside Dynamo's selection."""
    return f"{table(decision_rows(), 'Dynamo')}\n\n{_beneath(part('decision', 'decision'))}"


def index() -> str:
    """Times of the prefix index beside Dynamo's tree."""
    return f"{table(index_rows(), 'RadixTree')}\n\n{_beneath(part('index_peer', 'index_peer'))}"


def index_within() -> str:
    """A call with nothing to look up, what a look-up takes beyond a miss, and adding here without JSON."""
    rows: list[tuple[str, ...]] = []
    for size, found in part("index_peer", "index_peer", "instances").items():
        for blocks, row in found["add_us_per_block"].items():
            ready = f"{number(row['ours, ready keys']['median'])} us a block"
            rows.append((f"add with ready keys, {_blocks(blocks)} an event, {size} instances", ready, "no such call"))
        lookups = found["lookup_us"]
        empty, miss = ([lookups[case][side]["median"] for side in ("ours", "theirs")] for case in ("no blocks", "miss"))
        rows.append((f"look up an empty prompt, {size} instances", *(f"{number(value)} us" for value in empty)))
        for case in ("one holds all", "all hold 700"):
            whole = [lookups[case][side]["median"] for side in ("ours", "theirs")]
            ours, theirs = (f"{number(all_us - miss_us)} us" for all_us, miss_us in zip(whole, miss, strict=True))
            rows.append((f"look up: {LOOKUPS[case]}, beyond a miss, {size} instances", ours, theirs))
    return markdown(("the border and what is behind it", "argprod", "RadixTree"), rows)


def _blocks(count: str) -> str:
    return f"{count} block{'s' if count != '1' else ''}"


def _beneath(found: Mapping[str, Any]) -> str:
    """Rounds and origin, beneath a table."""
    rounds = found["rounds"]
    return f"{rounds} round{'s' if rounds != 1 else ''}. {origin(found)}"
