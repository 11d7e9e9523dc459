"""Directives of the reference: ``{cli}``, ``{rules}``, ``{workloads}``, ``{schemas}``. Nothing there is typed."""

from __future__ import annotations

import inspect
import json
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import typer.main
from api_pages import address_of
from docstrings import as_markdown, inline
from docutils import nodes
from docutils.parsers.rst import Directive
from reference_nodes import Reference
from source_pages import ROOT
from sphinx.application import Sphinx

import argprod.cli
from argprod.app import app as commands
from replay.workloads import WORKLOADS
from scheduler.policies import catalogue
from scheduler.policies.catalogue import CATALOGUE
from scheduler.policies.rule import Knob, Pick, Rule

_PICKS = {
    Pick.FIRST: "Least value; the first among equals.",
    Pick.RANDOM: "Least value; drawn among equals.",
    Pick.WEIGHTED: "Drawn in proportion to the value.",
    Pick.SOFTMAX: "Least value, drawn among equals; with a temperature drawn by softmax.",
}


def _nothing(_: str) -> str | None:
    return None


class CliDirective(Reference):  # type: ignore[misc]
    """Every command of the command line with its arguments and options, then the exit codes."""

    def run(self) -> list[nodes.Node]:
        """The nodes."""
        self.depends_on([str(path.relative_to(ROOT)) for path in sorted((ROOT / "argprod").glob("*.py"))])
        group: Any = typer.main.get_command(commands)
        found = self._anchored(group.commands)
        for name, command in group.commands.items():
            found.append(self._command(name, command))
        found.append(self.section("exit-codes", "Exit codes", *self.markdown("\n".join(_exit_codes())), code=False))
        return found

    def _anchored(self, names: Any) -> list[nodes.Node]:
        line = nodes.paragraph()
        for number, name in enumerate(names):
            if number:
                line += nodes.Text(", ")
            line += nodes.reference("", "", nodes.literal(name, name), refuri=f"#argprod-{name}", internal=True)
        return [line]

    def _command(self, name: str, command: Any) -> nodes.section:
        arguments = [each for each in command.params if type(each).__name__ == "TyperArgument"]
        options = [each for each in command.params if type(each).__name__ == "TyperOption" and not each.hidden]
        words = [each.name.upper() if each.required else f"[{each.name.upper()}]" for each in arguments]
        usage = self.code(" ".join(["argprod", name, *words, "[OPTIONS]"]), "text")
        text = self.markdown(as_markdown(inspect.cleandoc(command.help or ""), _nothing))
        place = self.source(_place_of(name))
        return self.section(
            f"argprod-{name}", f"argprod {name}", *text, usage, self._list(name, [*arguments, *options]), place
        )

    def _list(self, command: str, params: list[Any]) -> nodes.definition_list:
        made = nodes.definition_list(classes=["cli-options"])
        for each in params:
            term = nodes.term(ids=[f"argprod-{command}-{each.name.replace('_', '-')}"])
            flags = [*each.opts, *each.secondary_opts] if each.opts[0].startswith("-") else [each.name.upper()]
            for number, flag in enumerate(flags):
                term += [nodes.Text(", ")] if number else []
                term += nodes.literal(flag, flag)
            kind = _kind(each)
            term += nodes.Text(f" {kind}") if kind else nodes.Text("")
            body = nodes.definition()
            body += self.markdown(inline(f"{each.help or ''}{_default(each)}", _nothing)) or nodes.paragraph()
            made += nodes.definition_list_item("", term, body)
        return made


def _place_of(command: str) -> str:
    function: Any = next(each.callback for each in commands.registered_commands if each.name == command)
    path = Path(inspect.getsourcefile(function) or "").relative_to(ROOT).as_posix()
    return f"{path}:{function.__name__}"


def _kind(param: Any) -> str:
    """The type of a value in a word."""
    annotation = param.type_descriptor.annotation
    if annotation is bool or getattr(param, "is_flag", False):
        return ""
    inner = [each for each in get_args(annotation) if each is not types.NoneType]
    name = getattr(inner[0] if inner else annotation, "__name__", "text")
    word = {"str": "text", "int": "integer", "float": "number", "Path": "file"}.get(name, name)
    return f"{word}{', repeatable' if param.multiple else ''}"


def _default(param: Any) -> str:
    if param.required:
        return " Required."
    if getattr(param, "is_flag", False) or not param.show_default or param.default in (None, "", ()):
        return ""
    return f" Default ``{param.default}``."


