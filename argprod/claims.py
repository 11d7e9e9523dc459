"""Checks the registry of claims: every name leads somewhere, everything in the tree is registered, the evidence holds.

Evidence is run in processes, one claim at a time in each: derivations, then theorems with all their checks (see
:mod:`proofs.theorem`). Property tests run once together, in a process of pytest.
"""

from __future__ import annotations

import ast
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from proofs.proving import ProofFailed
from proofs.theorem import Theorem, all_theorems, verdict_of
from theory.derivation import Derivation, DerivationFailed, all_derivations
from theory.registry import Claim, Status

ROOT = Path(__file__).resolve().parent.parent
#: What follows if a claim's evidence takes longer than its budget [s] times this; the machine may be busy.
_PATIENCE = 4.0


@dataclass(frozen=True)
class Checked:
    """What came of the evidence of one claim.

    Args:
        id: of the claim.
        status: what the evidence shows; ``failed`` or ``undecided`` if it does not hold.
        seconds: time for derivation and proof.
        problems: what is wrong, one sentence each.
    """

    id: str
    status: str
    seconds: float
    problems: tuple[str, ...] = field(default=())


def in_checkout() -> bool:
    """True in a checkout of the repository; an installed package has neither tests nor measurements."""
    return (ROOT / "tests").is_dir()


def place_exists(place: str) -> bool:
    """True if ``FILE.py:FUNCTION`` (or ``::``) names a function of a file of the tree, or ``FILE`` a file."""
    file, colons, function = place.replace("::", ":").partition(":")
    path = ROOT / file
    if not path.is_file():
        return False
    return not colons or function in functions_of(path)


