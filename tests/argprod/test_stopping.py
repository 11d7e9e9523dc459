"""Ctrl-C while the command still loads its libraries: one line, and the exit code of all interrupts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

#: A library that gets Ctrl-C while it loads, and takes it for a failure of its own.
LOADING = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)
except BaseException:
    pass
raise ImportError("the library is broken")
"""


@pytest.mark.parametrize("library", ["typer", "z3", "rich"])
def test_an_interrupt_while_libraries_load_is_quiet(library: str, tmp_path: Path) -> None:
    (tmp_path / f"{library}.py").write_text(LOADING)
    command = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from argprod.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "policies"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr, done.stdout) == (130, "argprod: interrupted\n", "")


def test_the_entry_point_itself_loads_nothing_that_takes_long() -> None:
    command = "import sys; import argprod.cli; print(*sorted(set(sys.modules) & {'numpy', 'msgspec', 'typer', 'z3'}))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""


def test_an_interrupt_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """As for a command started in the background with nohup."""
    command = (
        "import signal, sys; from argprod.cli import _stopped_quietly\n"
        "with _stopped_quietly(): sys.exit(signal.getsignal(signal.SIGINT) is not signal.SIG_IGN)"
    )
    done = subprocess.run(
        [sys.executable, "-c", command],
        check=False,
        timeout=60,
        env=dict(os.environ),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert done.returncode == 0
