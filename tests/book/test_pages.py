"""Every block of code and every command on a page of the book runs, and prints what the page says it prints."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt

from argprod.claims import place_exists
from tests.book.pages import DOCS, ROOT, Block, blocks, toc_files
from theory.registry import claims

#: Pages whose examples have tests of their own, and where those are.
OWN_TESTS = {"formats.md": "tests/test_docs.py", "laws.md": "tests/test_docs.py"}
#: Blocks that are no code: directives of the book, and data that a page shows.
TEXT = {"{claim}", "{ledger}", "{math}", "{generated}", "{include}", "{bibliography}", "{figure}", "{list-table}"}
TEXT |= {"{tableofcontents}", "{admonition}", "{api}", "{cli}", "{rules}", "{workloads}", "{schemas}"}
PAGES = [page for page in toc_files() if page not in OWN_TESTS]
#: What may differ from run to run in the output that a page shows is written as three dots.
LOOSE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def found(*kinds: str) -> list[Block]:
    return [block for page in PAGES for block in blocks(page) if block.kind in kinds and not block.run_by]


def where(block: Block) -> str:
    return f"{block.page}:{block.line}"


def test_no_block_is_of_a_kind_that_nothing_runs() -> None:
    known = {*TEXT, "{code-cell}", "python", "console"}
    strange = [f"{where(b)}: {b.kind or 'no kind'}" for p in PAGES for b in blocks(p) if b.kind not in known]
    assert strange == []


@pytest.mark.parametrize("place", sorted({b.argument for p in PAGES for b in blocks(p) if b.kind == "{generated}"}))
def test_what_is_generated_is_there(place: str) -> None:
    called, *arguments = place.split()
    module, _, name = called.partition(":")
    assert getattr(importlib.import_module(module), name)(*arguments).strip()


def test_what_another_test_runs_names_it() -> None:
    named = [block for page in toc_files() for block in blocks(page) if block.run_by]
    assert [where(block) for block in named if not place_exists(block.run_by)] == []


def test_no_page_has_code_that_is_only_indented() -> None:
    for page in PAGES:
        text = (DOCS / page).read_text(encoding="utf-8")
        outside = re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
        assert not re.search(r"\n\n    \S", outside), page


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs(page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mpl.use("agg")
    monkeypatch.chdir(ROOT)
    scope: dict[str, Any] = {"__name__": "page"}
    plt.close("all")
    shown = 0
    with mpl.rc_context():  # a page sets the style of its figures, and of no other test's
        for block in blocks(page):
            if block.run_by or block.kind not in {"{code-cell}", "python"}:
                continue
            shown += block.text.count("plt.show()")
            if ">>>" in block.text:
                _doctest(block, scope)
            else:
                with contextlib.redirect_stdout(io.StringIO()):
                    exec(compile("\n" * block.line + block.text, block.page, "exec"), scope)
    assert len(plt.get_fignums()) >= shown
    plt.close("all")


def _doctest(block: Block, scope: dict[str, Any]) -> None:
    test = doctest.DocTestParser().get_doctest(block.text, scope, where(block), block.page, block.line)
    said = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
    runner.run(test, out=said.write, clear_globs=False)
    scope.update(test.globs)
    assert not runner.failures, said.getvalue()


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Each command of a console block, and what is to be printed."""
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    assert not parts[0].strip(), f"{where(block)}: output before the first command"
    for part in parts[1:]:
        lines = part.splitlines(keepends=True)
        count = 1
        while lines[count - 1].endswith("\\\n"):
            count += 1
        yield "".join(lines[:count]).rstrip("\n"), "".join(lines[count:])


@pytest.mark.parametrize("page", sorted({block.page for block in found("console")}))
def test_the_commands_of_a_page_run_in_order(page: str, tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "COLUMNS": "100", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
    for name in (
        "README.md",
        "proofs",
        "benchmarks",
        "docs",
    ):  # as in a checkout, and what is written is not left there
        (tmp_path / name).symlink_to(ROOT / name)
    for block in found("console"):
        if block.page != page:
            continue
        for command, wanted in commands(block):
            first, _, status = command.partition("  # exit ")
            done = subprocess.run(
                ["bash", "-c", first], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120
            )
            assert done.returncode == int(status or 0), f"{where(block)}: {first}\n{done.stdout}{done.stderr}"
            if wanted.strip():
                said = done.stdout + done.stderr
                same = doctest.OutputChecker().check_output(wanted, said, LOOSE)
                assert same, f"{where(block)}: {first}\nprinted\n{said}"


def test_each_claim_is_stated_once_and_where_the_registry_says() -> None:
    stated: dict[str, list[str]] = {}
    for page in toc_files():
        for name in re.findall(r"^```\{claim\} (\w+)$", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE):
            stated.setdefault(name, []).append(f"docs/{page}#{name}")
    assert stated == {name: [claim.book] for name, claim in claims().items()}


def test_every_page_under_docs_is_in_the_book() -> None:
    files = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md") if "_build" not in path.parts}
    assert files == set(toc_files())
