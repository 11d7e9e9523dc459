"""The reference of the built book has everything that the code has: names, commands, options, rules, fields."""

from __future__ import annotations

import html
import json
import re
from functools import cache
from pathlib import Path

import pytest
import typer.main

from argprod.app import app
from argprod.public_names import listed_names
from replay.workloads import WORKLOADS
from scheduler.policies.catalogue import CATALOGUE
from scheduler.policies.rule import Rule
from tests.book.pages import DOCS

pytestmark = pytest.mark.book
HTML = DOCS / "_build" / "html" / "reference"
PAGES = {
    "scheduler": "api_scheduler",
    "scheduler.formulas": "api_formulas",
    "theory": "api_theory",
    "proofs": "api_proofs",
    "proofs.search": "api_proofs",
    "replay.traces": "api_replay",
    "replay.workloads": "api_replay",
}


@cache
def page(name: str) -> str:
    return (HTML / f"{name}.html").read_text(encoding="utf-8")


@cache
def words(name: str) -> str:
    """What a reader sees of a page, its main part."""
    main = page(name).partition('<article class="bd-article"')[2].partition("</article>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", main)).split())


def test_every_public_package_has_a_page() -> None:
    assert set(PAGES) == set(listed_names())


@pytest.mark.parametrize(("package", "name"), [(p, n) for p in PAGES for n in listed_names()[p]])
def test_every_public_name_has_a_section_and_a_link_to_its_code(package: str, name: str) -> None:
    anchor = f"{package}.{name}"
    section = page(PAGES[package]).partition(f'<section id="{anchor}">')[2].partition("</section>")[0]
    assert 'class="source-link' in section
    assert len(re.sub(r"<[^>]+>", "", section).split()) > 5


def test_no_docstring_is_shown_raw() -> None:
    for name in (*set(PAGES.values()), "rules", "schemas", "cli", "workloads"):
        assert not re.search(r":(class|func|meth|data|attr|mod):|``|\{prf:ref\}|\{py:obj\}", words(name)), name


@pytest.mark.parametrize("name", list(typer.main.get_command(app).commands))  # type: ignore[attr-defined]
def test_every_command_has_all_its_options_and_their_help(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    section = page("cli").partition(f'<section id="argprod-{name}">')[2].partition("</section>")[0]
    said = " ".join(html.unescape(re.sub(r"<[^>]+>", "", section)).split())
    for param in command.params:
        if type(param).__name__ == "TyperOption" and param.name != "help":
            assert all(flag in said for flag in param.opts), param.name
        assert _letters(param.help or "") in _letters(said), param.name


def _letters(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", text)


def test_every_exit_code_is_listed() -> None:
    import argprod.cli

    text = " ".join((argprod.cli.__doc__ or "").split()).partition("Exit codes:")[2]
    codes = re.findall(r"\b\d+\b", text)
    section = page("cli").partition('<section id="exit-codes">')[2]
    assert codes
    assert all(re.search(rf"<p>{code}</p>", section) for code in codes)


@pytest.mark.parametrize("rule", CATALOGUE.values(), ids=lambda rule: rule.name)
def test_every_rule_has_its_knobs_and_its_source(rule: Rule) -> None:
    section = page("rules").partition(f'<section id="rule-{rule.name}">')[2].partition("</section>")[0]
    said = html.unescape(re.sub(r"<[^>]+>", "", section))
    for knob in rule.all_knobs():
        assert f"{knob.name} = {'none' if knob.default is None else knob.default}" in said
        assert _letters(knob.meaning) in _letters(said)
    assert 'class="source-link' in section


def test_every_workload_has_its_parameters() -> None:
    for workload in WORKLOADS.values():
        section = page("workloads").partition(f'<section id="workload-{workload.name}">')[2].partition("</section>")[0]
        said = html.unescape(re.sub(r"<[^>]+>", "", section))
        assert all(f"{each.name} = {each.default}" in said for each in workload.parameters)


@pytest.mark.parametrize("path", sorted((DOCS / "schemas").glob("*.json")), ids=lambda path: path.name)
def test_every_field_of_a_schema_is_listed(path: Path) -> None:
    said = words("schemas")
    assert path.name in said
    schema = json.loads(path.read_text(encoding="utf-8"))
    for each in (schema, *schema.get("$defs", {}).values()):
        assert all(re.search(rf"\b{name}\b", said) for name in each.get("properties", {}))
