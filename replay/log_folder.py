"""A folder of logs: which runs of a plan it has in full, and that no log of other runs is written over.

What was measured cannot be had again, so a folder holds runs of one kind only: those in which the same would be
measured. That is asked of every log in it, before anything is run, also of logs that the plan would leave alone: two
kinds side by side would be taken for one table.

These make a run another one (``Header.instances`` and ``Header.settings``):

- the requests themselves, by a digest. Not the path that they came from, nor the options that shaped them: a trace
  under another name is the same trace, and a pipe has no name at all. The options are noted, to say what differs.
- pace and patience, the warm-up, the step times that rules read, argprod's version: they change when requests are sent,
  which are given up, and where they go.
- the names of the instances, in order. A server is named by its host and port; elsewhere it may be another machine. The
  way its address is written does not count, nor whether it was started anew.
- what engines say of themselves: model and versions, blocks, whether their caches can be emptied; and how they are
  asked, as far as that reaches what is computed: vocabulary, exact lengths, shapes, a process for each.
- whether the router hears of caches. Not where: addresses of events are names of files that servers draw by chance.

These do not: how long a server is waited for before it is asked for anything, which rules there are and how many
repetitions (each has a log of its own), and the seed of salted prompts, which is new for every run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from replay.run_log import Header, Log, read_header, read_log
from scheduler.errors import BadInput, BadTrace, shown
from scheduler.state import Request

#: How the log of a run ends that is done, and of one that is not.
WHOLE, PART = ".jsonl", ".part"
#: Differences that a message names, at most.
DIFFERENCES_SHOWN = 3
#: The setting that is a digest, and what it is a digest of, in ``Header.noted``.
REQUESTS, SOURCE = "requests", "source"

_WORDS = {
    REQUESTS: "the requests",
    "about": "what engines say of themselves",
    "caches": "block_tokens and blocks of the caches",
    "hears_caches": "whether KV events are heard",
    "resets": "whether caches are emptied",
}
_ABSENT = "nothing"


@dataclass(frozen=True, slots=True)
class Standing:
    """What a folder has of a plan.

    Args:
        whole: logs of runs that are done.
        begun: where the logs of the others will be of which a part is there, or a log without its end.
    """

    whole: dict[Path, Log] = field(default_factory=dict)
    begun: frozenset[Path] = frozenset()


def standing(folder: Path, wanted: Mapping[Path, Header]) -> Standing:
    """What a folder has of a plan.

    Args:
        folder: of the logs.
        wanted: where the log of each run will be, and what it will say first.

    Raises:
        BadInput: if a log there is of a run that is another one, with what differs.
        BadTrace: if there is a file in the place of a log that is none.
    """
    whole, begun = {}, set()
    for path in sorted(folder.iterdir()):
        if path.suffix not in (WHOLE, PART) or not path.is_file():
            continue
        place = path.with_suffix(WHOLE)
        was = _header(path, must=place in wanted)
        if was is None:
            continue
        now = wanted.get(place) or _of_this_kind(was, wanted)
        if now is None:
            continue
        found = differences(was, now)
        if found:
            more = f", and {len(found) - DIFFERENCES_SHOWN} more" if len(found) > DIFFERENCES_SHOWN else ""
            raise BadInput(
                "--log",
                str(folder),
                "a folder whose logs are of runs like these",
                f"{path.name} there is of others: {', '.join(found[:DIFFERENCES_SHOWN])}{more}; name another folder, "
                "or move the old logs away",
            )
        log = read_log(path) if path.suffix == WHOLE and path in wanted else None
        if log is not None and log.footer is not None:
            whole[path] = log
        elif place in wanted:
            begun.add(place)
    return Standing(whole, frozenset(begun - set(whole)))


def _header(path: Path, *, must: bool) -> Header | None:
    """What a log says first; None for one that had said nothing yet, and for a file that is none and need not be."""
    try:
        return read_header(path)
    except BadTrace:
        if must:
            raise
        return None


def _of_this_kind(was: Header, wanted: Mapping[Path, Header]) -> Header | None:
    """What the log of a run that the plan has not would say, if it was of the same kind."""
    first = next(iter(wanted.values()), None)
    if first is None:
        return None
    return msgspec.structs.replace(first, policy=was.policy, mitigation=was.mitigation, repeat=was.repeat)


def differences(was: Header, now: Header) -> list[str]:
    """What makes a run another one, in words; nothing if it is none.

    Args:
        was: what a log says first.
        now: what it would say now.

    Example:
        >>> old, new = (Header(policy="random", instances=("0",), settings={"pace": {"rate": rate}}) for rate in (1, 2))
        >>> differences(old, old), differences(old, new)
        ([], ['pace.rate 1 there, 2 here'])
    """
    found = _told_apart(_flat(_compared(was)), _flat(_compared(now)))
    if REQUESTS in found:  # a digest tells nobody anything, so what shaped the requests is named in its place
        source = [_flat(_plain(one.noted.get(SOURCE) or {})) for one in (was, now)]
        del found[REQUESTS]
        found = (_told_apart(*source) or {REQUESTS: "are others there"}) | found
    return [f"{_WORDS.get(name, name)} {told}" for name, told in found.items()]


def _told_apart(was: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """By name, what is not the same in both."""
    return {
        name: " there, ".join((_shown(was, name), _shown(now, name))) + " here"
        for name in dict.fromkeys((*now, *was))
        if was.get(name, _ABSENT) != now.get(name, _ABSENT)
    }


def _shown(values: Mapping[str, Any], name: str) -> str:
    return shown(values[name]) if name in values else _ABSENT


def _compared(header: Header) -> dict[str, Any]:
    """What makes a run another one, without the seed, which is new for every run."""
    told = {"policy": header.policy, "mitigation": header.mitigation, "repeat": header.repeat}
    plain: dict[str, Any] = _plain({**told, "instances": header.instances, **header.settings})
    return plain


def _plain(value: Any) -> Any:
    """A value as a log gives it back."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested settings side by side, by names with dots."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: value}
    return flat


def digest_of(requests: Sequence[Request]) -> str:
    """A digest of all that is said of requests, in their order."""
    digest = hashlib.sha256()
    for request in requests:
        digest.update(msgspec.msgpack.encode(request))
    return digest.hexdigest()
