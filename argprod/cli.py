"""The entry point: one clear line for every error that is the user's, and the right exit code.

Exit codes: 0 fine, 1 internal or engine failure, 2 bad input, 3 finding or failed claim, 130 interrupted with partial
results kept.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator

# Nothing else is imported up here: whoever stops the command while it loads gets one line, too.


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a sign shows another, it does not stop us
            stream.reconfigure(errors="replace")
    try:
        code = run()
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has had enough; keep the interpreter from complaining about it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as fault:
        code = _fail(f"cannot write: {fault.strerror}", 1)
    sys.exit(code)


def run() -> int:
    """Run the command line; returns the exit code."""
    try:
        with _stopped_quietly():
            import typer

            from argprod.app import app
            from scheduler.errors import ArgprodError, BadInput
    except ModuleNotFoundError as fault:
        return _fail(f"the command line needs {fault.name}: pip install 'argprod[full]'", 2)
    try:
        return int(app(standalone_mode=False) or 0)
    except (typer.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130)
    except typer.TyperException as fault:
        tell = getattr(fault, "format_message", None)
        message = str(fault) if tell is None else tell()
        if type(fault).__name__ == "NoArgsIsHelpError":
            print(message)
            return 2
        return _fail(f"{' '.join(message.split())} (see argprod --help)", 2)
    except BadInput as fault:
        return _fail(str(fault), 2)
    except ArgprodError as fault:
        return _fail(str(fault), 1)


@contextlib.contextmanager
def _stopped_quietly() -> Iterator[None]:
    """While libraries load, Ctrl-C ends the process at once: some of them take an interrupt for a failure of theirs."""
    asked = threading.current_thread() is threading.main_thread()
    if not asked or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def stop(*_: object) -> None:
        os.write(2, b"argprod: interrupted\n")
        os._exit(130)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _fail(message: str, code: int) -> int:
    print(f"argprod: {message}", file=sys.stderr)
    return code
