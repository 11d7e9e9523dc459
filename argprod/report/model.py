"""What a report is made of: the runs and everything that says where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from replay.disagreement import DisagreementMatrix
from replay.experiment import Plan, Run
from replay.metrics import Summary
from replay.sources import SourceInfo
from scheduler.state import Request


@dataclass(frozen=True, slots=True)
class ReportInput:
    """Everything a report shows; the same input gives the same sections and numbers.

    Args:
        runs: at least one; an interrupted experiment may have fewer than its plan.
        plan: what was to be run.
        source: where the requests came from.
        request_count: requests of the first seed.
        span_s: from first to last arrival of the first seed [s].
        settings: everything needed to repeat the run, nested as in ``replay --json``.
        disagreement: how often rules disagree; None if it was not measured.
        date: of the run, as it should be shown; there is no clock in here.
        command: the command line that made the report.
        measured_on: the engines, if the runs were on real ones; empty if they were simulated.
        remarks: what else limits what the runs say, in sentences.
        warnings: what of that may undo the verdict, so that it stands with it.
        cut_short: how many of the runs did not come to their end; they are of part of the source.
    """

    runs: tuple[Run, ...]
    plan: Plan
    source: SourceInfo
    request_count: int
    span_s: float
    settings: Mapping[str, Any]
    disagreement: DisagreementMatrix | None = None
    date: str | None = None
    command: str | None = None
    measured_on: str = ""
    remarks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    cut_short: int = 0

    def __post_init__(self) -> None:
        assert self.runs, "a report needs at least one run"

    @property
    def kind(self) -> str:
        """What all numbers are: ``simulated`` or ``measured``."""
        return "measured" if self.measured_on else "simulated"

    @property
    def one_of_several(self) -> str:
        """What runs of a policy differ in."""
        return "repetition" if self.measured_on else "seed"

    @property
    def policies(self) -> list[str]:
        """Labels of the policies that ran, in the order of their first run."""
        return list(dict.fromkeys(run.policy for run in self.runs))

    @property
    def seeds(self) -> list[int]:
        """Seeds that ran, in order."""
        return sorted({run.summary.seed for run in self.runs})

    @property
    def arrived(self) -> int:
        """Requests that arrived in the longest run; fewer than those of the source where it was cut short."""
        return max(run.summary.requests for run in self.runs)

    def runs_of(self, policy: str) -> list[Run]:
        """The runs of a policy, one a seed."""
        return [run for run in self.runs if run.policy == policy]

    def summaries_of(self, policy: str) -> list[Summary]:
        """The summaries of a policy, one a seed."""
        return [run.summary for run in self.runs_of(policy)]


def report_input(
    runs: Sequence[Run],
    plan: Plan,
    info: SourceInfo,
    requests: Sequence[Request],
    settings: Mapping[str, Any],
    *,
    disagreement: DisagreementMatrix | None = None,
    date: str | None = None,
    command: str | None = None,
    measured_on: str = "",
    remarks: Sequence[str] = (),
    warnings: Sequence[str] = (),
    cut_short: int = 0,
) -> ReportInput:
    """Put together what a report shows; see :class:`ReportInput`.

    Args:
        runs, plan, settings, disagreement, date, command, measured_on, remarks, warnings, cut_short: as there.
        info: of the source, after its last request was read.
        requests: those of the first seed.
    """
    span_s = requests[-1].arrival_s - requests[0].arrival_s if requests else 0.0
    return ReportInput(
        tuple(runs),
        plan,
        info,
        len(requests),
        span_s,
        settings,
        disagreement,
        date,
        command,
        measured_on,
        tuple(remarks),
        tuple(warnings),
        cut_short,
    )
