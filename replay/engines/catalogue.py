"""The real engines by name, and the text form ``NAME[:param=value,...]``.

``torch`` is transformers' continuous batching in this machine, ``http`` an OpenAI-compatible server each. What their
parameters are, and their defaults, their classes say: :class:`replay.engines.transformers_cb.Shape`,
:class:`replay.engines.openai_http.HttpOptions`. A new engine is one file and one entry here.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from replay.engines.openai_http import HttpOptions, OpenAIEngine
from replay.engines.openai_server import address
from replay.engines.process import READY_S, ProcessEngine
from replay.engines.protocol import Engine
from replay.engines.steps import StepSink
from replay.engines.torch_here import check_device, check_libraries, cores, threads_of_each
from replay.engines.transformers_cb import Shape, TransformersEngine
from scheduler.domains import Domain
from scheduler.errors import Absent, BadInput, unknown_name

#: What the parameters of each engine are read into.
OPTIONS: dict[str, type[msgspec.Struct]] = {"torch": Shape, "http": HttpOptions}
#: A parameter of ``torch`` that is not its shape: whether each instance has a process of its own.
PROCESSES = "processes"
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_COUNT = Domain(1, 64, integer=True, unit="instance")


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """An engine and its parameters.

    Args:
        name: a key of :data:`OPTIONS`.
        options: a value of its type there.
        processes: whether each instance has a process of its own; ``http`` servers have anyway.
    """

    name: str
    options: Any
    processes: bool = False

    def settings(self) -> dict[str, Any]:
        """All parameters, defaults too, for logs."""
        return {"engine": self.name, PROCESSES: self.processes, **msgspec.structs.asdict(self.options)}

    def settled(self, instances: int) -> EngineChoice:
        """The same, with the threads that so many instances leave each of them.

        Example:
            >>> read_engine("torch:threads=3").settled(2).options.threads
            3
        """
        if self.name != "torch" or self.options.threads is not None:
            return self
        threads = threads_of_each(max(1, instances), cores())
        return replace(self, options=msgspec.structs.replace(self.options, threads=threads))

    def describe(self) -> str:
        """The engine and what differs from its defaults, in one line.

        Example:
            >>> read_engine("torch:layers=4").describe()
            'torch, layers 4'
        """
        default = type(self.options)()
        words = [
            f"{name} {getattr(self.options, name)}"
            for name in self.options.__struct_fields__
            if getattr(self.options, name) != getattr(default, name)
        ]
        return ", ".join([self.name, *words, *([PROCESSES] if self.processes else [])])


def read_engine(text: str) -> EngineChoice:
    """The engine that a text means.

    Args:
        text: ``NAME`` or ``NAME:param=value,param=value``.

    Raises:
        BadInput: an unknown engine or parameter, with the nearest names; a value of another type or outside its domain;
            a parameter twice.

    Example:
        >>> choice = read_engine("torch:layers=4,hidden=128,heads=8")
        >>> choice.name, choice.options.layers, choice.options.kv_blocks
        ('torch', 4, 1024)
    """
    name, _, rest = text.partition(":")
    if name not in OPTIONS:
        raise unknown_name("engine", name, OPTIONS)
    kind, texts = OPTIONS[name], _texts(name, rest)
    processes = False
    if name == "torch" and PROCESSES in texts:
        word = texts.pop(PROCESSES)
        if word.lower() not in _WORDS:
            raise BadInput(f"engine {name}: {PROCESSES}", word, "true or false")
        processes = _WORDS[word.lower()]
    known = kind.__struct_fields__
    for param in texts:
        if param not in known:
            extra = [PROCESSES] if name == "torch" else []
            raise unknown_name(f"engine {name}: parameter", param, [*known, *extra])
    values = {param: _converted(name, kind, param, word) for param, word in texts.items()}
    options = kind(**values)
    return EngineChoice(name, options.checked(), processes)  # type: ignore[attr-defined]


def _texts(name: str, rest: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    for part in filter(None, rest.split(",")):
        param, equals, value = (word.strip() for word in part.partition("="))
        if not equals:
            raise BadInput(f"engine {name}: parameter", part, "param=value", "separate parameters by commas")
        if param in texts:
            raise BadInput(f"engine {name}: {param}", part, "each parameter once")
        texts[param] = value
    return texts


def _converted(name: str, kind: type[msgspec.Struct], param: str, word: str) -> Any:
    """A parameter's value from its text."""
    types = {field.name: field.type for field in msgspec.structs.fields(kind)}
    value: Any = _WORDS.get(word.lower(), word) if types[param] is bool else word
    try:
        return msgspec.convert(value, types[param], strict=False)
    except msgspec.ValidationError as fault:
        raise BadInput(f"engine {name}: {param}", word, "a value of its type", str(fault)) from None


