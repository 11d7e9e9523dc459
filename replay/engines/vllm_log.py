"""What the log of a vLLM server that failed says: the error that ended it, out of much that is none."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

_LETTERS_MAX = 600
#: What vLLM puts before a line of its log: the process, and level, time and place.
_BEFORE = re.compile(r"^(?:\(\S+ pid=\d+\) )?(?:(?P<level>[A-Z]+) \d\d-\d\d \S+ \[[^]]+\] ?)?")
#: The last line of a traceback.
_ERROR = re.compile(r"[A-Za-z_][\w.]*(?:Error|Exception)\b")


def kept(log: Path) -> str:
    """What the log of a server that failed says; the log itself is copied to a place where it stays, which is told.

    Args:
        log: in a folder that will be gone.
    """
    handle, place = tempfile.mkstemp(prefix=f"{log.stem}-", suffix=".log")
    os.close(handle)
    shutil.copyfile(log, place)
    return f"{gist(log.read_text(encoding='utf-8', errors='replace'))} (log: {place})"


def gist(log: str) -> str:
    r"""The first error that a log tells of, and the last one, which is often its consequence; or else its last line.

    A server that ends says much after the error that ended it, and warns of much that ends nobody.

    Example:
        >>> gist("(W pid=1) ERROR 11-29 01:49:03 [a.py:1] IndexError: too far\nINFO:  Finished\nUserWarning: leaked")
        'its error: IndexError: too far'
    """
    errors, last = [], "nothing"
    for line in filter(None, map(str.strip, log.splitlines())):
        before = _BEFORE.match(line)
        assert before is not None
        told, last = line[before.end() :].strip(), line
        if before["level"] in (None, "ERROR", "CRITICAL") and _ERROR.match(told):
            errors.append(told)
    if not errors:
        return f"the last that it said: {last[-_LETTERS_MAX:]}"
    return "its error: " + " | ".join(dict.fromkeys(text[:_LETTERS_MAX] for text in (errors[0], errors[-1])))
