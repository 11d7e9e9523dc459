"""A result that is written again after each of its parts, so that whatever ends the run leaves what was learned."""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from scheduler.errors import ArgprodError

#: States of a part.
NOT_DONE, RUNNING, DONE, CUT_SHORT, FAILED = "not done", "running", "done", "cut short", "failed"


class Deadline:
    """When everything has to be over.

    Args:
        seconds: from now on [s].
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self._began_s = seconds, time.monotonic()

    @property
    def spent_s(self) -> float:
        """Since the beginning [s]."""
        return time.monotonic() - self._began_s

    @property
    def left_s(self) -> float:
        """Until the end; below 0 once it is over [s]."""
        return self.seconds - self.spent_s


class CutShort(Exception):
    """A part had to stop before its end; what it has found so far stands in the result."""


class Checkpoint:
    """The result and its file.

    Args:
        path: of the file.
        parts: names of all parts, in order.
        facts: what is known before the first.
        deadline: of the whole.
    """

    def __init__(self, path: Path, parts: tuple[str, ...], facts: dict[str, Any], deadline: Deadline) -> None:
        self.path, self.deadline = path, deadline
        self.parts: dict[str, dict[str, Any]] = {name: {"state": NOT_DONE} for name in parts}
        self.found: dict[str, Any] = {}
        self._facts = facts
        self.save()

    @property
    def complete(self) -> bool:
        """Whether every part came to its end."""
        return all(part["state"] == DONE for part in self.parts.values())

    def done(self, *names: str) -> bool:
        """Whether these parts have found something to go on with."""
        return all(self.parts[name]["state"] in (DONE, CUT_SHORT) for name in names)

    def save(self) -> None:
        """Write the file; a reader finds the old one or the new one, whole."""
        document = {
            **self._facts,
            "complete": self.complete,
            "written": dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds"),
            "spent_s": round(self.deadline.spent_s, 1),
            "parts": self.parts,
            **self.found,
        }
        beside = self.path.with_name(self.path.name + ".part")
        beside.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
        beside.replace(self.path)

    def leave_out(self, name: str, why: str) -> None:
        """A part will not be done."""
        self.parts[name] = {"state": NOT_DONE, "why": why}
        tell(f"{name}: not done: {why}")
        self.save()

    @contextmanager
    def part(self, name: str, needs: tuple[str, ...] = (), least_s: float = 0.0) -> Iterator[bool]:
        """Do a part: its body gets False, and has to do nothing, if something it needs is missing or time is up.

        What goes wrong in a part is written down, and the parts that do not need it go on.

        Args:
            name: of the part.
            needs: parts that it needs.
            least_s: time that it takes at least [s].
        """
        missing = [each for each in needs if not self.done(each)]
        if missing or self.deadline.left_s < least_s:
            self.leave_out(name, f"{', '.join(missing)} is missing" if missing else "no time was left")
            yield False
            return
        began_s = time.monotonic()
        self.parts[name] = {"state": RUNNING}
        tell(f"{name}: begins, {self.deadline.left_s:.0f} s left")
        state, why = FAILED, "interrupted"
        try:
            yield True
            state, why = DONE, ""
        except CutShort as cut:
            state, why = CUT_SHORT, str(cut)
        except ArgprodError as fault:
            why = str(fault)
        except Exception as fault:  # noqa: BLE001 - on a rented machine one broken part must not cost the others
            why = f"{type(fault).__name__}: {fault}"
        except BaseException:
            state = CUT_SHORT if name in self.found else FAILED
            raise
        finally:
            took_s = round(time.monotonic() - began_s, 1)
            self.parts[name] = {"state": state, "wall_s": took_s} | ({"why": why} if why else {})
            tell(f"{name}: {state} in {took_s} s" + (f": {why}" if why else ""))
            self.save()


def tell(text: str) -> None:
    """A line of progress."""
    print(f"[{dt.datetime.now(tz=dt.UTC):%H:%M:%S}] {text}", file=sys.stderr, flush=True)
