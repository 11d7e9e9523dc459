"""``{api} PACKAGE``: every public name of a package with its signature and docstring, from the code itself."""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
import re
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from docstrings import as_markdown
from docutils import nodes
from reference_nodes import Reference
from source_pages import ROOT, link
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

from scheduler.errors import BadInput
from theory import formula

#: Longer signatures than this take a line for each argument: what a phone shows without scrolling, nearly.
LETTERS_OF_LINE = 60
#: A longer default than this is told as three dots.
LETTERS_OF_DEFAULT = 30
_KINDS = ("Functions", "Classes", "Named values", "Errors", "Constants")


@cache
def public_names() -> dict[str, list[str]]:
    """The public names, package by package."""
    text = (ROOT / "argprod" / "public_names.toml").read_text(encoding="utf-8")
    return dict(tomllib.loads(text))


@cache
def addresses() -> dict[str, str]:
    """From every name under which something public can be met to the one that the reference has."""
    found: dict[str, str] = {}
    for package, public in public_names().items():
        module = importlib.import_module(package)
        for name in public:
            value, anchor = getattr(module, name), f"{package}.{name}"
            names = {anchor, name}
            if hasattr(value, "__qualname__"):
                names.add(f"{value.__module__}.{value.__qualname__}")
            for each in names:
                found.setdefault(each, anchor)
    return found


def address_of(target: str) -> str | None:
    """The public name of the target of a role; of a method that of its class."""
    known = addresses()
    return known.get(target) or known.get(target.rpartition(".")[0])


class ApiDirective(Reference):  # type: ignore[misc]
    """All public names of a package, grouped by kind."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The nodes."""
        package = self.arguments[0]
        self.depends_on(["argprod/public_names.toml"])
        module = importlib.import_module(package)
        groups: dict[str, list[str]] = {kind: [] for kind in _KINDS}
        for name in public_names()[package]:
            groups[_kind(getattr(module, name))].append(name)
        made: list[nodes.Node] = []
        for kind, names in groups.items():
            if names:
                parts = [self._entry(package, module, name) for name in names]
                made.append(self.section(f"{package}-{kind.lower().replace(' ', '-')}", kind, *parts, code=False))
        return [*self._overview(package, groups), *made]

    def _overview(self, package: str, groups: dict[str, list[str]]) -> list[nodes.Node]:
        lines = []
        for kind, names in groups.items():
            if names:
                links = ", ".join(f"{{py:obj}}`{name} <{package}.{name}>`" for name in names)
                lines.append(f"{kind}\n: {links}\n")
        return list(self.markdown("\n".join(lines)))

    def _text(self, docstring: str) -> list[nodes.Node]:
        return list(self.markdown(as_markdown(docstring, address_of)))

    def _entry(self, package: str, module: ModuleType, name: str) -> nodes.section:
        value, anchor = getattr(module, name), f"{package}.{name}"
        kind = "class" if inspect.isclass(value) else "function" if inspect.isfunction(value) else "data"
        self.env.get_domain("py").note_object(anchor, kind, anchor, location=(self.env.docname, self.lineno))
        made = self.section(anchor, name)
        place = _place(module, name, value)
        if kind == "data":
            made += self._text(_comment(place, name) or _kind_of(value))
            made += self.code(f"{name}: {_type(value)}", "python")
        else:
            if not (inspect.isclass(value) and issubclass(value, enum.Enum)):
                made += self.code(_declared(name, value), "python")
            if package == "scheduler.formulas":
                made += self._symbols(name)
            made += self._text(_doc(value))
        if inspect.isclass(value):
            made += list(self._members(value))
        line = nodes.paragraph(classes=["evidence"])
        line += link(self.env, place, place.replace(":", ", "))
        made += line
        return made

    def _symbols(self, name: str) -> list[nodes.Node]:
        """The formula as mathematics, if it has one expression."""
        try:
            latex = formula(name).latex()
        except (BadInput, TypeError, ValueError, AttributeError):
            return []
        return list(self.markdown(f"$$\n{latex}\n$$"))

    def _members(self, value: type) -> Iterator[nodes.Node]:
        if issubclass(value, enum.Enum):
            comments = _enum_comments(value)
            lines = [f"- `{each.name}` = `{each.value!r}`{comments.get(each.name, '')}" for each in value]
            yield from self.markdown("\n".join(lines))
            return
        for name, raw in vars(value).items():
            member = raw.__func__ if isinstance(raw, classmethod | staticmethod) else raw
            if name.startswith("_") or not inspect.getdoc(member):
                continue
            if isinstance(member, property):
                shown = f"{name}: {_plain(member.fget.__annotations__.get('return', '')) if member.fget else ''}"
                prefix = ""
            elif inspect.isfunction(member):
                shown, prefix = _signature(name, member), "classmethod " if isinstance(raw, classmethod) else ""
            else:
                continue
            box = nodes.container(classes=["api-member"])
            box += self.code(prefix + shown, "python")
            box += self._text(_doc(member))
            yield box


