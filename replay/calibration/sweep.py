"""Measuring one engine: it gets the rounds of :mod:`replay.calibration.plan`, and its steps are collected.

Any engine will do that tells its steps: it has to be made with the :class:`StepList` as its ``step_sink``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator

from replay.calibration.plan import Reach, RoundPlan, one_pass, warm_up
from replay.calibration.rounds import Round
from replay.engines.prompts import Prompts
from replay.engines.protocol import Engine, Job, Tokens
from replay.engines.steps import StepRecord
from scheduler.domains import Domain
from scheduler.errors import EngineFailure
from scheduler.state import Request

#: How long the last step of a round may be told after its last event [s].
LATE_S = 0.5
#: How long a round may go on when the time is over before it is cut off; never longer than the time itself [s].
GRACE_S = 30.0
_BUDGET = Domain(0, 86_400, unit="s", low_open=True)


class StepList:
    """Takes down what an engine tells of its steps, from whatever thread."""

    def __init__(self) -> None:
        self.steps: list[StepRecord] = []

    def __call__(self, _: str, step: StepRecord) -> None:
        """Told of a step; see :data:`replay.engines.steps.StepSink`."""
        self.steps.append(step)

    def take(self) -> tuple[StepRecord, ...]:
        """What was told since the last time."""
        told, self.steps = self.steps, []
        return tuple(told)


async def measure(
    engine: Engine,
    told: StepList,
    reach: Reach,
    *,
    budget_s: float,
    seed: int = 0,
    heard: Callable[[Round, float], None] | None = None,
) -> list[Round]:
    """Measure an engine for a time: rounds begin until it is over, pass after pass of the plan.

    Args:
        engine: started, with no job open; to close it is for who made it.
        told: its ``step_sink``.
        reach: what it can be asked.
        budget_s: no round begins after it, warming up included; one that is cut off at last (:data:`GRACE_S`) counts
            too [s].
        seed: of sizes, order and prompts.
        heard: told of each round when it is over, and of the time since the beginning [s].

    Returns:
        The rounds. Steps of warming up are left out.

    Raises:
        BadInput: for a time or a reach that cannot be.
        EngineFailure: if the engine broke, told of no step, or was not even warm in that time.
    """
    _BUDGET.check("budget_s", budget_s)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    jobs = _jobs(reach.checked(), seed)
    rounds: list[Round] = []
    try:
        async with asyncio.timeout(budget_s + min(GRACE_S, budget_s)):
            for plan in warm_up(reach):
                await _run(engine, plan, jobs)
                await _last_step(told, plan)
            if not told.take():
                raise EngineFailure(f"{engine.name} tells nothing of its steps")
            for plan in _passes(reach, seed):
                if loop.time() - began_s >= budget_s:
                    break
                try:
                    await _run(engine, plan, jobs)
                    await _last_step(told, plan)
                finally:
                    steps = told.take()
                    if steps:
                        rounds.append(Round(kind=plan.kind, steps=steps))
                        if heard is not None:
                            heard(rounds[-1], loop.time() - began_s)
    except TimeoutError:
        pass
    if not rounds:
        raise EngineFailure(f"{engine.name} was not even warm after {budget_s:g} s: give it more time")
    return rounds


def _passes(reach: Reach, seed: int) -> Iterator[RoundPlan]:
    """Pass after pass."""
    rng = random.Random(seed)
    while True:
        yield from one_pass(reach, rng)


def _jobs(reach: Reach, seed: int) -> Callable[[int, int], Job]:
    """Makes jobs whose prompts share nothing."""
    prompts, made = Prompts(reach.vocabulary, seed=seed), 0

    def job(prompt_tokens: int, output_tokens: int) -> Job:
        nonlocal made
        made += 1
        request = Request(
            id=made,
            arrival_s=0.0,
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            block_tokens=reach.block_tokens,
        )
        return Job(request=request, prompt_ids=prompts.ids(request))

    return job


async def _run(engine: Engine, plan: RoundPlan, job: Callable[[int, int], Job]) -> None:
    """Send the waves of a round, each when the one before it has its first tokens, and wait for all ends."""
    tasks: list[asyncio.Task[None]] = []
    # All prompts are made before the first is sent: an engine in this process would feel the work.
    waves = [[job(ask.prompt_tokens, ask.output_tokens) for _ in range(ask.count)] for ask in plan.waves]
    try:
        for wave in waves:
            begun = [asyncio.Event() for _ in wave]
            tasks += [asyncio.create_task(_follow(engine, *pair)) for pair in zip(wave, begun, strict=True)]
            for event in begun:
                await event.wait()
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _follow(engine: Engine, job: Job, begun: asyncio.Event) -> None:
    """One job to its end; the event is set at its first token, or when there will be none."""
    stream = engine.submit(job)
    try:
        async for event in stream:
            if isinstance(event, Tokens):
                begun.set()
    finally:
        begun.set()
        await stream.aclose()


async def _last_step(told: StepList, plan: RoundPlan) -> None:
    """Engines tell a token before the step that made it: wait for the steps that must come, but not for ever."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + LATE_S
    while loop.time() < until_s:
        steps = list(told.steps)
        prefilled, decoded = sum(s.prefill_tokens for s in steps), sum(s.decode_requests for s in steps)
        if prefilled >= plan.prompt_tokens and decoded >= plan.decode_tokens:
            return
        await asyncio.sleep(0.001)
