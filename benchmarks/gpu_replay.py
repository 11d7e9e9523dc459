"""Rules on engines of one GPU, measured and simulated, by one command that needs no installation and no network.

    python benchmarks/gpu_replay.py --out DIR --minutes 8

It wants torch, transformers, numpy and xxhash, and msgspec, installed or as a wheel that lies beside it, in ``wheels/``
or where ``--wheel`` says. It writes ``DIR/gpu_replay.json`` again after every part and every run, and packs the logs
beside it; whatever ends it, what was learned is in the file, and what was not done is named there.

Exit codes: 0 all was done, 3 some of it (``parts`` says what), 2 it cannot run here, 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import datetime as dt
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
#: Packages that may come as wheels.
CARRIED = ("msgspec", "xxhash", "psutil")

#: What the fields of the result mean, for whoever has nothing but the file.
READING = {
    "step_time": "one instance alone, fitted to measured steps; its error is that on rounds that were held out",
    "together": "the same while all instances are busy; slowdown: how many times as long steps took as alone predicts",
    "load": "requests of the runs; rates from the step times of instances that are all busy",
    "runs": "measured; step_errors: of either step time on the steps of that run",
    "simulated": "the same requests and rules in the simulator, with either step time: alone, together",
    "comparison": "error: simulated / measured - 1; a pair is sure if every repetition has it in the same order",
    "numerics": "greedy output of a prompt whose prefix is cached against the same prompt computed whole",
}


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder of the result")
    add("--minutes", type=float, default=8.0, help="everything is over after so long (default 8)")
    add("--shape", default="qwen2-0.5b", help="qwen2-0.5b (default), qwen2-1.5b, qwen2-7b or tiny")
    add("--device", default="cuda", choices=("cuda", "cpu"))
    add("--instances", type=int, default=4, help="engines that share the device (default 4)")
    add("--engines", default="processes", choices=("processes", "threads"), help="where each engine lives")
    add("--trace", help="a trace file in place of the generated chat")
    add("--load", type=float, default=0.5, help="share of the maximum rate (default 0.5)")
    add("--repeats", type=int, help="repetitions of every run; without it two, and more as time allows")
    add("--run-s", type=float, help="length of a run; without it, what the time allows [s]")
    add("--sweep-s", type=float, help="how long step times are measured; without it, a share of the time [s]")
    add("--seed", type=int, default=0)
    add("--wheel", type=Path, action="append", default=[], help="a wheel to unpack; may be given several times")
    options = parser.parse_args(arguments)
    if not 0 < options.minutes <= 1440 or not 1 <= options.instances <= 64:
        parser.error("--minutes is above 0 and at most 1440, --instances 1 to 64")
    if options.repeats is not None and not 1 <= options.repeats <= 100:
        parser.error("--repeats is 1 to 100")
    if not 0 < options.load <= 2 or (options.run_s is not None and not 0.5 <= options.run_s <= 3600):
        parser.error("--load is above 0 and at most 2, --run-s 0.5 to 3600")
    if options.sweep_s is not None and not 1 <= options.sweep_s <= 3600:
        parser.error("--sweep-s is 1 to 3600")
    return options


def prepare(wheels: list[Path]) -> str:
    """Let Python find this tree, and unpack what is not installed; what is still missing, or an empty text.

    A wheel with compiled parts cannot be imported as it lies, so it goes to a temporary folder.
    """
    here = str(ROOT / "benchmarks")
    sys.path[:] = [str(ROOT), *(path for path in sys.path if Path(path or ".").resolve() != Path(here))]
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    for name in CARRIED:
        if importlib.util.find_spec(name) is not None:
            continue
        places = (ROOT / "benchmarks", ROOT / "wheels", ROOT / ".whl", ROOT)
        found = [*wheels, *(path for place in places for path in sorted(place.glob(f"{name}-*.whl")))]
        fitting = [
            path for path in found if path.name.startswith(f"{name}-") and (tag in path.name or "abi3" in path.name)
        ]
        if not fitting:
            if name == "psutil":  # a CPU needs it, which is looked at where the device is
                continue
            return f"{name} is missing: install it, or carry its wheel for {tag} and name it with --wheel"
        folder = tempfile.mkdtemp(prefix=f"{name}-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        with zipfile.ZipFile(fitting[0]) as wheel:
            wheel.extractall(folder)
        sys.path.append(folder)
        importlib.invalidate_caches()
    return ""


def command_of() -> str:
    """What was typed, with names of files in place of their paths."""
    words = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    return " ".join(["python benchmarks/gpu_replay.py", *words])


def told_of(options: argparse.Namespace) -> dict[str, Any]:
    """The options, with names of files in place of their paths."""
    told = {
        name: Path(value).name if name in ("out", "trace") and value else value for name, value in vars(options).items()
    }
    told["wheel"] = [path.name for path in options.wheel]
    return told


def main(arguments: list[str] | None = None) -> int:
    """Everything; the exit code."""
    began_s = time.monotonic()
    options = options_of(arguments)
    # Several engines share few cores, and nothing is to be fetched: both must stand before torch is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    missing = prepare(options.wheel)
    if missing:
        print(f"gpu_replay: {missing}", file=sys.stderr)
        return 2

    from benchmarks.gpu_checkpoint import Checkpoint, Deadline
    from benchmarks.gpu_machine import check_device, machine_facts, versions
    from benchmarks.gpu_session import PARTS, Session
    from benchmarks.gpu_summary import summary_lines
    from benchmarks.gpu_workload import Source
    from scheduler.errors import ArgprodError

    interrupted = threading.Event()
    try:
        check_device(options.device)
        if options.trace is not None:  # sooner than after minutes of measuring
            Source(options.trace, generated=False).draw(1, options.seed)
        options.out.mkdir(parents=True, exist_ok=True)
        deadline = Deadline(60.0 * options.minutes - (time.monotonic() - began_s))
        facts = {
            "benchmark": "gpu_replay",
            "kind": "measured on engines; what the simulator says is named simulated and stands in fields of its own",
            "reading": READING,
            "command": command_of(),
            "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
            "options": told_of(options),
            "machine": machine_facts(options.device),
            "versions": versions(),
        }
        checkpoint = Checkpoint(options.out / "gpu_replay.json", PARTS, facts, deadline)
        with tempfile.TemporaryDirectory(prefix="gpu_replay-") as folder:
            asyncio.run(_until_enough(Session(options, checkpoint, Path(folder), interrupted).run(), interrupted))
    except ArgprodError as fault:
        print(f"gpu_replay: {fault}", file=sys.stderr)
        return 2
    except (asyncio.CancelledError, KeyboardInterrupt):
        print("gpu_replay: interrupted; what was learned is written", file=sys.stderr)
        return 130
    checkpoint.save()
    print("\n".join(summary_lines({"parts": checkpoint.parts, **checkpoint.found})))
    print(options.out / "gpu_replay.json")
    return 0 if checkpoint.complete else 3


async def _until_enough(work: Coroutine[Any, Any, None], interrupted: threading.Event) -> None:
    """Run it; a signal to end cancels it, so that engines are closed and the result is written."""
    task = asyncio.ensure_future(work)

    def enough() -> None:
        interrupted.set()
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, enough)
    await task


if __name__ == "__main__":
    sys.exit(main())
