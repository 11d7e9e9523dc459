"""What every benchmark needs: turns in processes of their own, median with spread, facts about the machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest value."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def shown(row: Mapping[str, float], digits: int = 0) -> str:
    """``median [min, max]``."""
    return f"{row['median']:,.{digits}f} [{row['min']:,.{digits}f}, {row['max']:,.{digits}f}]"


def machine() -> dict[str, Any]:
    """Processor, cores and interpreter; no names or paths."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": metadata.version("numpy"),
    }


def in_process(python: Path | str, script: str, *arguments: str, timeout_s: float = 600) -> dict[str, Any]:
    """Run a script in a process of its own; the last line it prints is a JSON object.

    Raises:
        RuntimeError: with the end of what it printed, if it fails.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DYN_LOG": "error"}
    done = subprocess.run(
        [str(python), script, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=environment,
        cwd=ROOT,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{script} failed:\n{done.stdout[-500:]}\n{done.stderr[-1500:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def peer_environment(name: str) -> Path:
    """Python of a peer's own environment, made on first use of what its lock lists and nothing else."""
    folder = ROOT / f".venv-{name}"
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        print(f"setting up {folder.name} (once)")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        lock = ROOT / "requirements" / f"peer-{name}.lock"
        install = [str(python), "-m", "pip", "install", "-qq", "--no-deps", "--require-hashes", "-r", str(lock)]
        subprocess.run(install, check=True)
        (folder / ".ready").touch()
    return python


def save(name: str, result: Mapping[str, Any]) -> Path:
    """Write a result with its provenance."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    return path
