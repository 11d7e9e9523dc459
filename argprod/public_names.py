"""Compares the public names of the packages with the one list of them, `public_names.toml`, in both directions.

A public name is one that a package (not a module) offers in its `__all__`. Run as `python -m argprod.public_names`
with `--check`, which exits 1 and prints the differences, or with `--write`, which makes the list anew.
A package whose third-party library is not installed cannot be looked at: it is named, and its entry is kept.
"""

import argparse
import importlib
import importlib.util
import json
import pkgutil
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

ROOTS = ("scheduler", "theory", "proofs", "replay")
LIST_PATH = Path(__file__).with_name("public_names.toml")


@dataclass(frozen=True)
class Exports:
    """What the packages offer: names by package, names that lead nowhere, packages that cannot be looked at."""

    names: dict[str, list[str]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    unseen: dict[str, str] = field(default_factory=dict)


def listed_names(path: Path = LIST_PATH) -> dict[str, list[str]]:
    """Read the list: package to its public names, empty when there is no file yet."""
    if not path.exists():
        return {}
    return {package: list(names) for package, names in tomllib.loads(path.read_text(encoding="utf-8")).items()}


def exported_names(roots: Sequence[str] = ROOTS) -> Exports:
    """Import every package under `roots` and collect its `__all__`; a root that does not exist has no names."""
    exports = Exports()
    for root in roots:
        if importlib.util.find_spec(root) is not None:
            for package in _packages(root, exports.unseen):
                _collect(package, exports)
    return exports


def differences(listed: Mapping[str, Sequence[str]], exports: Exports) -> list[str]:
    """Say in one line each what the list and the packages disagree on; empty when they agree."""
    lines = [f"{name} is in __all__ but does not exist" for name in exports.broken]
    for package in sorted({*listed, *exports.names} - set(exports.unseen)):
        old, new = set(listed.get(package, ())), set(exports.names.get(package, ()))
        lines += [f"{package}.{name} is exported but not listed" for name in sorted(new - old)]
        lines += [f"{package}.{name} is listed but not exported" for name in sorted(old - new)]
    return lines


def as_toml(names: Mapping[str, Sequence[str]]) -> str:
    """Write the list in the form that `listed_names` reads, packages and names in order."""
    lines = ["# The public names, package by package; written by `python -m argprod.public_names --write`."]
    for package in sorted(names):
        if names[package]:
            lines += [
                f"{json.dumps(package)} = [",
                *(f"    {json.dumps(name)}," for name in sorted(names[package])),
                "]",
            ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Check or write the list; return the exit code."""
    parser = argparse.ArgumentParser(prog="argprod.public_names", description=(__doc__ or "").split("\n", 1)[0])
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="exit 1 with the differences")
    action.add_argument("--write", action="store_true", help="make the list anew")
    options = parser.parse_args(arguments)
    listed, exports = listed_names(), exported_names()
    for package, library in sorted(exports.unseen.items()):
        print(f"not looked at: {package} needs {library}")
    if options.write:
        kept = {package: names for package, names in listed.items() if package in exports.unseen}
        LIST_PATH.write_text(as_toml(exports.names | kept), encoding="utf-8")
        return 0
    lines = differences(listed, exports)
    for line in lines:
        print(line)
    if lines:
        print("if this is meant: python -m argprod.public_names --write, and a line in CHANGELOG.md")
    return 1 if lines else 0


def _packages(name: str, unseen: dict[str, str]) -> Iterator[ModuleType]:
    """Yield a package and those below it, and note in `unseen` each that lacks a library not of this project."""
    try:
        package = importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if not missing or missing in {*ROOTS, "argprod"}:
            raise
        unseen[name] = missing
        return
    yield package
    for entry in pkgutil.iter_modules(package.__path__, prefix=f"{name}."):
        if entry.ispkg:
            yield from _packages(entry.name, unseen)


def _collect(package: ModuleType, exports: Exports) -> None:
    names: list[str] = sorted(getattr(package, "__all__", ()))
    if names:
        exports.names[package.__name__] = names
    exports.broken.extend(f"{package.__name__}.{name}" for name in names if not hasattr(package, name))


if __name__ == "__main__":
    sys.exit(main())
