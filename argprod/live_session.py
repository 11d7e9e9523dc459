"""Engines, what listens to them, and the router of each run: started, used and closed, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from argprod.live_options import LiveOptions
from argprod.live_view import taken_told
from replay.engines.cache_feed import CacheFeed
from replay.engines.catalogue import engines_of
from replay.engines.kv_blocks import BLOCKS_MAX
from replay.engines.kv_subscriber import KvSubscriber
from replay.engines.kv_witness import KvWitness, sent_to
from replay.engines.prompts import Prompts
from replay.engines.protocol import Engine
from replay.live_plan import LivePlan, RouterOf, Turn, read_part, run_plan
from replay.live_record import Line
from replay.log_folder import Standing
from replay.run_log import Log
from scheduler.cost import StepTime
from scheduler.errors import BadInput, EngineFailure
from scheduler.router import Router
from scheduler.router_config import RouterConfig
from scheduler.state import Request


class Session:
    """Engines that are started, used and closed, whatever happens.

    Args:
        plan: what to run.
        live: as the command line says.
        requests: of the source.
        folder: of the logs.
        step_times: engine times for rules that read them.

    Raises:
        BadInput: for engines that cannot be made.
    """

    def __init__(
        self, plan: LivePlan, live: LiveOptions, requests: Sequence[Request], folder: Path, step_times: StepTime | None
    ) -> None:
        self.plan, self.live, self.requests, self.folder, self.step_times = plan, live, requests, folder, step_times
        self.logs: list[Log] = []
        self.engines = engines_of(live.engine, live.instances, live.endpoints)
        self.block_tokens = 0
        self.fault: EngineFailure | None = None
        self.open: Turn | None = None
        self.ears: list[KvSubscriber] = []
        self.measured = False  # whether anything was run, not only taken from logs
        self.contradictions: list[str] = []  # on KV events that are none of their instance's

    def run(self, console: Console) -> bool:
        """Do the plan; returns whether the user stopped it. An engine that ended it is in ``fault``."""
        columns = (SpinnerColumn(), TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bars:
            task = bars.add_task("starting engines", total=len(self.requests) * len(list(self.plan.order())))

            def heard(turn: Turn, _: Line) -> None:
                bars.update(task, description=turn.label, advance=1)

            def done(_: Turn, log: Log) -> None:
                self.logs.append(log)
                self.open = None
                bars.update(task, completed=len(self.logs) * len(self.requests))

            def found(known: Standing) -> None:
                told = taken_told(known, len(list(self.plan.order())))
                if told:
                    console.print(told, soft_wrap=True)

            try:
                asyncio.run(self._main(found, heard, done))
            except KeyboardInterrupt:
                return True
            except EngineFailure as fault:
                self.fault = fault
        return False

    async def _main(self, found: Any, heard: Any, done: Any) -> None:
        live, engines = self.live, self.engines
        feed = CacheFeed()
        witness = KvWitness(feed)
        async with contextlib.AsyncExitStack() as stack:  # closes each, whatever another one's closing says
            for engine in engines:
                stack.push_async_callback(engine.close)
                await engine.start()
            self.block_tokens = _block_tokens(engines)
            self.ears = _ears(engines, live.kv_events, witness, feed)
            for ear in self.ears:
                stack.push_async_callback(ear.close)
                await ear.start()
            prompts = Prompts(live.engine.options.vocabulary, block_tokens=self.block_tokens)
            made = _router_of(engines, feed, self.ears, self.step_times)

            def router_of(turn: Turn) -> Router:
                if not self.measured:
                    for ear in self.ears:
                        ear.count_anew()
                self.open, self.measured = turn, True
                witness.forget()
                return made(turn)

            def ended(turn: Turn, log: Log) -> None:
                if self.ears and self.open == turn and not self.contradictions:
                    self.contradictions = witness.contradictions(self._sent(log, prompts))
                done(turn, log)

            await run_plan(
                self.plan, engines, self.requests, router_of, self.folder, prompts=prompts,
                found=found, heard=heard, done=ended,
            )  # fmt: skip

    def _sent(self, log: Log, prompts: Prompts) -> dict[str, set[int]]:
        """What instances were sent in a run, as :mod:`replay.engines.kv_witness` compares it."""
        seed = log.header.prompt_seed
        asked = prompts if seed is None else prompts.salted(seed)
        return sent_to(log.lines, {request.id: request for request in self.requests}, asked)

    def cut_short(self) -> Log | None:
        """What the run that was going on when it ended has left behind."""
        return None if self.open is None else read_part(self.open, self.folder)


def _ears(
    engines: Sequence[Engine], addresses: Sequence[str], witness: KvWitness, feed: CacheFeed
) -> list[KvSubscriber]:
    """What listens to the caches of the engines; nothing where no address was given."""
    ears = []
    for engine, address in zip(engines, addresses, strict=bool(addresses)):
        events, _, again = address.partition(",")
        ears.append(
            KvSubscriber(
                engine.name,
                events,
                sink=witness,
                cleared=feed.cleared,
                block_tokens=engine.block_tokens,
                replay=again or None,
                blocks_max=engine.kv_blocks or BLOCKS_MAX,
            )
        )
    return ears


def _block_tokens(engines: Sequence[Engine]) -> int:
    """Tokens in a block, of which the router can have one size."""
    sizes = {engine.block_tokens for engine in engines}
    if len(sizes) > 1:
        told = ", ".join(f"{engine.name}: {engine.block_tokens}" for engine in engines)
        raise BadInput("block_tokens", told, "the same for all instances", "start the servers with equal block sizes")
    return sizes.pop()


def _router_of(
    engines: Sequence[Engine], feed: CacheFeed, ears: Sequence[KvSubscriber], step_times: StepTime | None
) -> RouterOf:
    """Gives the router of each run, the shipped one, and lets what engines tell of their caches come to it."""
    held = [engine.kv_blocks for engine in engines if engine.kv_blocks is not None]
    blocks = min(held, default=None)
    config = RouterConfig(
        source="events" if ears else "history",
        kv_tokens=None if blocks is None else blocks * engines[0].block_tokens,
        log_size=0,
    )
    if ears or blocks is not None:
        config = msgspec.structs.replace(config, capacity_blocks=None if ears else blocks)
    names = [engine.name for engine in engines]

    def made(turn: Turn) -> Router:
        feed.router = Router(
            names, turn.policy, seed=turn.repeat, mitigation=turn.mitigation, config=config, step_times=step_times
        )
        for ear in ears:  # the caches were emptied just now, or hold nothing that this run asks for
            ear.forget()
        return feed.router

    return made
