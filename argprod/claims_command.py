"""``argprod claims``: the registry as a table or JSON, and with ``--check`` the evidence of every claim, run now."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:  # theory loads SymPy, which no other command needs
    from argprod.claims import Checked
    from theory.registry import Claim

Name = Annotated[str | None, typer.Argument(help="A claim, to see all of it.", show_default=False)]
Check = Annotated[bool, typer.Option("--check", help="Run derivations, proofs and tests; compare with the registry.")]
NoTests = Annotated[bool, typer.Option("--no-tests", help="With --check: leave the property tests out.")]
NoOpen = Annotated[bool, typer.Option("--no-open", help="Exit with 3 if a claim is open.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
JobCount = Annotated[int | None, typer.Option("--jobs", help="Processes; default: one a core.", show_default=False)]

_COLORS = {"proved": "green", "bounded": "cyan", "measured": "cyan", "refuted": "yellow", "open": "magenta"}


def claims_command(
    name: Name = None,
    check: Check = False,
    no_tests: NoTests = False,
    no_open: NoOpen = False,
    as_json: AsJson = False,
    jobs: JobCount = None,
) -> None:
    """List the claims about routing with the status of their evidence; with a name, one claim whole."""
    from theory.registry import Status
    from theory.registry import claim as read_claim
    from theory.registry import claims as read_claims

    claims = read_claims() if name is None else {name: read_claim(name)}
    checked: Mapping[str, Checked] = {}
    if check:
        checked = {found.id: found for found in _run(claims, name is None, not no_tests, jobs or os.cpu_count() or 1)}
    if as_json:
        rows = [facts_of(claim, checked.get(claim.id)) for claim in claims.values()]
        facts: dict[str, Any] = {"claims": rows}
        if "" in checked:
            facts["problems"] = list(checked[""].problems)
        print(msgspec.json.format(msgspec.json.encode(facts)).decode())
    else:
        console = Console(highlight=False)
        if name is None:
            console.print(claims_table(claims.values(), checked))
            console.print(
                f"{summary_of(claims.values())}\nD derivations, P theorems, T property tests; one: argprod claims NAME"
            )
        else:
            _show(console, claims[name])
        for found in checked.values():
            for problem in found.problems:
                console.print(f"[red]{found.id or 'registry'}[/red]: {escape(problem)}", soft_wrap=True)
        if check and not any(found.problems for found in checked.values()):
            console.print("every claim ends as the registry says")
    still_open = [claim.id for claim in claims.values() if claim.status is Status.OPEN]
    if any(found.problems for found in checked.values()) or (no_open and still_open):
        raise typer.Exit(3)


def facts_of(claim: Claim, checked: Checked | None) -> dict[str, Any]:
    """One claim as JSON has it; ``seconds`` and ``problems`` are null unless it was checked."""
    facts: dict[str, Any] = msgspec.to_builtins(claim)
    return facts | {
        "status": claim.status.value if checked is None else checked.status,
        "recorded": claim.status.value,
        "seconds": None if checked is None else round(checked.seconds, 3),
        "problems": None if checked is None else list(checked.problems),
    }


def _run(claims: Mapping[str, Claim], whole: bool, tests: bool, jobs: int) -> Sequence[Checked]:
    from argprod.claims import check_claims

    columns = (TextColumn("{task.description:<40}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
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
    for heading in ("D", "P", "T", "s"):
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
            "-" if found is None else f"{found.seconds:.1f}",
        )
    return table


def summary_of(claims: Iterable[Claim]) -> str:
    """How many claims have which status."""
    from theory.registry import Status

    statuses = [claim.status for claim in claims]
    counts = [(status.value, statuses.count(status)) for status in Status]
    return f"{len(statuses)} claims: {', '.join(f'{count} {name}' for name, count in counts if count)}"


def _show(console: Console, claim: Claim) -> None:
    """One claim whole; texts are wrapped, places are not, so that they can be copied."""
    number = "" if claim.number is None else f"{claim.number}. "
    console.print(f"[bold]{number}{claim.id}[/bold] ({claim.status.value}; {claim.origin})")
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
