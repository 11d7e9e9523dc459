"""One simulated run is one row: what was run, and what came out. Rows are kept in a file and never computed twice."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.evaluation.scene import requests_of
from benchmarks.measure import RESULTS
from replay.metrics import Summary, summarise
from replay.sim.cluster import roofline_cluster
from replay.sim.parts import Prepared, prepare
from replay.sim.router_decider import Routing
from replay.sim.run import simulate
from scheduler.accounting import Level
from scheduler.policies.catalogue import policy

FOLDER = RESULTS / "evaluation"
#: Digits that are kept; a run is the same on every machine to the last.
DIGITS = 6
_PREPARED_MAX = 3


class Case(msgspec.Struct, frozen=True, order=True, omit_defaults=True):
    """What was run.

    Args:
        workload: a name of the scene, or the text of a generated workload.
        rate: see :func:`benchmarks.evaluation.scene.requests_of`.
        seed: of draws and ties.
        policy: as ``NAME[:knob=value,...]``; ties are random, as a production router breaks them.
        requests: how many, at most.
        mitigation: ``none``: the rule alone; else the shipped router with detector and mitigation.
        level: what the router sees; ``delay_s`` how late [s].
        routers: how many share the cluster; ``sync_s`` how late one learns what another did [s].
        instances: of the cluster.
        closed_loop: whether a turn of a session waits for the reply before it, instead of coming when it was recorded.
    """

    workload: str
    rate: float
    seed: int
    policy: str
    requests: int
    mitigation: str = "none"
    level: str = "proxy"
    delay_s: float = 0.0
    routers: int = 1
    sync_s: float = 0.0
    instances: int = 16
    closed_loop: bool = False


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came out: latencies [s], shares, and how even the instances were."""

    case: Case
    finished: int
    lost: int
    ttft_s: dict[str, float | None]
    tpot_s: dict[str, float | None]
    e2e_s: dict[str, float | None]
    hit_fraction: float | None
    goodput_fraction: float | None
    throughput_tokens_per_s: float | None
    imbalance: dict[str, float | None]
    instance_requests_cv: float
    unsafe: int = 0
    mitigated: int = 0


def row_of(case: Case, summary: Summary) -> Row:
    """The row of a summary."""
    counts = np.asarray(summary.instance_requests, dtype=float)
    watch = summary.watch
    return Row(
        case=case,
        finished=summary.finished,
        lost=summary.rejected + summary.failed,
        ttft_s=_rounded(msgspec.to_builtins(summary.ttft_s)),
        tpot_s=_rounded(msgspec.to_builtins(summary.tpot_s)),
        e2e_s=_rounded(msgspec.to_builtins(summary.e2e_s)),
        hit_fraction=_round(summary.hit_fraction),
        goodput_fraction=_round(summary.goodput_fraction),
        throughput_tokens_per_s=_round(summary.throughput_tokens_per_s),
        imbalance=_rounded(msgspec.to_builtins(summary.batch_imbalance)),
        instance_requests_cv=float(f"{counts.std() / counts.mean():.{DIGITS}g}"),
        unsafe=0 if watch is None else watch.unsafe,
        mitigated=0 if watch is None else sum(watch.mitigated.values()),
    )


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")


def _rounded(values: dict[str, float | None]) -> dict[str, float | None]:
    return {name: _round(value) for name, value in values.items()}


_prepared: dict[tuple[str, float, int, int], Prepared] = {}


def run_case(case: Case) -> Row:
    """Simulate one case."""
    key = (case.workload, case.rate, case.requests, case.seed)
    if key not in _prepared:
        while len(_prepared) >= _PREPARED_MAX:
            del _prepared[next(iter(_prepared))]
        _prepared[key] = prepare(requests_of(*key))
    chosen = policy(with_ties(case.policy))
    plain = case.mitigation == "none" and case.routers == 1
    routing = None if plain else Routing(case.mitigation, routers=case.routers, sync_s=case.sync_s)
    cluster = roofline_cluster(case.instances, level=Level(case.level), delay_s=case.delay_s)
    record = simulate(_prepared[key], chosen, cluster, seed=case.seed, closed_loop=case.closed_loop, routing=routing)
    return row_of(case, summarise(record, chosen.rule.name, {}, case.instances, 0.0, case.mitigation))


def with_ties(text: str) -> str:
    """A policy with random ties, where its ties can be chosen: rules that draw by themselves stay as they are.

    Example:
        >>> with_ties("linear:weight=0.5"), with_ties("dynamo")
        ('linear:weight=0.5,ties=random', 'dynamo')
    """
    if "ties=" in text or all(knob.name != "ties" for knob in policy(text).rule.all_knobs()):
        return text
    return f"{text}{',' if ':' in text else ':'}ties=random"


class Rows:
    """The rows that there are: packed in one file, and those of an evaluation that goes on in another beside it.

    Args:
        path: the packed file; the other one, which grows by a line a run, has its name without ``.gz``.
    """

    def __init__(self, path: Path = FOLDER / "rows.jsonl.gz") -> None:
        self.path, self.growing = path, path.with_suffix("")
        self._rows: dict[Case, Row] = {}
        packed = gzip.decompress(path.read_bytes()) if path.exists() else b""
        growing = self.growing.read_bytes() if self.growing.exists() else b""
        for line in (*packed.splitlines(), *growing.splitlines(keepends=True)):
            if line.endswith((b"}", b"}\n")):  # not what was cut short while it was written
                row = msgspec.json.decode(line, type=Row)
                self._rows[row.case] = row

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, cases: Iterable[Case]) -> list[Row]:
        """The rows of cases that were run.

        Raises:
            LookupError: if one was not.
        """
        wanted = list(cases)
        missing = [case for case in wanted if case not in self._rows]
        if missing:
            raise LookupError(f"{len(missing)} runs are not there, the first: {missing[0]}; run make evaluation")
        return [self._rows[case] for case in wanted]

    def fill(self, cases: Sequence[Case], jobs: int, progress: Callable[[int, int], None] | None = None) -> None:
        """Run what is missing; rows are written as they come, so that a run that is stopped loses nothing."""
        missing = sorted({case for case in cases if case not in self._rows})
        if not missing:
            return
        self.growing.parent.mkdir(parents=True, exist_ok=True)
        with self.growing.open("ab") as file, ProcessPoolExecutor(jobs) as pool:
            for done, future in enumerate(as_completed([pool.submit(run_case, case) for case in missing]), 1):
                row = future.result()
                self._rows[row.case] = row
                file.write(msgspec.json.encode(row) + b"\n")
                file.flush()
                if progress is not None:
                    progress(done, len(missing))

    def pack(self, keep: Iterable[Case] | None = None) -> None:
        """Pack the rows in order, so that equal results are equal files; only some, if named."""
        kept = set(self._rows) if keep is None else set(keep)
        lines = [msgspec.json.encode(self._rows[case]) for case in sorted(kept)]
        self.path.write_bytes(gzip.compress(b"".join(line + b"\n" for line in lines), mtime=0))
        self.growing.unlink(missing_ok=True)
        self._rows = {case: row for case, row in self._rows.items() if case in kept}
