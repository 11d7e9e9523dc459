"""The workflow that builds and publishes the book names what there is: targets, lock files, the folder of pages."""

from __future__ import annotations

import re

from tests.book.pages import ROOT

WORKFLOW = (ROOT / ".github" / "workflows" / "book.yml").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def make_targets() -> set[str]:
    return set(re.findall(r"^([\w-]+):", MAKEFILE, flags=re.MULTILINE))


def test_every_make_target_of_the_workflow_exists() -> None:
    named = re.findall(r"\bmake ([\w-]+)", WORKFLOW)
    assert named
    assert set(named) <= make_targets()


def test_every_step_runs_make_or_a_pinned_action() -> None:
    assert all(command.startswith("make ") for command in re.findall(r"- run: (.+)", WORKFLOW))
    actions = re.findall(r"uses: (\S+)", WORKFLOW)
    assert {action.partition("@")[0] for action in actions} == {
        "actions/checkout",
        "actions/setup-python",
        "actions/upload-pages-artifact",
        "actions/deploy-pages",
    }
    assert all(re.fullmatch(r"[\w/-]+@v\d+", action) for action in actions)


def test_its_files_are_those_of_the_make_target() -> None:
    [path] = re.findall(r"^\s+path: (\S+)$", WORKFLOW, flags=re.MULTILINE)
    assert f"{path}/index.html" in MAKEFILE
    [lock] = re.findall(r"cache-dependency-path: (\S+)", WORKFLOW)
    assert (ROOT / lock).is_file()


def test_only_main_is_published() -> None:
    publish = WORKFLOW.partition("\n  publish:\n")[2]
    assert "github.ref == 'refs/heads/main'" in publish.partition("steps:")[0]
    assert "pages: write" not in WORKFLOW.partition("\n  publish:\n")[0]


def test_its_python_is_one_that_the_project_supports() -> None:
    [version] = re.findall(r'python-version: "([\d.]+)"', WORKFLOW)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'requires-python = ">={version}"' in project
