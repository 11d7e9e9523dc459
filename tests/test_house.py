"""Laws about the house: what is locked, what is public, what the core needs, how large a file may grow."""

import ast
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import argprod
from argprod import public_names
from scheduler.policies.catalogue import CATALOGUE
from scheduler.policies.rule import Rule

ROOT = Path(__file__).parent.parent
ROOMS = ("scheduler", "theory", "proofs", "replay", "argprod")
LOCKS = ("core.lock", "dev.lock", "mutation.lock", "peer-aiconfigurator.lock", "peer-dynamo.lock", "peer-vidur.lock")
CORE = {"msgspec", "numpy", "xxhash"}
NOT_IN_CORE = (
    "bokeh",
    "cvc5",
    "httpx",
    "hypothesis",
    "matplotlib",
    "rich",
    "scipy",
    "sympy",
    "torch",
    "typer",
    "z3",
    "zmq",
)

# Ratchets: they may go down, not up.
LINES_OF_FILE_MAX = 320
LINES_OF_FUNCTION_MAX = 90
# What fits into a table beside the rule.
LETTERS_OF_SOURCE_MAX = 60


def locked_requirements(lock: str) -> dict[str, str]:
    """Each `name==version` line of a lock file with all that belongs to it."""
    text = (ROOT / "requirements" / lock).read_text(encoding="utf-8")
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    return {entry.split("\n", 1)[0]: entry for entry in entries}


def source_files() -> list[Path]:
    """Every Python file of the rooms."""
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a file, nested ones too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_file_holds_an_address(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text(encoding="utf-8")
    assert not re.findall(r"(?i)https?:|file:|://|--(?:extra-)?index-url|--find-links", text)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_requirement_has_a_version_and_a_hash(lock: str) -> None:
    entries = locked_requirements(lock)
    assert entries
    assert [line for line in entries if not re.match(r"[A-Za-z0-9._-]+==\S+", line)] == []
    assert [line for line, entry in entries.items() if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry)] == []


def test_the_core_lock_holds_the_core_and_nothing_else() -> None:
    assert {line.split("==")[0] for line in locked_requirements("core.lock")} == CORE


def test_the_dev_lock_agrees_with_the_core_lock() -> None:
    assert set(locked_requirements("core.lock")) <= set(locked_requirements("dev.lock"))


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == argprod.__version__


def test_the_public_names_are_listed() -> None:
    assert public_names.differences(public_names.listed_names(), public_names.exported_names()) == []


def test_a_name_in_one_place_only_is_reported() -> None:
    exports = public_names.Exports(names={"room": ["kept", "new"]}, broken=["room.new"], unseen={"far": "torch"})
    assert public_names.differences({"room": ["gone", "kept"], "far": ["away"]}, exports) == [
        "room.new is in __all__ but does not exist",
        "room.new is exported but not listed",
        "room.gone is listed but not exported",
    ]


def test_the_list_of_names_survives_writing_and_reading(tmp_path: Path) -> None:
    names = {"scheduler": ["Router", "detect"], "scheduler.live": ["gateway"]}
    path = tmp_path / "names.toml"
    path.write_text(public_names.as_toml(names), encoding="utf-8")
    assert public_names.listed_names(path) == names


def test_a_package_that_does_not_exist_has_no_names() -> None:
    assert public_names.exported_names(["no_such_room"]) == public_names.Exports()


def test_scheduler_imports_with_the_core_install_alone(tmp_path: Path) -> None:
    python = os.environ.get("ARGPROD_CORE_PYTHON")
    if not python:
        pytest.skip("ARGPROD_CORE_PYTHON is unset: `make test` sets it to an environment with the core install alone")
    program = (
        "import sys, importlib.util, scheduler\n"
        f"names = {NOT_IN_CORE!r}\n"
        "print(*[name for name in names if name in sys.modules or importlib.util.find_spec(name)])\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    answer = subprocess.run(
        [python, "-W", "error", "-c", program],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == []


def test_nothing_else_in_scheduler_imports_its_testing_package() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in source_files()
        if path.is_relative_to(ROOT / "scheduler") and not path.is_relative_to(ROOT / "scheduler" / "testing")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom) and "scheduler.testing" in _imported(node)
    ]
    assert found == []


def test_files_stay_small() -> None:
    lines = {path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines()) for path in source_files()}
    assert {path: count for path, count in lines.items() if count > LINES_OF_FILE_MAX} == {}


def test_functions_stay_small() -> None:
    lines = {
        f"{path.relative_to(ROOT)}:{function.name}": (function.end_lineno or function.lineno) - function.lineno + 1
        for path in source_files()
        for function in functions(path)
    }
    assert {name: count for name, count in lines.items() if count > LINES_OF_FUNCTION_MAX} == {}


def test_nothing_is_left_for_later_in_a_comment() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in source_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(r"\b(?:TODO|FIXME|XXX)\b", line)
    ]
    assert found == []


def test_no_file_cites_what_is_not_in_the_repository() -> None:
    # Notes that a reader of the repository does not have; citations of them are by file name or by number.
    notes = r"\b(?:PEERS|THEORY|DESIGN|ANCHORS)\b|\b(?:STYLE|ENGINES)(?:\.md\b|,? (?:section )?\d)"
    found = [
        f"{path}:{number}"
        for path in tracked_files()
        if path != Path("tests/test_house.py") and path.parts[0] != "requirements"
        for number, line in enumerate(_text(path).splitlines(), start=1)
        if re.search(notes, line)
    ]
    assert found == []


def test_every_source_that_is_named_has_a_heading() -> None:
    headings = set(re.findall(r"^## (\S+)$", _text(Path("docs/sources.md")), flags=re.MULTILINE))
    named = {
        key: path
        for path in tracked_files()
        for key in re.findall(r"docs/sources\.md#([\w-]+)", _text(path))
        if path.parts[0] != "docs" and path != Path("tests/test_house.py")
    }
    assert named
    assert {key: path for key, path in named.items() if key not in headings} == {}


@pytest.mark.parametrize("rule", CATALOGUE.values(), ids=lambda rule: rule.name)
def test_the_source_of_a_rule_is_short_and_public(rule: Rule) -> None:
    assert 0 < len(rule.source) <= LETTERS_OF_SOURCE_MAX
    headings = re.findall(r"^## (\S+)$", _text(Path("docs/sources.md")), flags=re.MULTILINE)
    ours = re.fullmatch(r"claim \w+", rule.source)
    named = re.fullmatch(r"[^;]+; docs/sources\.md#([\w-]+)", rule.source)
    assert ours or (named and named[1] in headings), rule.source


def tracked_files() -> list[Path]:
    """Every file that git tracks, relative to the root; the test skips where there is no git repository."""
    if not (ROOT / ".git").exists():
        pytest.skip("no git repository here, so nothing says which files belong to it")
    answer = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    return [Path(name) for name in answer.stdout.split("\0") if name and (ROOT / name).is_file()]


def _text(path: Path) -> str:
    """The text of a file; empty if it is not text."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def _imported(node: ast.Import | ast.ImportFrom) -> set[str]:
    """The modules that a statement imports with those above them; `from a import b` may mean the module `a.b`."""
    names = [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        names = [f"{node.module}.{name}" for name in names]
    parts = [name.split(".") for name in names]
    return {".".join(part[:size]) for part in parts for size in range(1, len(part) + 1)}
