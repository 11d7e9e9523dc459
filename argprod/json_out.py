"""Results as JSON, to a file or to standard output."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from scheduler.errors import BadInput


def write_json(path: Path, result: Any) -> None:
    """Write a result, indented.

    Args:
        path: a file; ``-`` is standard output.
        result: what, of structs and plain values.

    Raises:
        BadInput: if the file cannot be written.
    """
    data = msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n"
    if str(path) == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        return
    try:
        path.write_bytes(data)
    except OSError as fault:
        raise BadInput("--json", str(path), "a file that can be written", fault.strerror or "") from None
