"""Commands that a page shows and another test runs in its own way: each names options that there are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest
import typer.main

from argprod.app import app
from tests.book.pages import ROOT, blocks, toc_files
from tests.book.test_pages import commands

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def shown() -> Iterator[tuple[str, str]]:
    """Each command of a block that another test runs, with its page."""
    for page in toc_files():
        for block in blocks(page):
            if block.kind == "console" and block.run_by:
                for command, _ in commands(block):
                    yield page, command


@pytest.mark.parametrize(("page", "command"), list(shown()))
def test_what_is_named_exists(page: str, command: str) -> None:
    words = shlex.split(command.replace("\\\n", ""))
    if words[0] == "make":
        assert all(re.search(rf"(^|\s){re.escape(_target(word))}[:\s]", MAKEFILE) for word in words[1:]), words
    elif words[0].endswith("argprod"):
        _check_argprod(words[1:])
    elif words[1] == "-m":
        source = ROOT / f"{words[2].replace('.', '/')}.py"
        _check_options(source.read_text(encoding="utf-8"), words[3:])
    elif words[1] != "-c":
        _check_options((ROOT / words[1]).read_text(encoding="utf-8"), words[2:])


def _target(word: str) -> str:
    return re.sub(r"^\.venv-(\w+)/", lambda found: f"$({found[1].upper()})/", word)


def _check_argprod(words: list[str]) -> None:
    group = typer.main.get_command(app)
    command = group.commands[words[0]]  # type: ignore[attr-defined]
    command.make_context(words[0], words[1:])


def _check_options(source: str, words: list[str]) -> None:
    options = [word for word in words if word.startswith("--")]
    assert [option for option in options if f'"{option}"' not in source] == []
