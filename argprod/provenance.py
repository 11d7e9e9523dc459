"""Where a measurement comes from: machine, versions, date and command; no names of hosts or users, no paths."""

from __future__ import annotations

import datetime as dt
import os
import platform
import shlex
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import argprod
from replay.calibration.step_log import Provenance


def provenance(packages: Iterable[str]) -> Provenance:
    """Of what is measured now, with this command.

    Args:
        packages: whose versions matter.

    Example:
        >>> sorted(provenance(["numpy", "no-such-package"]).versions)
        ['argprod', 'numpy', 'python']
    """
    names = list(packages)
    versions = {"argprod": argprod.__version__, "python": platform.python_version()}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return Provenance(
        machine=machine(torch="torch" in versions),
        versions=versions,
        date=dt.datetime.now(tz=dt.UTC).date().isoformat(),
        command=shlex.join(["argprod", *map(_without_folder, sys.argv[1:])]),
    )


def _without_folder(word: str) -> str:
    """The name of a file in place of its path; whatever else holds a slash stays.

    Example:
        >>> _without_folder("a/b/c.json"), _without_folder("http://127.0.0.1:8000"), _without_folder("torch:layers=2")
        ('c.json', 'http://127.0.0.1:8000', 'torch:layers=2')
    """
    return word if "://" in word or "/" not in word else Path(word).name


def machine(*, torch: bool = False) -> dict[str, Any]:
    """Processor and cores; and what torch runs on, if it is there and takes part."""
    facts: dict[str, Any] = {"processor": _processor(), "cores": os.cpu_count()}
    if torch:
        import torch as library

        facts["torch_threads"] = library.get_num_threads()
        if library.cuda.is_available():
            facts["accelerator"] = library.cuda.get_device_name()
    return facts


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