def _exit_codes() -> Iterator[str]:
    """The table, from the docstring of the entry point."""
    text = " ".join((argprod.cli.__doc__ or "").split()).partition("Exit codes: ")[2].rstrip(".")
    yield "| code | meaning |"
    yield "| ---: | --- |"
    for code, meaning in re.findall(r"(\d+) ([^,]+)", text):
        yield f"| {code} | {meaning} |"


class RulesDirective(Reference):  # type: ignore[misc]
    """The catalogue of rules, file by file: what the file says of them, then each with key, ties, needs and knobs."""

    def run(self) -> list[nodes.Node]:
        """The nodes."""
        self.depends_on([str(path.relative_to(ROOT)) for path in sorted((ROOT / "scheduler/policies").glob("*.py"))])
        files: dict[str, list[Rule]] = {}
        for rule in CATALOGUE.values():
            files.setdefault(_file_of(rule), []).append(rule)
        made: list[nodes.Node] = []
        for file, rules in files.items():
            text = as_markdown(inspect.cleandoc(_module_of(rules[0]).__doc__ or ""), address_of)
            parts = [self._rule(rule) for rule in rules]
            name = Path(file).stem.replace("_", " ")
            made.append(
                self.section(
                    f"rules-{Path(file).stem}", name, *self.markdown(text), self.source(file), *parts, code=False
                )
            )
        return [self._overview(), *made]

    def _overview(self) -> nodes.bullet_list:
        """Every rule in a line that leads to its section."""
        made = nodes.bullet_list(bullet="-")
        for rule in CATALOGUE.values():
            line = nodes.paragraph()
            name = nodes.literal(rule.name, rule.name)
            line += nodes.reference("", "", name, refuri=f"#rule-{rule.name}", internal=True)
            line += nodes.Text(f": {rule.summary}")
            made += nodes.list_item("", line)
        return made

    def _rule(self, rule: Rule) -> nodes.section:
        facts = [f"{inline(_sentence(rule.summary), _nothing)} {_PICKS[rule.pick]}"]
        key = as_markdown(inspect.cleandoc(rule.key.__doc__ or ""), address_of).split("\n\n", 1)[0]
        facts.append(f"**Value**: {key}")
        if rule.eligible is not None:
            facts.append(f"**Filter**: {as_markdown(inspect.cleandoc(rule.eligible.__doc__ or ''), address_of)}")
        if rule.memory is not None:
            word = "remembers" if rule.memory.kept else "computes from the request"
            facts.append(f"**Memory**: {word} {', '.join(f'`{name}`' for name in rule.memory.columns)}")
        if rule.needs:
            facts.append(f"**Reads besides**: {', '.join(f'`{name}`' for name in rule.needs)}")
        facts.append("\n".join(_knob(knob) for knob in rule.all_knobs()))
        facts.append(f"**Source**: {_source(rule)}")
        place = f"{_path(sys.modules[rule.key.__module__])}:{rule.key.__name__}"
        return self.section(f"rule-{rule.name}", rule.name, *self.markdown("\n\n".join(facts)), self.source(place))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _module_of(rule: Rule) -> ModuleType:
    """The file that lists the rule: of files that share a key, the one whose RULES has it."""
    for module in catalogue._FILES:  # noqa: SLF001 - which file lists a rule nobody else needs to know
        if rule in module.RULES:
            return sys.modules[module.__name__]
    raise LookupError(rule.name)


def _file_of(rule: Rule) -> str:
    return _path(_module_of(rule))


def _path(module: ModuleType) -> str:
    return Path(str(module.__file__)).relative_to(ROOT).as_posix()


def _source(rule: Rule) -> str:
    found = re.fullmatch(r"claim (\w+)", rule.source)
    text = f"claim ``{found[1]}``" if found else rule.source
    return str(inline(text, _nothing))


def _knob(knob: Knob) -> str:
    domain = knob.domain.describe() if knob.domain else " or ".join(f"``{each}``" for each in knob.choices)
    sweep = f"; `argprod tune` tries {', '.join(map(str, knob.sweep))} and on" if knob.sweep else ""
    default = "none" if knob.default is None else knob.default
    return f"- `{knob.name}` = `{default}`: {inline(f'{knob.meaning}; {domain}', _nothing)}{sweep}"


