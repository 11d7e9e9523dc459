"""The demo does the main job in one command, and the README shows what it really prints."""

import os
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent.parent / "README.md"


def test_the_demo_prints_the_table_of_the_readme_and_writes_a_report(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from argprod.cli import main; main()", "demo"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "80"},
        timeout=120,
    )
    printed = [" ".join(line.split()) for line in done.stdout.splitlines()]
    shown = [" ".join(line.split()) for line in README.read_text(encoding="utf-8").splitlines()]
    start = next(i for i, line in enumerate(shown) if line.startswith("policy s s ms"))
    rows = shown[start + 2 : start + 8]
    assert rows[0].startswith("lmetric ")
    for row in rows:
        assert row in printed, f"the README shows {row!r}, the demo does not print it"
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    assert (tmp_path / "argprod-report.html").stat().st_size > 100_000
