"""How many small faults in ``scheduler/`` the tests notice: mutmut on mutants drawn by chance, survivors listed.

All mutants would take days of one core, so the score is that of a sample, with its 95% interval (Clopper and Pearson).
A mutant counts as killed if a test fails or none ends in time; one that no test reaches has survived. Run by ``make
mutation``, which has an environment of its own; what is mutated and by which tests it is judged says
``[tool.mutmut]`` in ``pyproject.toml``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from scipy.stats import binomtest

from benchmarks.measure import ROOT, machine, save

MUTANTS = ROOT / "mutants"
#: Exit codes of pytest, and of a process that was ended because it took too long.
KILLED, TIMEOUT, SURVIVED, UNREACHED = {1, 3}, {24, 36, 152, 255, -24, -9}, {0}, {5, 33}
#: The smallest room: asked for alone, mutmut writes all mutants and learns which test reaches which function.
WARM_UP = "scheduler.finding.*"


def mutmut(*arguments: str) -> None:
    """Run it; its progress is seen. Tests take a quarter of their examples, which can only spare a mutant."""
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "quick"}
    subprocess.run([sys.executable, "-m", "mutmut", *arguments], cwd=ROOT, check=True, env=environment)


def verdicts() -> dict[str, int | None]:
    """Exit code of every mutant, None if it was not judged."""
    found: dict[str, int | None] = {}
    for path in sorted((MUTANTS / "scheduler").rglob("*.meta")):
        if (ROOT / path.relative_to(MUTANTS).with_suffix("")).exists():  # else of a module that is gone
            found |= json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
    return found


def judged(code: int | None) -> str:
    """What an exit code says."""
    for name, codes in (("killed", KILLED), ("timeout", TIMEOUT), ("survived", SURVIVED), ("unreached", UNREACHED)):
        if code in codes:
            return name
    return "unjudged"


def change(name: str) -> list[str]:
    """Lines that a mutant takes away and adds."""
    told = subprocess.run(
        [sys.executable, "-m", "mutmut", "show", name], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = told.stdout.splitlines()
    return [line.rstrip() for line in lines if line[:1] in "+-" and not line.startswith(("+++", "---"))]


def room(name: str) -> str:
    """Module of a mutant."""
    return name.rpartition(".")[0]


def report(drawn: Sequence[str], total: int, seed: int) -> dict[str, Any]:
    """The score of the sample, and who survived."""
    codes = verdicts()
    said = {name: judged(codes[name]) for name in drawn}
    counts = Counter(said.values())
    killed = counts["killed"] + counts["timeout"]
    test = binomtest(killed, len(drawn))
    interval = test.proportion_ci(confidence_level=0.95, method="exact")
    left = [name for name in drawn if said[name] not in ("killed", "timeout")]
    return {
        "score": killed / len(drawn),
        "interval_95": [interval.low, interval.high],
        "sample": len(drawn),
        "mutants": total,
        "seed": seed,
        "counts": dict(sorted(counts.items())),
        "rooms": len({room(name) for name in drawn}),
        "survivors": [{"name": name, "verdict": said[name], "change": change(name)} for name in sorted(left)],
        "mutmut": metadata.version("mutmut"),
        "machine": machine(),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "command": f'make mutation MUTATION_ARGS="--sample {len(drawn)} --seed {seed}"',
    }


def main() -> None:
    """Draw, judge, print, save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutation", description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=400, help="mutants to judge")
    parser.add_argument("--seed", type=int, default=1, help="of the draw")
    parser.add_argument("--children", type=int, default=2, help="mutants judged at the same time")
    parser.add_argument("--only", default="", help="draw among mutants whose name holds this text; nothing is saved")
    told = parser.parse_args()
    if told.sample < 1 or told.children < 1:
        parser.error("--sample and --children: at least 1")
    children = ("--max-children", str(told.children))
    mutmut("run", WARM_UP, *children)
    names = sorted(name for name in verdicts() if told.only in name)
    if not names:
        parser.error(f"--only {told.only!r}: no mutant has this in its name")
    drawn = sorted(random.Random(told.seed).sample(names, min(told.sample, len(names))))
    mutmut("run", *drawn, *children)
    result = report(drawn, len(names), told.seed)
    for survivor in result["survivors"]:
        print(survivor["name"], survivor["verdict"])
        print("\n".join(f"    {line}" for line in survivor["change"]))
    low, high = result["interval_95"]
    print(f"{len(drawn)} of {len(names)} mutants judged: {result['counts']}")
    print(f"score {result['score']:.1%}, 95% interval {low:.1%} to {high:.1%}")
    if not told.only:
        print(f"saved {save('mutation', result).name}")


if __name__ == "__main__":
    main()