class WorkloadsDirective(Reference):  # type: ignore[misc]
    """The generated workloads with their parameters."""

    def run(self) -> list[nodes.Node]:
        """The nodes."""
        self.depends_on([str(path.relative_to(ROOT)) for path in sorted((ROOT / "replay/workloads").glob("*.py"))])
        made: list[nodes.Node] = []
        for workload in WORKLOADS.values():
            lines = [inline(_sentence(workload.summary), _nothing), ""]
            for each in workload.parameters:
                words = inline(f"{each.domain.describe()}; {each.source}", _nothing)
                lines.append(f"- `{each.name}` = `{each.default}`: {words}")
            module = Path(str(inspect.getsourcefile(workload.draw))).relative_to(ROOT).as_posix()
            name = f"workload:{workload.name}"
            made.append(
                self.section(f"workload-{workload.name}", name, *self.markdown("\n".join(lines)), self.source(module))
            )
        return made


class SchemasDirective(Reference):  # type: ignore[misc]
    """The JSON Schemas, each with its objects and fields, and the file itself."""

    def run(self) -> list[nodes.Node]:
        """The nodes."""
        self.depends_on([])
        made: list[nodes.Node] = []
        for path in sorted((ROOT / "docs/schemas").glob("*.schema.json")):
            schema = json.loads(path.read_text(encoding="utf-8"))
            name = path.name.removesuffix(".schema.json")
            parts: list[nodes.Node] = [self.source(path.relative_to(ROOT).as_posix())]
            objects = schema.get("$defs") or {name: schema}
            for title, each in objects.items():
                text = as_markdown(_described(each), address_of)
                found = self.section(f"schema-{name}-{title}", title, *self.markdown(text))
                found += self._fields(each)
                parts.append(found)
            made.append(self.section(f"schema-{name}", path.name, *parts))
        return made

    def _fields(self, schema: dict[str, Any]) -> list[nodes.Node]:
        if "enum" in schema:
            return list(self.markdown("One of " + ", ".join(f"`{each}`" for each in schema["enum"]) + "."))
        return list(self.markdown("\n".join(_rows(schema, ""))))


def _described(schema: dict[str, Any]) -> str:
    """The description without the list of its fields, which the fields carry themselves."""
    head, _, rest = str(schema.get("description", "")).partition("\n")
    return inspect.cleandoc(f"{head}\n{rest}" if rest else head).split("\nArgs:", 1)[0]


def _told(schema: dict[str, Any]) -> dict[str, str]:
    """What the description says of each field."""
    text = inspect.cleandoc(str(schema.get("description", "")))
    body = text.partition("Args:\n")[2].split("\n\n", 1)[0]
    found: dict[str, str] = {}
    for block in re.split(r"\n(?=    ?\S)(?!        )", body):
        names, colon, words = " ".join(block.split()).partition(": ")
        if colon:
            found |= dict.fromkeys(names.split(", "), words)
    return found


def _rows(schema: dict[str, Any], before: str) -> Iterator[str]:
    told = _told(schema)
    for name, field in schema.get("properties", {}).items():
        words = [_type(field)]
        words += ["required"] if name in schema.get("required", ()) else []
        words += [f"default `{json.dumps(field['default'])}`"] if field.get("default") is not None else []
        meaning = field.get("description") or told.get(name, "")
        tail = f": {inline(' '.join(meaning.split()), _nothing)}" if meaning else ""
        yield f"- `{before}{name}` ({', '.join(words)}){tail}"
        yield from _rows(field, f"{before}{name}.")
        yield from _rows(field.get("items", {}), f"{before}{name}[].")


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if "anyOf" in field:
        return " or ".join(_type(each) for each in field["anyOf"])
    if "enum" in field:
        return " or ".join(json.dumps(each) for each in field["enum"])
    kinds = field.get("type", "anything")
    text = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    bounds = [("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<")]
    limits = " and ".join(f"{sign} {field[key]:.10g}" for key, sign in bounds if key in field)
    if kinds == "array" and field.get("items"):
        return f"array of {_type(field['items'])}"
    return f"{text} {limits}".replace("<", "\\<").replace(">", "\\>") if limits else text


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    made: dict[str, type[Directive]] = {
        "cli": CliDirective,
        "rules": RulesDirective,
        "workloads": WorkloadsDirective,
        "schemas": SchemasDirective,
    }
    for name, directive in made.items():
        app.add_directive(name, directive)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
