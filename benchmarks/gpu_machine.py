"""What a result says of the machine it was measured on."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from importlib import metadata
from typing import Any

from benchmarks.measure import machine
from scheduler.errors import BadInput

_VERSIONS = ("torch", "transformers", "triton", "numpy", "msgspec", "xxhash", "psutil")


def versions() -> dict[str, str]:
    """Versions of what takes part; what has none is left out."""
    found = {}
    for name in _VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            module = importlib.util.find_spec(name)
            if module is not None:
                found[name] = "found, version not told"
    return found


def check_device(device: str) -> None:
    """Whether engines can run there.

    Raises:
        BadInput: with what to do about it.
    """
    for name in ("torch", "transformers"):
        if importlib.util.find_spec(name) is None:
            raise BadInput("--device", device, f"a Python with {name}", "requirements/engines.txt names the versions")
    if device == "cpu" and importlib.util.find_spec("psutil") is None:
        why = "without psutil transformers finds 0 bytes of memory on a CPU, and makes no cache: pip install psutil"
        raise BadInput("--device", device, "a Python with psutil", why)
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise BadInput("--device", device, "a GPU that torch sees", f"torch {torch.__version__} sees none")


def machine_facts(device: str) -> dict[str, Any]:
    """Processor, cores, accelerator, driver, and versions."""
    facts: dict[str, Any] = machine()
    affinity = getattr(os, "sched_getaffinity", None)
    if affinity is not None:
        facts["cores_usable"] = len(affinity(0))
    facts["threads_per_engine"] = os.environ.get("OMP_NUM_THREADS", "not set")
    if device == "cuda":
        facts["gpu"] = gpu_facts()
    return facts


def gpu_facts() -> dict[str, Any]:
    """Name, memory and driver of the first GPU."""
    import torch

    properties = torch.cuda.get_device_properties(0)
    free, total = torch.cuda.mem_get_info(0)
    facts = {
        "name": properties.name,
        "memory_bytes": total,
        "free_bytes": free,
        "multiprocessors": properties.multi_processor_count,
        "cuda": torch.version.cuda,
    }
    try:
        asked = "driver_version,clocks.sm,clocks.mem,temperature.gpu,power.draw"
        command = ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader", "--id=0"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
        facts |= dict(zip(asked.split(","), (word.strip() for word in answer.split(",")), strict=True))
    except (OSError, ValueError, subprocess.SubprocessError) as fault:
        facts["driver"] = f"not told: {fault}"
    return facts
