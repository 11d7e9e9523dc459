"""Several rules on the same engines, again and again, in an order in which drift favours none; to be taken up again.

Engines age while they run: clocks fall with heat, allocators fill. So each repetition takes the rules in another order,
turned by one, and after as many repetitions as there are rules each has been at each place once. Every run begins with
empty caches and has a log of its own; a run whose log is complete is not done again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from replay.engines.prompts import Prompts
from replay.engines.protocol import Engine, Finished, Job
from replay.run import Line, Pace, Runner
from replay.run_log import Header, Log, LogWriter, read_log
from scheduler.domains import Domain
from scheduler.errors import BadInput, EngineFailure
from scheduler.policies.catalogue import policy as read_policy
from scheduler.router import Router
from scheduler.state import Request

_REPEATS = Domain(1, 1000, integer=True, unit="repetition")
_WARM_UP = Domain(0, 1000, integer=True, unit="request")

#: Gives the router of a run: ``router_of(policy, seed)``.
RouterOf = Callable[[str, int], Router]


@dataclass(frozen=True, slots=True)
class LivePlan:
    """What to run.

    Args:
        policies: as ``NAME[:knob=value,...]``.
        repeats: how often each.
        pace: how the trace is replayed.
        warm_up: requests that each engine gets before its first run, which nobody counts.
        settings: whatever else the logs should say; a log that says otherwise is not taken up.

    Raises:
        BadInput: for an unknown policy, one named twice, or a number outside its domain.
    """

    policies: tuple[str, ...]
    repeats: int = 1
    pace: Pace = field(default_factory=Pace)
    warm_up: int = 2
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for text in self.policies:
            read_policy(text)
        if len(set(map(name_of, self.policies))) < len(self.policies) or not self.policies:
            raise BadInput("policies", list(self.policies), "at least one, each once")
        _REPEATS.check("repeats", self.repeats)
        _WARM_UP.check("warm_up", self.warm_up)

    def order(self) -> Iterator[tuple[int, str]]:
        """Repetition and policy of every run, in the order in which they are done.

        Example:
            >>> [policy for _, policy in LivePlan(("lmetric", "random", "round_robin"), repeats=2).order()]
            ['lmetric', 'random', 'round_robin', 'random', 'round_robin', 'lmetric']
        """
        count = len(self.policies)
        for repeat in range(self.repeats):
            for place in range(count):
                yield repeat, self.policies[(place + repeat) % count]


def name_of(policy: str) -> str:
    """A policy as part of the name of a file.

    Example:
        >>> name_of("linear:weight=0.5,form=p_token")
        'linear-weight-0.5-form-p_token'
    """
    return re.sub(r"[^A-Za-z0-9_.]+", "-", policy)


def path_of(folder: Path, repeat: int, policy: str) -> Path:
    """Where the log of a run is."""
    return folder / f"{repeat:02d}-{name_of(policy)}.jsonl"


def header_of(plan: LivePlan, engines: Sequence[Engine], repeat: int, policy: str) -> Header:
    """What the log of a run says first."""
    pace = {name: getattr(plan.pace, name) for name in ("closed_loop", "rate", "until_s", "patience_s")}
    settings = {"repeat": repeat, "pace": pace, **plan.settings}
    return Header(policy=policy, instances=tuple(engine.name for engine in engines), settings=settings)


def complete(path: Path, header: Header) -> Log | None:
    """The log of a run that was done before, to the end and with the same settings; else None."""
    if not path.exists():
        return None
    log = read_log(path)
    same = msgspec.json.encode(log.header) == msgspec.json.encode(header)
    return log if log.footer is not None and same else None


async def run_plan(
    plan: LivePlan,
    engines: Sequence[Engine],
    requests: Sequence[Request],
    router_of: RouterOf,
    folder: Path,
    *,
    prompts: Prompts | None = None,
    heard: Callable[[int, str, Line], None] | None = None,
) -> list[Log]:
    """Do what is not done yet, and give the logs of all runs, in the order of the plan.

    Args:
        plan: what to run.
        engines: ready.
        requests: in order of arrival.
        router_of: gives the router of a run.
        folder: of the logs; it must exist.
        prompts: makes token ids; None for engines that need none.
        heard: told of repetition, policy and line of every request that has ended.

    Raises:
        EngineFailure: if an engine cannot be warmed up, or its cache cannot be emptied.
        BadTrace: if there is a file in the place of a log that is none.
    """
    logs, fresh = [], True
    for repeat, policy in plan.order():
        path, header = path_of(folder, repeat, policy), header_of(plan, engines, repeat, policy)
        done = complete(path, header)
        if done is None:
            if fresh:
                await _warm_up(plan, engines, requests, prompts)
                fresh = False
            for engine in engines:
                await engine.reset_cache()
            part = path.with_suffix(".part")
            with part.open("wb") as file:
                writer = LogWriter(file, header)

                def told(line: Line, writer: LogWriter = writer, repeat: int = repeat, policy: str = policy) -> None:
                    writer.line(line)
                    if heard is not None:
                        heard(repeat, policy, line)

                runner = Runner(
                    engines, router_of(policy, repeat), requests, prompts=prompts, pace=plan.pace, line_sink=told
                )
                record = await runner.run()
                writer.end(len(record.lines), record.run.not_arrived)
            part.replace(path)
            done = read_log(path)
        logs.append(done)
    return logs


async def _warm_up(
    plan: LivePlan, engines: Sequence[Engine], requests: Sequence[Request], prompts: Prompts | None
) -> None:
    """A few requests on every engine, so that what happens once is over."""
    for engine in engines:
        for request in requests[: plan.warm_up]:
            job = Job(request=request, prompt_ids=() if prompts is None else prompts.ids(request))
            last = None
            async for event in engine.submit(job):
                last = event
            if not isinstance(last, Finished):
                raise EngineFailure(f"{engine.name} did not finish a request of the warm-up")
