"""What README shows of the evaluation: ``python -m benchmarks.readme --write`` puts it in its place."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.evaluation.questions import PRODUCT
from benchmarks.evaluation.scene import LOADS, WORKLOADS
from benchmarks.evaluation.tables import NAMES, against, against_line, change, of, origin, seeds_of
from benchmarks.measure import ROOT
from benchmarks.tables import markdown

README = ROOT / "README.md"
BEGIN, END = "<!-- made by python -m benchmarks.readme --write -->", "<!-- end -->"
SHOWN = ("half", "near")
METRICS = ("ttft_mean", "tpot_mean")


def headline() -> str:
    """Changes with the product in place of the line tuned for this workload and load, and of vLLM's balancing."""
    ends = [f"{name}, {LOADS[load]:g}" for load in SHOWN for name in ("TTFT", "TPOT")]
    head = ("", *(f"tuned sum: {end}" for end in ends), "vLLM v1: TTFT, 0.5", "TPOT, 0.5")
    rows = []
    for workload in WORKLOADS:
        seeds = seeds_of(workload)[:5]
        found = [against_line(workload, load, metric, tuned="once") for load in SHOWN for metric in METRICS]
        pair = (of(workload, "half", rule, seeds) for rule in (PRODUCT, "vllm_v1"))
        ours, theirs = pair
        found += [against(ours, theirs, metric) for metric in METRICS]
        rows.append((NAMES[workload], *(change(one).partition(" [")[0] for one in found)))
    return f"{markdown(head, rows)}\n\n{origin()}"


def replaced(text: str) -> str:
    """README with the part between the marks made anew.

    Raises:
        ValueError: if the marks are not there.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README.md lacks the marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{headline()}\n\n{END}{after}"


def main(path: Path = README) -> None:
    """Print the part, or write it."""
    if "--write" in sys.argv[1:]:
        path.write_text(replaced(path.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(headline())


if __name__ == "__main__":
    main()
