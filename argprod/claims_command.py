"""``argprod claims``: the registry as a table or JSON, and with ``--check`` the evidence of every claim, run now."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from scheduler.domains import Domain
from scheduler.errors import BadInput

if TYPE_CHECKING:  # theory loads SymPy, which no other command needs
    from argprod.claims import Checked
    from theory.registry import Claim

Name = Annotated[str | None, typer.Argument(help="A claim, to see all of it.", show_default=False)]
Check = Annotated[bool, typer.Option("--check", help="Run derivations, proofs and tests; compare with the registry.")]
NoTests = Annotated[bool, typer.Option("--no-tests", help="With --check: leave the property tests out.")]
NoOpen = Annotated[bool, typer.Option("--no-open", help="Exit with 3 if a claim is open.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
JobCount = Annotated[int | None, typer.Option("--jobs", help="Processes; default: one a core.", show_default=False)]

_JOBS = Domain(1, 1024, integer=True, unit="process")
_COLORS = {"proved": "green", "bounded": "cyan", "measured": "cyan", "refuted": "yellow", "open": "magenta"}


def claims_command(
    name: Name = None,
    check: Check = False,
    no_tests: NoTests = False,
    no_open: NoOpen = False,
    as_json: AsJson = False,
    jobs: JobCount = None,
) -> None:
    """List the claims about routing with the status of their evidence; with a name or number, one claim whole."""
    from theory.registry import Status
    from theory.registry import claim as read_claim
    from theory.registry import claims as read_claims

    if name is None:
        claims = read_claims()
    else:
        one = read_claim(name)
        claims = {one.id: one}
    if jobs is not None:
        _JOBS.check("--jobs", jobs)
    checked: Mapping[str, Checked] = {}
    begin = time.perf_counter()
    if check:
        _refuse_without_tests(no_tests)
        checked = {found.id: found for found in _run(claims, name is None, not no_tests, jobs or os.cpu_count() or 1)}
    if as_json:
        rows = [facts_of(claim, checked.get(claim.id), not no_tests) for claim in claims.values()]
        facts: dict[str, Any] = {"claims": rows}
        if "" in checked:
            facts["problems"] = list(checked[""].problems)
        print(msgspec.json.format(msgspec.json.encode(facts)).decode())
    else:
        _show_all(claims, checked, whole=name is None)
        if check:
            _tell_outcome(checked, not no_tests, time.perf_counter() - begin)
    still_open = [claim.id for claim in claims.values() if claim.status is Status.OPEN]
    if any(found.problems for found in checked.values()) or (no_open and still_open):
        raise typer.Exit(3)


def _refuse_without_tests(no_tests: bool) -> None:
    """Property tests need a checkout and pytest; an installed package has neither."""
    from argprod.claims import in_checkout

    if no_tests:
        return
    if not in_checkout():
        raise BadInput("--check", "an installed package", "a checkout, because tests are not installed", "--no-tests")
    if not all(importlib.util.find_spec(module) for module in ("pytest", "xdist", "hypothesis")):
        raise BadInput("--check", "no pytest", "pytest, pytest-xdist and hypothesis", "make claims sets them up")


def _show_all(claims: Mapping[str, Claim], checked: Mapping[str, Checked], *, whole: bool) -> None:
    console = Console(highlight=False)
    if whole:
        console.print(claims_table(claims.values(), checked))
        console.print(summary_of(claims.values(), checked))
        console.print("D derivations, P theorems, T property tests; one of them whole: argprod claims NAME")
    for found in checked.values():
        for problem in found.problems:
            console.print(f"[red]{found.id or 'registry'}[/red]: {escape(problem)}", soft_wrap=True)
    if not whole:
        for claim in claims.values():
            _show(console, claim, checked.get(claim.id))


def _tell_outcome(checked: Mapping[str, Checked], tested: bool, wall_s: float) -> None:
    console = Console(highlight=False)
    wrong = sum(1 for found in checked.values() if found.problems)
    what = "derivations, theorems and property tests" if tested else "derivations and theorems (property tests not run)"
    outcome = f"[red]{wrong} not as the registry says[/red]" if wrong else "all as the registry says"
    console.print(f"{what} of {len(checked)} claims in {wall_s:.0f} s: {outcome}")


def facts_of(claim: Claim, checked: Checked | None, tested: bool = False) -> dict[str, Any]:
    """One claim as JSON has it; ``seconds``, ``problems`` and ``tested`` are null unless it was checked."""
    facts: dict[str, Any] = msgspec.to_builtins(claim)
    return facts | {
        "status": claim.status.value if checked is None else checked.status,
        "recorded": claim.status.value,
        "seconds": None if checked is None else round(checked.seconds, 3),
        "problems": None if checked is None else list(checked.problems),
        "tested": None if checked is None else tested,
    }


def _run(claims: Mapping[str, Claim], whole: bool, tests: bool, jobs: int) -> Sequence[Checked]:
    from argprod.claims import check_claims

    columns = (TextColumn("{task.description:<40}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(highlight=False, stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("proving", total=len(claims))

        def tell(done: Checked) -> None:
            bars.update(task, description=done.id, advance=1)

        def turn_to_tests() -> None:
            bars.update(task, description="property tests")

        return check_claims(
            claims, properties=tests, whole=whole, jobs=jobs, on_done=tell, before_properties=turn_to_tests
        )


def claims_table(claims: Iterable[Claim], checked: Mapping[str, Checked]) -> Table:
    """One row a claim: number, name, status, how many derivations, theorems and tests, and the time they took."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("claim", overflow="fold")
    table.add_column("status", no_wrap=True)
    for heading in ("D", "P", "T", *(["s"] if checked else [])):
        table.add_column(heading, justify="right", no_wrap=True)
    for claim in claims:
        found = checked.get(claim.id)
        status = claim.status.value if found is None else found.status
        counts = (len(claim.derivation), len(claim.proof), len(claim.property))
        color = _COLORS.get(status, "red")
        table.add_row(
            "" if claim.number is None else str(claim.number),
            claim.id,
            f"[{color}]{status}[/{color}]",
            *(str(count) if count else "-" for count in counts),
            *([] if found is None else [f"{found.seconds:.1f}"]),
        )
    return table


def summary_of(claims: Iterable[Claim], checked: Mapping[str, Checked]) -> str:
    """How many claims have which status, as checked where they were."""
    statuses = [checked[c.id].status if c.id in checked else c.status.value for c in claims]
    counts = [(name, statuses.count(name)) for name in (*_COLORS, "undecided", "failed")]
    return f"{len(statuses)} claims: {', '.join(f'{count} {name}' for name, count in counts if count)}"


def _show(console: Console, claim: Claim, found: Checked | None) -> None:
    """One claim whole; texts are wrapped, places are not, so that they can be copied."""
    number = "" if claim.number is None else f"{claim.number}. "
    status = claim.status.value if found is None else found.status
    console.print(f"[bold]{number}{claim.id}[/bold] ([{_COLORS.get(status, 'red')}]{status}[/]; {claim.origin})")
    console.print(escape(claim.statement))
    if claim.bound:
        console.print(f"bound: {escape(claim.bound)}")
    for heading in ("premises", "derivation", "proof", "property", "measurement"):
        entries = getattr(claim, heading)
        if entries:
            console.print(f"{heading}:")
        for entry in entries:
            console.print(f"  {escape(entry)}", soft_wrap=True)
    if claim.note:
        console.print(f"note: {escape(claim.note)}")