def parameters_of(name: str) -> list[tuple[str, Any, str]]:
    """The parameters of an engine: name, default, and what its class says of it.

    Raises:
        BadInput: for an unknown engine.

    Example:
        >>> parameters_of("torch")[0]
        ('layers', 2, 'of the model')
    """
    if name not in OPTIONS:
        raise unknown_name("engine", name, OPTIONS)
    kind = OPTIONS[name]
    default, meanings = kind(), _meanings(kind)
    found = [(field, getattr(default, field), meanings.get(field, "")) for field in kind.__struct_fields__]
    return [*found, (PROCESSES, False, "whether each engine has a process of its own")] if name == "torch" else found


def _meanings(kind: type) -> dict[str, str]:
    """What the section of arguments in a docstring says of each; a line may be of several, as ``a, b: text``."""
    _, _, section = (inspect.getdoc(kind) or "").partition("Args:\n")
    meanings: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \S)", section.partition("\n\n")[0]):
        names, _, text = " ".join(entry.split()).partition(": ")
        meanings |= {name.strip(): text.replace("``", "").removesuffix(".") for name in names.split(",")}
    return meanings


def engines_of(choice: EngineChoice, count: int, urls: Sequence[str] = ()) -> list[Engine]:
    """The instances, not started yet.

    Args:
        choice: what they are.
        count: how many, for ``torch``; they are named ``0``, ``1``, ...
        urls: where the servers are, for ``http``; they are named by them, without the scheme.

    Raises:
        BadInput: for a number that cannot be, no server, or one that is named twice; where ``torch`` or the GPU that
            it is to use is missing.
    """
    if choice.name == "http":
        names = [address(url).split("://", 1)[1] for url in urls]
        if not urls:
            raise BadInput("--endpoint", Absent.MISSING, "the address of each server", "http://127.0.0.1:8000")
        for place, name in enumerate(names):
            if name in names[:place]:
                raise BadInput("--endpoint", urls[place], "each server once", "this one was named before")
        return [OpenAIEngine(name, url, choice.options) for name, url in zip(names, urls, strict=True)]
    _COUNT.check("--instances", count)
    check_libraries()
    check_device(choice.options.device)
    shape = choice.settled(count).options
    return [torch_engine(str(place), shape, processes=choice.processes) for place in range(count)]


def torch_engine(
    name: str, shape: Shape, *, processes: bool, step_sink: StepSink | None = None, ready_s: float = READY_S
) -> Engine:
    """One instance of ``torch``, not started yet.

    Args:
        name: of the instance.
        shape: of its model.
        processes: whether it has a process of its own.
        step_sink: told of its steps.
        ready_s: how long such a process may take to be ready [s].
    """
    if not processes:
        return TransformersEngine(name, shape, step_sink)
    return ProcessEngine(
        name,
        functools.partial(TransformersEngine, name, shape),
        block_tokens=shape.block_tokens,
        kv_blocks=shape.kv_blocks,
        step_sink=step_sink,
        ready_s=ready_s,
    )
