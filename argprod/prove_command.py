"""``argprod prove``: the theorems of claims, one line each, with what was asked of the solver."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from scheduler.domains import Domain
from scheduler.errors import BadInput

if TYPE_CHECKING:  # theory and proofs load SymPy and Z3, which other commands do not need
    from proofs.theorem import Theorem
    from theory.registry import Claim

Names = Annotated[list[str] | None, typer.Argument(help="Claims; default: all that have proofs.", show_default=False)]
TimeoutS = Annotated[float | None, typer.Option("--timeout-s", help="Time for each question [s]; default: by theorem.")]
SmtLib = Annotated[
    Path | None,
    typer.Option("--smtlib", help="Also write every question as SMT-LIB into this folder.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")]

_TIMEOUT = Domain(0, 3600, unit="s", low_open=True)
_COLORS = {"proved": "green", "bounded": "cyan", "refuted": "yellow"}


def prove_command(
    claims: Names = None, timeout_s: TimeoutS = None, smtlib: SmtLib = None, as_json: AsJson = False
) -> None:
    """Prove the theorems of claims with Z3: claim, premises needed, seeded faults caught, bounds reached."""
    from theory.registry import claim as read_claim
    from theory.registry import claims as read_claims

    if timeout_s is not None:
        _TIMEOUT.check("--timeout-s", timeout_s)
    chosen = [read_claim(name) for name in claims] if claims else [c for c in read_claims().values() if c.proof]
    for claim in chosen:
        if not claim.proof:
            raise BadInput("claim", claim.id, "a claim that has a proof", f"it is {claim.status.value}")
    if smtlib is not None:
        _folder(smtlib)
    results, interrupted = _prove_all(chosen, timeout_s, smtlib, quiet=as_json, whole=bool(claims))
    if as_json:
        print(msgspec.json.format(msgspec.json.encode({"theorems": results, "interrupted": interrupted})).decode())
    if interrupted:
        print(f"argprod: interrupted after {len(results)} theorems", file=sys.stderr)
        raise typer.Exit(130)
    if any(row["problem"] for row in results):
        raise typer.Exit(3)


def _prove_all(
    chosen: Sequence[Claim], timeout_s: float | None, smtlib: Path | None, *, quiet: bool, whole: bool
) -> tuple[list[dict[str, Any]], bool]:
    """Check and show every theorem; what was done, and whether the user stopped it."""
    console = Console(highlight=False, quiet=quiet)
    results: list[dict[str, Any]] = []
    with noticing_interrupts() as was_interrupted:
        try:
            for row, stated in _proved(chosen, timeout_s):
                results.append(row)
                _show(console, row, whole)
                if smtlib is not None:
                    _write_smtlib(smtlib, row["place"], stated)
                if was_interrupted():
                    return results, True
        except KeyboardInterrupt:
            return results, True
    return results, False


@contextmanager
def noticing_interrupts() -> Iterator[Callable[[], bool]]:
    """Within, Ctrl-C raises as usual and is remembered: an exception in a destructor of the solver is lost."""
    seen: list[int] = []

    def notice(number: int, _frame: Any) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, notice)
    try:
        yield lambda: bool(seen)
    finally:
        signal.signal(signal.SIGINT, before)


def _proved(chosen: Sequence[Claim], timeout_s: float | None) -> Iterator[tuple[dict[str, Any], Theorem]]:
    """Check one theorem after the other."""
    import dataclasses

    from proofs.theorem import all_theorems, verdict_of

    theorems = all_theorems()
    for claim in chosen:
        for place in claim.proof:
            if place not in theorems:
                raise BadInput(f"claim {claim.id}", place, "a theorem of the tree", "is it there, and has it @theorem?")
            begin = time.perf_counter()
            stated = theorems[place]()
            if timeout_s is not None:
                stated = dataclasses.replace(stated, timeout_ms=max(1, round(1000 * timeout_s)))
            verdict = verdict_of(stated)
            facts = {
                "claim": claim.id,
                "place": place,
                "says": (theorems[place].__doc__ or "").split("\n", 1)[0],
                "status": verdict.status,
                "bound": stated.bound,
                "premises": list(stated.given),
                "faults": list(stated.faults),
                "reached": list(stated.reached),
                "seconds": round(time.perf_counter() - begin, 3),
                "problem": verdict.problem,
            }
            yield facts, stated


def _show(console: Console, row: dict[str, Any], whole: bool) -> None:
    """One theorem: a line, and if claims were named what it says, assumes, and was shown to notice."""
    color = _COLORS.get(row["status"], "red")
    place = escape(row["place"].removeprefix("proofs/theorems/"))
    console.print(f"[{color}]{row['status']:<9}[/{color}] {place} {row['seconds']:.2f} s", soft_wrap=True)
    if row["problem"]:
        console.print(Padding(escape(row["problem"]), (0, 0, 0, 10)))
    if not whole:
        return
    parts = [("", [row["says"]]), ("for ", [row["bound"]] if row["bound"] else []), ("given: ", row["premises"])]
    if not row["problem"]:
        without = "" if row["status"] == "refuted" else ", each needed"
        parts[2] = (f"given{without}: ", row["premises"])
        parts += [("slips that are caught: ", row["faults"]), ("reached: ", row["reached"])]
    for heading, entries in parts:
        if entries:
            console.print(Padding(escape(heading + "; ".join(entries)), (0, 0, 0, 10)))


def _folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise BadInput("--smtlib", str(path), "a folder that can be written", fault.strerror or "") from None


def _write_smtlib(folder: Path, place: str, stated: Theorem) -> None:
    from proofs.smtlib import export

    stem = place.partition("theorems/")[2].replace(".py:", ".").replace("/", ".")
    for name, text in export(stated).items():
        file = folder / f"{stem}.{name}.smt2"
        try:
            file.write_text(text, encoding="utf-8")
        except OSError as fault:
            raise BadInput("--smtlib", str(file), "a file that can be written", fault.strerror or "") from None
