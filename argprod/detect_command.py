"""``argprod detect``: what is wrong with a state, before a request is routed in it.

Exit codes: 0 if every state is safe (nothing above info), 3 if one is not, 2 for bad input.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from argprod.detect_view import show, show_instances
from scheduler.detect_config import DetectConfig
from scheduler.detection import detect
from scheduler.errors import BadInput
from scheduler.finding import Detection
from scheduler.policies.catalogue import policy as read_policy
from scheduler.policies.choosing import require
from scheduler.state_json import StateFile, read_states

_NOT_SAFE = 3
_DEFAULT_POLICY = DetectConfig().policy

Source = Annotated[
    str, typer.Argument(help="A file with one state, one a line, or a saved counterexample; - reads standard input.")
]
PolicyText = Annotated[
    str | None,
    typer.Option("--policy", help=f"NAME[:knob=value,...]; default: the state's, else {_DEFAULT_POLICY}."),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON, for several states one object a line, in their order.")
]
Explain = Annotated[
    bool,
    typer.Option(
        "--explain", help="Show every instance, what other rules take, and claim and advice; not with --json."
    ),
]


def detect_command(
    source: Source, policy: PolicyText = None, as_json: AsJson = False, explain: Explain = False
) -> None:
    """Look at states before their requests are routed; exit 3 if one of them is not safe."""
    if as_json and explain:
        raise BadInput("--explain", True, "no --explain beside --json", "JSON has evidence, claim and advice anyway")
    files = read_states(_read(source))
    found = [_look(file, policy) for file in files]
    if as_json:
        for _, detection in found:
            line = msgspec.json.encode(detection)
            print((line if len(found) > 1 else msgspec.json.format(line)).decode())
    else:
        console = Console(highlight=False)
        for number, (file, (config, detection)) in enumerate(zip(files, found, strict=True), 1):
            heading = f"state {number} of {len(files)}: " if len(files) > 1 else ""
            show(console, heading + config.policy, detection, explain=explain)
            if explain:
                show_instances(console, file, config.policy, detection)
    if not all(detection.safe for _, detection in found):
        raise typer.Exit(_NOT_SAFE)


def _look(file: StateFile, policy: str | None) -> tuple[DetectConfig, Detection]:
    """One state under its rule; a state that lacks what the rule reads is bad input here."""
    config = DetectConfig(policy=policy or file.policy or _DEFAULT_POLICY)
    require(read_policy(config.policy), file.state, file.request.expected_output_tokens)
    return config, detect(file.state, file.request, traffic=file.traffic, config=config)


def _read(source: str) -> bytes:
    if source == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(source).read_bytes()
    except (OSError, ValueError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
        raise BadInput("FILE", source, "a file that can be read, or -", reason) from None
