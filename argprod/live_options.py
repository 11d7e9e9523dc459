"""What ``argprod replay`` takes for real engines, and which options go with which kind of replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from argprod.options import CALIBRATED
from replay.engines.catalogue import EngineChoice, read_engine
from replay.engines.kv_sockets import checked_address
from scheduler.errors import BadInput

#: The simulator, which no option of a real engine goes with.
SIMULATED = "sim"

EngineText = Annotated[
    str,
    typer.Option(
        "--engine",
        help="sim: the simulator. torch[:param=value,...]: real models with random weights in this machine, by "
        "transformers. http[:param=value,...]: OpenAI-compatible servers, each named by --endpoint. Parameters and "
        "their defaults: argprod engines.",
    ),
]
Endpoints = Annotated[
    list[str] | None,
    typer.Option("--endpoint", help="Address of a server, for --engine http; may be given again.", show_default=False),
]
KvEvents = Annotated[
    list[str] | None,
    typer.Option(
        "--kv-events",
        help="ZMQ address at which a server tells what it caches, tcp://HOST:PORT or ipc://PATH, and if it has one, "
        "after a comma and without a space, the one at which it tells that again: "
        "tcp://127.0.0.1:5557,tcp://127.0.0.1:5558. One for each --endpoint, in the same order. Without, the router "
        "goes by what it sent where.",
        show_default=False,
    ),
]
Repeats = Annotated[int, typer.Option(help="How often each policy runs on real engines, in turned order.")]
LogFolder = Annotated[
    Path | None,
    typer.Option(
        "--log",
        help="Keep the log of every request of every run in this folder. Runs that it has in full are not done again; "
        "a folder with logs of other settings is refused.",
        show_default=False,
    ),
]
PatienceS = Annotated[
    float, typer.Option("--patience-s", help="A request of which a real engine tells nothing for so long failed [s].")
]
WarmUp = Annotated[int, typer.Option(help="Requests that each real engine gets first, and nobody counts.")]

#: Options of the simulator alone, and of real engines alone, by the names of the command's parameters.
ONLY_SIMULATED = (
    "model", "gpu", "tensor_parallel", "seeds", "level", "delay_s", "speeds", "kv_tokens", "batch_tokens", "max_batch",
    "context_limit", "routers", "sync_s", "jobs",
)  # fmt: skip
ONLY_LIVE = ("endpoint", "kv_events", "repeats", "log", "patience_s", "warm_up")
_INSTEAD = {
    "seeds": "--repeats",
    "kv_tokens": "--engine torch:kv_blocks=N",
    "batch_tokens": "--engine torch:batch_tokens=N",
    "max_batch": "--engine torch:max_batch=N",
}


@dataclass(frozen=True)
class LiveOptions:
    """What the command line says of real engines.

    Args:
        engine: which.
        instances: how many, for ``torch``.
        endpoints, kv_events: of the servers, for ``http``.
        repeats, patience_s, warm_up, until_s: see :class:`replay.live_plan.LivePlan` and :class:`replay.run.Pace`.
        log: where the logs go; None: they are not kept.
        mitigations: each policy runs with each.
        findings: whether the table of findings is shown also where there is no mitigation.
    """

    engine: EngineChoice
    instances: int
    endpoints: tuple[str, ...] = ()
    kv_events: tuple[str, ...] = ()
    repeats: int = 1
    patience_s: float = 60.0
    warm_up: int = 2
    until_s: float | None = None
    log: Path | None = None
    mitigations: tuple[str, ...] = ("none",)
    findings: bool = False

    def __post_init__(self) -> None:
        if self.engine.name == "http" and not self.endpoints:
            raise BadInput("--engine", "http", "at least one --endpoint", "--endpoint http://127.0.0.1:8000")
        if self.engine.name != "http" and self.endpoints:
            raise BadInput("--endpoint", self.endpoints[0], f"nothing: engine {self.engine.name} has no servers")
        for url in self.endpoints:
            if not url.startswith(("http://", "https://")):
                raise BadInput("--endpoint", url, "an address that starts with http:// or https://")
        if self.kv_events and self.engine.name != "http":
            raise BadInput("--kv-events", self.kv_events[0], f"nothing: engine {self.engine.name} has no servers")
        if self.kv_events and len(self.kv_events) != len(self.endpoints):
            raise BadInput("--kv-events", list(self.kv_events), f"one for each of {len(self.endpoints)} --endpoint")
        for address in self.kv_events:
            for part in address.split(",", 1):
                checked_address("--kv-events", part)
        if self.log is not None and self.log.exists() and not self.log.is_dir():
            raise BadInput("--log", str(self.log), "a folder")


def given(ctx: typer.Context, names: Sequence[str]) -> list[str]:
    """Which of the command's parameters the user gave."""
    return [name for name in names if getattr(ctx.get_parameter_source(name), "name", "DEFAULT") != "DEFAULT"]


def check_kind(ctx: typer.Context, engine: str, *, calibrated: bool) -> None:
    """Refuse what does not go with the chosen kind of replay, rather than leave it unheard.

    Raises:
        BadInput: naming the option.
    """
    simulated = engine == SIMULATED
    for name in given(ctx, ONLY_LIVE if simulated else ONLY_SIMULATED):
        option = f"--{name.replace('_', '-')}"
        kind = "real engines: --engine torch or http" if simulated else "the simulator"
        hint = f"it is for {kind}" + (f"; here {_INSTEAD[name]}" if name in _INSTEAD else "")
        raise BadInput(option, _value(ctx, name), f"to be left out with --engine {engine}", hint)
    for name in given(ctx, CALIBRATED if simulated and calibrated else ()):
        hint = "the file says what is simulated"
        raise BadInput(f"--{name.replace('_', '-')}", _value(ctx, name), "to be left out with --calibration", hint)


def _value(ctx: typer.Context, name: str) -> object:
    """What the user gave, of an option that may be given again the first."""
    value = ctx.params[name]
    value = value[0] if isinstance(value, list | tuple) and value else value
    return str(value) if isinstance(value, Path) else value


def default_instances(ctx: typer.Context, instances: int, engine: str, endpoints: Sequence[str]) -> int:
    """How many instances a live replay has: as given, else 2, or as there are servers.

    Raises:
        BadInput: if another number than that of the servers was given.
    """
    told = bool(given(ctx, ("instances",)))
    if engine.partition(":")[0] != "http":
        return instances if told else 2
    if told and instances != len(endpoints):
        raise BadInput("--instances", instances, f"{len(endpoints)}, as there are --endpoint")
    return len(endpoints)


def read_live(text: str, instances: int) -> EngineChoice:
    """The engine that ``--engine`` means, where there are so many of it.

    Raises:
        BadInput: for an unknown one or a bad parameter.
    """
    try:
        return read_engine(text).settled(instances)
    except BadInput as fault:
        if fault.field == "engine":
            raise BadInput("--engine", text, "sim, torch or http, with parameters as torch:layers=4") from None
        raise
