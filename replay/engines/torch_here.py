"""What this machine has for engines on PyTorch: the libraries, a GPU if one is asked for, and cores to share out.

PyTorch lets every process compute with as many threads as there are cores, and they wait for each other by spinning.
Several models on few cores then stand in each other's way: two of them on two cores were a hundred times slower than
with one thread each. One model alone on all cores suffers too, from the client that sends and listens (ten times slower
on two cores). So one core is left to the client, and each engine has its share of the others unless told otherwise.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping

from scheduler.errors import Absent, BadInput

#: What engines of this kind import.
LIBRARIES = ("torch", "transformers")
#: What a user may do about libraries that are missing.
REMEDY = "make .venv-engines/.ready, then .venv-engines/bin/argprod"


def cores() -> int:
    """How many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has no affinity
        return os.cpu_count() or 1


def threads_of_each(instances: int, cores_count: int, environment: Mapping[str, str] = os.environ) -> int:
    """CPU threads of each of several engines: what ``OMP_NUM_THREADS`` says, else a share of all cores but one.

    Args:
        instances: how many engines compute at once.
        cores_count: cores that they share.
        environment: the variables of the process.

    Example:
        >>> threads_of_each(2, 16, {}), threads_of_each(4, 2, {}), threads_of_each(2, 16, {"OMP_NUM_THREADS": "3"})
        (7, 1, 3)
    """
    told = environment.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if told.isdecimal() and int(told) >= 1:
        return int(told)
    return max(1, (cores_count - 1) // instances)


def check_libraries() -> None:
    """Whether an engine can be made in this environment, before anything is announced.

    Raises:
        BadInput: naming what is missing, and what brings it.
    """
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise BadInput("--engine torch", Absent.MISSING, f"{' and '.join(missing)} to be installed", REMEDY)


def check_device(device: str) -> None:
    """Whether PyTorch can compute there; it is imported only if that is a question.

    Raises:
        BadInput: for a GPU that it does not see.
    """
    if device == "cpu":
        return
    import torch

    if not torch.cuda.is_available():
        raise BadInput("engine torch: device", device, "cpu: PyTorch sees no GPU in this machine")