@cache
def functions_of(path: Path) -> frozenset[str]:
    """The top-level functions of a Python file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def registration_problems(claims: Mapping[str, Claim]) -> dict[str, list[str]]:
    """Names that lead nowhere, by claim; what is in the tree and in no claim, under the empty name."""
    problems: dict[str, list[str]] = {}
    registered: set[str] = set()
    for claim in claims.values():
        places = (*claim.derivation, *claim.proof, *claim.property, *claim.measurement)
        registered.update(places)
        if not in_checkout():
            places = (*claim.derivation, *claim.proof)
        missing = [place for place in places if not place_exists(place)]
        if claim.book and not _book_has(claim.book):
            missing.append(claim.book)
        if missing:
            problems[claim.id] = [f"{place} does not exist" for place in missing]
    for place, function in all_theorems().items():
        said = claims_in_docstring(function.__doc__ or "")
        listed = {claim.id for claim in claims.values() if place in claim.proof}
        for name in sorted(said ^ listed):
            reads = (
                "names it, the registry does not" if name in said else "is listed, its docstring names another claim"
            )
            problems.setdefault(name if name in claims else "", []).append(f"{place} {reads}")
    for kind, tree in (("theorem", all_theorems()), ("derivation", all_derivations())):
        strays = [place for place in tree if place not in registered]
        if strays:
            problems.setdefault("", []).extend(f"the {kind} {place} belongs to no claim" for place in strays)
    return problems


def claims_in_docstring(text: str) -> set[str]:
    """The claims that a theorem's docstring names, as ``Claim: NAME.`` or ``Claims: NAME, NAME.``.

    Example:
        >>> sorted(claims_in_docstring("It holds. Claims: coverage_law, silent_band."))
        ['coverage_law', 'silent_band']
    """
    return {name for found in re.findall(r"Claims?:\s+([\w,\s]+)\.", text) for name in re.split(r"[,\s]+", found)}


def _book_has(place: str) -> bool:
    """True if the page states the claim, or if there is no book here: an installed package has none."""
    if not (ROOT / "docs" / "_toc.yml").exists():
        return True
    file, _, name = place.partition("#")
    path = ROOT / file
    return path.is_file() and f"```{{claim}} {name}\n" in path.read_text(encoding="utf-8")


def run_evidence(claim: Claim) -> Checked:
    """Derive and prove one claim, and compare with what the registry says."""
    begin = time.perf_counter()
    problems: list[str] = []
    undecided = False
    for place in claim.derivation:
        if place not in all_derivations():
            problems += [f"{place} is no derivation: has it @derivation?"] if place_exists(place) else []
            continue
        try:
            work: Any = all_derivations()[place]()
        except DerivationFailed as fault:
            problems.append(f"{place}: {fault}")
            continue
        if not isinstance(work, Derivation) or not work.shows_something:
            problems.append(f"{place} shows nothing: a result and a checked step are needed")
    stated: list[Theorem] = []
    for place in claim.proof:
        if place not in all_theorems():
            problems += [f"{place} is no theorem: has it @theorem?"] if place_exists(place) else []
            continue
        stated.append(all_theorems()[place]())
        verdict = verdict_of(stated[-1])
        undecided = undecided or verdict.status == "undecided"
        problems += [f"{place}: {verdict.problem}"] if verdict.problem else []
    problems += _against_theorems(claim, stated)
    seconds = time.perf_counter() - begin
    if seconds > claim.budget_s * _PATIENCE:
        problems.append(f"took {seconds:.1f} s, over {_PATIENCE:g} times its budget of {claim.budget_s:g} s")
    status = claim.status.value if not problems else "undecided" if undecided else "failed"
    return Checked(claim.id, status, seconds, tuple(problems))


def _against_theorems(claim: Claim, stated: Sequence[Theorem]) -> Iterator[str]:
    """What the registry and the theorems say differently."""
    named = {name for theorem in stated for name in theorem.given}
    if stated and named != set(claim.premises):
        only = [f"{name!r} in the registry only" for name in sorted(set(claim.premises) - named)]
        only += [f"{name!r} in the theorems only" for name in sorted(named - set(claim.premises))]
        yield f"premises differ: {', '.join(only)}"
    if claim.status in {Status.PROVED, Status.BOUNDED} and any(theorem.refuted for theorem in stated):
        yield f"it is recorded as {claim.status.value}, but a theorem of it refutes something"
    bounds = {theorem.bound for theorem in stated if theorem.bound}
    if claim.status is Status.PROVED and bounds:
        yield f"it is recorded as proved, but a theorem is bounded: {', '.join(sorted(bounds))}"
    if claim.status is Status.BOUNDED and claim.bound not in bounds:
        yield f"its bound {claim.bound!r} is none of its theorems' bounds: {', '.join(sorted(bounds)) or 'none'}"
    if claim.status is Status.REFUTED and not any(theorem.refuted for theorem in stated):
        yield "it is recorded as refuted, but no theorem refutes it"


def run_properties(claims: Sequence[Claim]) -> dict[str, list[str]]:
    """Run the property tests of the claims; what failed or was not found, by claim."""
    nodes = sorted({place for claim in claims for place in claim.property})
    if not nodes:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-n", "auto", "-m", "", f"--junitxml={report}", *nodes]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if not report.exists():
            raise ProofFailed(f"pytest did not run: {(done.stdout + done.stderr).strip()[-300:]}")
        ran, failed = _outcomes(report)
    return {
        claim.id: problems
        for claim in claims
        if (problems := [p for place in claim.property for p in _test_problems(place, ran, failed)])
    }


def _outcomes(report: Path) -> tuple[set[str], dict[str, str]]:
    """Places of the tests that ran, and of those that failed or were skipped the reason."""
    ran: set[str] = set()
    failed: dict[str, str] = {}
    for case in ET.parse(report).iter("testcase"):
        module, name = case.get("classname", ""), case.get("name", "")
        place = f"{module.replace('.', '/')}.py::{name.partition('[')[0]}"
        ran.add(place)
        for child in case:
            if child.tag in {"failure", "error", "skipped"}:
                said = child.get("message", "").strip().splitlines()
                failed[place] = f"{'was skipped' if child.tag == 'skipped' else 'fails'}: {said[0] if said else ''}"
    return ran, failed


def _test_problems(place: str, ran: set[str], failed: Mapping[str, str]) -> list[str]:
    if place in failed:
        return [f"{place} {failed[place]} (rerun: python -m pytest '{place}')"]
    return [] if place in ran else [f"{place} did not run"]


def check_claims(
    claims: Mapping[str, Claim],
    *,
    properties: bool = True,
    whole: bool = True,
    jobs: int = 1,
    on_done: Callable[[Checked], None] = lambda _checked: None,
    before_properties: Callable[[], None] = lambda: None,
) -> list[Checked]:
    """Check the evidence of claims, and that registry and tree name the same things.

    Args:
        claims: what to check.
        properties: False leaves the property tests to ``make test``.
        whole: True if these are all claims: then what the tree has and no claim names is a problem too.
        jobs: processes.
        on_done: called as each claim's derivation and proof are done.
        before_properties: called once, before the property tests.

    Returns:
        One entry a claim in the order of the registry, and one more with the empty id if the tree holds more than the
        registry does.
    """
    found: dict[str, Checked] = {}
    with ProcessPoolExecutor(max_workers=jobs, initializer=_leave_interrupts_to_the_parent) as pool:
        pending = [pool.submit(run_evidence, claim) for claim in claims.values()]
        try:
            for future in as_completed(pending):
                found[future.result().id] = future.result()
                on_done(future.result())
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    more = registration_problems(claims)
    if not whole:
        more.pop("", None)
    if properties:
        before_properties()
        for name, problems in run_properties(list(claims.values())).items():
            more.setdefault(name, []).extend(problems)
    checked = [_with_problems(found[name], more.get(name, ())) for name in claims]
    if more.get(""):
        checked.append(Checked("", "failed", 0.0, tuple(more[""])))
    return checked


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _with_problems(checked: Checked, problems: Sequence[str]) -> Checked:
    if not problems:
        return checked
    return Checked(checked.id, "failed", checked.seconds, (*checked.problems, *problems))
