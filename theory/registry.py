"""The registry of claims: what is claimed, how far the evidence reaches, and where it stands.

``theory/claims.toml`` has one table a claim, ``[claim.NAME]``. This module only reads it and refuses what is malformed;
``argprod.claims`` runs the evidence. A claim whose text changes keeps its name.
"""

from __future__ import annotations

import enum
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from scheduler.errors import BadInput, unknown_name

#: Where the claims are.
PATH = Path(__file__).parent / "claims.toml"
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class Status(enum.Enum):
    """How far the evidence of a claim reaches."""

    PROVED = "proved"  # for all values
    BOUNDED = "bounded"  # for all values within a named bound
    REFUTED = "refuted"  # false, with the state that shows it
    MEASURED = "measured"  # on a named machine and date
    OPEN = "open"  # not shown


class Claim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of the registry.

    Args:
        id: its name, as proofs, tests, findings and the book write it.
        number: its place in the list of statements, or None for one that was added.
        origin: ``paper`` if it comes from the source paper, ``paper, sharpened`` if it was made exact, else ``new``.
        statement: one or two sentences.
        status: how far the evidence reaches.
        premises: what is assumed, by the names that its theorems use; every one is needed.
        derivation: places of derivations, ``theory/derivations/FILE.py:FUNCTION``.
        proof: places of theorems, ``proofs/theorems/FILE.py:FUNCTION``.
        property: places of tests, ``tests/FILE.py::FUNCTION``.
        measurement: files of measured results.
        bound: for ``bounded``, the bound in words.
        note: what was corrected or left out, and why.
        book: the place in the book, ``docs/FILE.md#ANCHOR``; checked once the book has it.
        budget_s: time that derivation and proof may take together [s].
    """

    id: str
    number: int | None = None
    origin: str = "new"
    statement: str
    status: Status
    premises: tuple[str, ...] = ()
    derivation: tuple[str, ...] = ()
    proof: tuple[str, ...] = ()
    property: tuple[str, ...] = ()
    measurement: tuple[str, ...] = ()
    bound: str = ""
    note: str = ""
    book: str = ""
    budget_s: float = 5.0


def read_claims(text: str) -> dict[str, Claim]:
    """Read the tables of a TOML text.

    Raises:
        BadInput: naming the claim, the field and what was expected.

    Example:
        >>> text = '[claim.sky_is_blue]' + chr(10) + 'statement = "It is."' + chr(10) + 'status = "open"'
        >>> read_claims(text)["sky_is_blue"].status
        <Status.OPEN: 'open'>
    """
    try:
        tables: Mapping[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:  # a name that is used twice is one, too
        raise BadInput("claims.toml", text[:40], "a TOML file", str(fault)) from None
    if set(tables) - {"claim"}:
        raise BadInput("claims.toml", sorted(set(tables) - {"claim"}), "tables [claim.NAME] only")
    claims = {name: _claim(name, fields) for name, fields in tables.get("claim", {}).items()}
    return dict(sorted(claims.items(), key=lambda item: (item[1].number is None, item[1].number or 0)))


def _claim(name: str, fields: Mapping[str, Any]) -> Claim:
    if not _NAME.fullmatch(name):
        raise BadInput("claim", name, "a name of small letters, digits and underscores")
    try:
        claim = msgspec.convert({"id": name, **fields}, Claim)
    except msgspec.ValidationError as fault:
        raise BadInput(f"claim {name}", dict(fields), "a claim's fields", str(fault)) from None
    needed = {
        Status.PROVED: ("proof", "property"),
        Status.BOUNDED: ("proof", "property", "bound"),
        Status.REFUTED: ("proof", "property"),
        Status.MEASURED: ("measurement", "property"),
        Status.OPEN: (),
    }[claim.status]
    if claim.number is not None and claim.status is Status.PROVED:
        needed = ("derivation", *needed)
    if claim.status is not Status.OPEN:
        needed = (*needed, "book")
    missing = [field for field in needed if not getattr(claim, field)]
    if missing:
        expected = f"values, because the claim is {claim.status.value}"
        raise BadInput(f"claim {name}: {', '.join(missing)}", "", expected, "while you work on it, record it as open")
    return claim


def claims() -> dict[str, Claim]:
    """All claims by name, numbered ones first.

    Example:
        >>> claims()["coverage_law"].number
        18
    """
    return read_claims(PATH.read_text(encoding="utf-8"))


def claim(name: str) -> Claim:
    """One claim, by its name or its number.

    Raises:
        BadInput: for an unknown name, with the nearest ones.

    Example:
        >>> claim("18").id
        'coverage_law'
    """
    found = claims()
    numbered = {str(entry.number): entry for entry in found.values() if entry.number is not None}
    if name in numbered:
        return numbered[name]
    if name not in found:
        alike = [known for known in found if name and name in known]
        if alike:
            raise BadInput("claim", name, "the name of a claim", f"nearest: {', '.join(alike[:3])}")
        raise unknown_name("claim", name, found, "argprod claims")
    return found[name]
