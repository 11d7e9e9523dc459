"""Several rules on the same engines, again and again, in an order in which drift favours none; to be taken up again.

Engines age while they run: clocks fall with heat, allocators fill. So each repetition takes the rules in another order,
turned by one, and after as many repetitions as there are rules each has been at each place once. Every run begins with
empty caches (where an engine cannot empty its own, with prompts that it has never seen) and has a log of its own; a run
whose log is complete is not done again.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from replay.engines.prompts import Prompts
from replay.engines.protocol import Engine, Finished, Job
from replay.experiment import label_of
from replay.live_record import Line
from replay.log_folder import PART, REQUESTS, WHOLE, Standing, digest_of, standing
from replay.metrics import spread
from replay.pulse import Pulse
from replay.run import Pace, Runner, capacity_tokens
from replay.run_log import Header, Log, LogWriter, read_log
from scheduler.domains import Domain
from scheduler.errors import BadInput, EngineFailure, JobRefused
from scheduler.mitigation import read_mode
from scheduler.policies.catalogue import policy as read_policy
from scheduler.router import Router
from scheduler.state import Request

_REPEATS = Domain(1, 1000, integer=True, unit="repetition")
_WARM_UP = Domain(0, 1000, integer=True, unit="request")


@dataclass(frozen=True, slots=True)
class Turn:
    """One run of a plan.

    Args:
        repeat: which repetition, from 0.
        policy: as ``NAME[:knob=value,...]``.
        mitigation: what the router may do about findings.
    """

    repeat: int
    policy: str
    mitigation: str = "none"

    @property
    def label(self) -> str:
        """How it is called in tables."""
        return label_of(read_policy(self.policy), self.mitigation)

    def path(self, folder: Path) -> Path:
        """Where its log is.

        Example:
            >>> Turn(1, "linear:weight=0.5,form=p_token", "auto").path(Path("logs")).name
            '01-linear-weight-0.5-form-p_token-auto.jsonl'
        """
        ending = "" if self.mitigation == "none" else f"-{self.mitigation}"
        return folder / f"{self.repeat:02d}-{file_name(self.policy)}{ending}{WHOLE}"


#: Gives the router of a run.
RouterOf = Callable[[Turn], Router]


@dataclass(frozen=True, slots=True)
class LivePlan:
    """What to run.

    Args:
        policies: as ``NAME[:knob=value,...]``.
        repeats: how often each.
        pace: how the trace is replayed.
        warm_up: requests that each engine gets before its first run, which nobody counts.
        settings: whatever else makes a run another one; where a log says otherwise, nothing is run.
        noted: what the logs should say too, and makes no run another one.
        mitigations: each policy runs with each.

    Raises:
        BadInput: for an unknown policy or mitigation, one named twice, or a number outside its domain.
    """

    policies: tuple[str, ...]
    repeats: int = 1
    pace: Pace = field(default_factory=Pace)
    warm_up: int = 2
    settings: dict[str, Any] = field(default_factory=dict)
    mitigations: tuple[str, ...] = ("none",)
    noted: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for text in self.policies:
            read_policy(text)
        for name in self.mitigations:
            read_mode(name)
        if len(set(map(file_name, self.policies))) < len(self.policies) or not self.policies:
            raise BadInput("policies", list(self.policies), "at least one, each once")
        if len(set(self.mitigations)) < len(self.mitigations) or not self.mitigations:
            raise BadInput("mitigations", list(self.mitigations), "at least one, each once")
        _REPEATS.check("repeats", self.repeats)
        _WARM_UP.check("warm_up", self.warm_up)

    def order(self) -> Iterator[Turn]:
        """Every run, in the order in which they are done.

        Example:
            >>> [turn.policy for turn in LivePlan(("lmetric", "random", "round_robin"), repeats=2).order()]
            ['lmetric', 'random', 'round_robin', 'random', 'round_robin', 'lmetric']
        """
        pairs = [(policy, mitigation) for policy in self.policies for mitigation in self.mitigations]
        for repeat in range(self.repeats):
            for place in range(len(pairs)):
                yield Turn(repeat, *pairs[(place + repeat) % len(pairs)])


def file_name(policy: str) -> str:
    """A policy as part of the name of a file.

    Example:
        >>> file_name("linear:weight=0.5,form=p_token")
        'linear-weight-0.5-form-p_token'
    """
    return re.sub(r"[^A-Za-z0-9_.]+", "-", policy)


def header_of(plan: LivePlan, engines: Sequence[Engine], turn: Turn, requests: Sequence[Request]) -> Header:
    """What the log of a run says first."""
    return _headers(plan, engines, requests, Path())[turn.path(Path())]


def _headers(
    plan: LivePlan, engines: Sequence[Engine], requests: Sequence[Request], folder: Path
) -> dict[Path, Header]:
    """Where the log of each run is, and what it says first."""
    settings = {
        REQUESTS: digest_of(requests),
        "pace": asdict(plan.pace),
        "warm_up": plan.warm_up,
        "caches": [[engine.block_tokens, engine.kv_blocks] for engine in engines],
        "resets": [engine.resets for engine in engines],
        "about": [engine.about for engine in engines],
        **plan.settings,
    }
    names = tuple(engine.name for engine in engines)
    return {
        turn.path(folder): Header(
            policy=turn.policy,
            mitigation=turn.mitigation,
            repeat=turn.repeat,
            instances=names,
            settings=settings,
            noted=plan.noted,
        )
        for turn in plan.order()
    }


def partial_log(plan: LivePlan, folder: Path) -> tuple[Turn, Log] | None:
    """What a run that was interrupted left behind."""
    for turn in plan.order():
        log = read_part(turn, folder)
        if log is not None:
            return turn, log
    return None


def read_part(turn: Turn, folder: Path) -> Log | None:
    """What a run left behind that was interrupted, if it had begun."""
    path = turn.path(folder).with_suffix(PART)
    return read_log(path) if path.exists() and path.stat().st_size else None


async def run_plan(
    plan: LivePlan,
    engines: Sequence[Engine],
    requests: Sequence[Request],
    router_of: RouterOf,
    folder: Path,
    *,
    prompts: Prompts | None = None,
    found: Callable[[Standing], None] | None = None,
    heard: Callable[[Turn, Line], None] | None = None,
    done: Callable[[Turn, Log], None] | None = None,
) -> list[Log]:
    """Do what is not done yet, and give the logs of all runs, in the order of the plan.

    Args:
        plan: what to run.
        engines: ready.
        requests: in order of arrival.
        router_of: gives the router of a run.
        folder: of the logs; it must exist.
        prompts: makes token ids; None for engines that need none.
        found: told what is done already, before anything is run.
        heard: told of every request that has ended.
        done: told of every run that is done, those that were done before too.

    Raises:
        EngineFailure: if an engine cannot be warmed up, or its cache cannot be emptied.
        BadInput: if the folder has a log of other runs; nothing has been run then.
        BadTrace: if there is a file in the place of a log that is none.
    """
    headers = _headers(plan, engines, requests, folder)
    known = standing(folder, headers)
    if found is not None:
        found(known)
    logs, fresh = [], True
    for turn in plan.order():
        path = turn.path(folder)
        header, log = headers[path], known.whole.get(path)
        if log is None:
            if fresh:
                await _warm_up(plan, engines, requests, prompts)
                fresh = False
            asked = await _emptied(engines, prompts)
            header = msgspec.structs.replace(header, prompt_seed=None if asked is None else asked.seed)
            part = path.with_suffix(PART)
            with part.open("wb") as file:
                writer = LogWriter(file, header)
                told = writer.line if heard is None else _both(writer, heard, turn)
                runner = Runner(engines, router_of(turn), requests, prompts=asked, pace=plan.pace, line_sink=told)
                async with Pulse() as pulse:
                    record = await runner.run()
                record.stall_s = spread(pulse.late_s) if pulse.late_s else None
                writer.end(record)
            part.replace(path)
            log = read_log(path)
        logs.append(log)
        if done is not None:
            done(turn, log)
    return logs


def _both(writer: LogWriter, heard: Callable[[Turn, Line], None], turn: Turn) -> Callable[[Line], None]:
    def told(line: Line) -> None:
        writer.line(line)
        heard(turn, line)

    return told


async def _emptied(engines: Sequence[Engine], prompts: Prompts | None) -> Prompts | None:
    """Empty all caches; the prompts of the next run, which are others where a cache cannot be emptied."""
    for engine in engines:
        await engine.reset_cache()
    if prompts is None or all(engine.resets for engine in engines):
        return prompts
    return prompts.salted(secrets.randbits(32))


async def _warm_up(
    plan: LivePlan, engines: Sequence[Engine], requests: Sequence[Request], prompts: Prompts | None
) -> None:
    """A few requests that fit on every engine, so that what happens once is over; one may refuse them."""
    most = capacity_tokens(engines)
    fitting = (one for one in requests if most is None or one.prompt_tokens + one.output_tokens <= most)
    chosen = list(itertools.islice(fitting, plan.warm_up))
    for engine in engines:
        for request in chosen:
            job = Job(request=request, prompt_ids=() if prompts is None else prompts.ids(request))
            last = None
            async with contextlib.aclosing(engine.submit(job)) as stream:
                try:
                    while True:
                        last = await asyncio.wait_for(anext(stream), plan.pace.patience_s)
                except TimeoutError:
                    raise EngineFailure(
                        f"{engine.name} said nothing of a request of the warm-up for {plan.pace.patience_s:g} s"
                    ) from None
                except JobRefused:
                    continue
                except StopAsyncIteration:
                    if not isinstance(last, Finished):
                        raise EngineFailure(f"{engine.name} did not finish a request of the warm-up") from None