def _kind(value: Any) -> str:
    if inspect.isclass(value):
        return (
            "Errors" if issubclass(value, Exception) else "Named values" if issubclass(value, enum.Enum) else "Classes"
        )
    return "Functions" if inspect.isfunction(value) else "Constants"


def _doc(value: Any) -> str:
    return inspect.cleandoc(value.__doc__ or "")


def _declared(name: str, value: Any) -> str:
    try:
        return ("class " if inspect.isclass(value) else "") + _signature(name, value)
    except ValueError:  # an error that takes what every exception takes
        return f"class {name}({', '.join(base.__name__ for base in value.__bases__)})"


def _signature(name: str, value: Callable[..., Any]) -> str:
    """A signature as it would be written, over several lines if it is long."""
    signature = inspect.signature(value)
    parts: list[str] = []
    starred = False
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            starred = True
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not starred:
            parts.append("*")
            starred = True
        parts.append(_parameter(parameter))
    result = signature.return_annotation
    tail = "" if inspect.isclass(value) or result is inspect.Signature.empty else f" -> {_plain(result)}"
    line = f"{name}({', '.join(parts)}){tail}"
    if len(line) <= LETTERS_OF_LINE:
        return line
    return f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){tail}"


def _parameter(parameter: inspect.Parameter) -> str:
    text = str(parameter).partition(":")[0].partition("=")[0].strip()  # with its stars
    known = parameter.annotation is not inspect.Parameter.empty
    if known:
        text += f": {_plain(parameter.annotation)}"
    if parameter.default is not inspect.Parameter.empty:
        text += (" = " if known else "=") + _default(parameter.default)
    return text


def _default(value: Any) -> str:
    text = value.__name__ if inspect.isroutine(value) or inspect.isclass(value) else repr(value)
    return "..." if len(text) > LETTERS_OF_DEFAULT or "<" in text else text


def _plain(annotation: Any) -> str:
    """An annotation without the modules in front of its names."""
    if annotation is None or annotation is type(None):
        return "None"
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z_])", "", text.replace("NoneType", "None"))


def _type(value: Any) -> str:
    return f"{type(value).__name__} = {value!r}" if isinstance(value, int | float) else type(value).__name__


def _place(module: ModuleType, name: str, value: Any) -> str:
    """Where a name is defined: ``FILE.py:NAME``."""
    if inspect.isclass(value) or inspect.isfunction(value):
        path = Path(inspect.getsourcefile(inspect.unwrap(value)) or "")
        return f"{path.relative_to(ROOT).as_posix()}:{value.__name__}"
    for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and name in [alias.name for alias in node.names]:
            return f"{node.module.replace('.', '/')}.py:{name}"
    raise LookupError(f"{module.__name__}.{name}: nobody knows where it is defined")


def _comment(place: str, name: str) -> str:
    """What stands in the comment ``#:`` above a constant."""
    module = place.partition(":")[0].removesuffix(".py").replace("/", ".")
    found = ModuleAnalyzer.for_module(module).find_attr_docs().get(("", name), [])
    return "\n".join(found)


def _kind_of(value: Any) -> str:
    """What a constant without a comment is: its type, and what that says of itself."""
    words = " ".join((type(value).__doc__ or "").split("\n\n", 1)[0].split())
    return f"One :class:`{type(value).__name__}`: {words}"


def _enum_comments(value: type) -> dict[str, str]:
    """Comments behind the members of an enumeration."""
    lines = inspect.getsource(value).splitlines()
    found = (re.match(r"\s+(\w+) = .*?  # (.*)$", line) for line in lines)
    return {match[1]: f": {match[2]}" for match in found if match}


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("api", ApiDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
