"""The page "My trace, my verdict": at most five commands from a clone to a verdict, each run as it is shown."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.book.pages import DOCS, ROOT, blocks
from tests.book.test_pages import LOOSE, commands

PAGE = "howto/five_commands.md"


def test_there_are_at_most_five_commands_and_the_first_is_the_set_up() -> None:
    text = (DOCS / PAGE).read_text(encoding="utf-8")
    steps = re.findall(r"^## (\d)\. .*?\n(.*?)(?=^## )", text, flags=re.MULTILINE | re.DOTALL)
    assert [number for number, _ in steps] == ["1", "2", "3", "4", "5"]
    assert all(len(re.findall(r"^\$ ", step, flags=re.MULTILINE)) == 1 for _, step in steps)
    assert "$ make setup\n" in steps[0][1]
    assert re.findall(r"^\$ (.*)", text, flags=re.MULTILINE)[0] == "make setup"  # all else needs what it makes
    assert re.search(r"^setup: \$\(VENV\)/\.ready$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.slow
def test_the_stand_in_is_made_and_every_command_runs_as_shown(tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parent.parent)  # what `make setup` makes
    env = {**os.environ, "COLUMNS": "92", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
    ran = 0
    for block in blocks(PAGE):
        for command, wanted in commands(block) if block.kind == "console" else ():
            if command == "make setup":
                continue
            done = subprocess.run(
                ["bash", "-c", command], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120
            )
            assert done.returncode == 0, done.stderr
            assert doctest.OutputChecker().check_output(wanted, done.stdout, LOOSE), f"{command}\n{done.stdout}"
            ran += 1
    assert ran == 5
    assert (tmp_path / "report.html").stat().st_size > 100_000
