"""The sweep: it asks for no more than an engine can hold, and a simulated engine's steps give the engine back."""

from __future__ import annotations

import functools
import random
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.calibration.file import calibrate
from replay.calibration.fit import fit_step_time
from replay.calibration.plan import Reach, one_pass, warm_up
from replay.calibration.rounds import Round, all_steps
from replay.calibration.step_log import Header, StepLog
from replay.calibration.sweep import StepList, measure
from replay.engines.simulated import SimulatedEngine
from replay.engines.steps import StepRecord, StepSink
from replay.engines.virtual_time import run_virtually
from replay.sim.cluster import Cluster
from replay.sim.kv_cache import BlockPool
from replay.sim.parts import PLAIN, prepare
from replay.sim.reference import ReferenceInstance
from replay.sim.run import simulate
from replay.sim.sequence import InstanceSpec, Sinks
from replay.sim.ticks import StepTicks, to_seconds
from replay.sources import open_source
from scheduler import BadInput, policy
from scheduler.errors import EngineFailure
from tests.replay.test_calibration import TRUE, notes
from tests.replay.test_calibration_file import FACTS

REACHES = st.builds(
    Reach,
    batch_tokens=st.sampled_from([64, 512, 4096]),
    max_batch=st.integers(1, 128),
    kv_tokens=st.integers(256, 200_000),
    context_tokens=st.none() | st.integers(160, 8192),
)


@given(REACHES, st.integers(0, 99))
def test_a_round_never_asks_for_more_than_the_engine_can_hold(reach: Reach, seed: int) -> None:
    reach.checked()
    for plan in [*one_pass(reach, random.Random(seed)), *warm_up(reach)]:
        held = sum(ask.count * (ask.prompt_tokens + ask.output_tokens) for ask in plan.waves)
        assert held <= reach.kv_tokens, plan
        for ask in plan.waves:
            assert ask.prompt_tokens >= 1
            assert ask.prompt_tokens + ask.output_tokens <= (reach.context_tokens or reach.kv_tokens)
            assert ask.count <= reach.max_batch


@pytest.mark.parametrize("wrong", [{"batch_tokens": 0}, {"kv_tokens": 70}, {"context_tokens": 90}])
def test_an_engine_with_no_room_to_measure_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(BadInput, match=next(iter(wrong))):
        Reach(**{"batch_tokens": 64, "max_batch": 4, "kv_tokens": 4096, **wrong}).checked()


class Noting(ReferenceInstance):
    """The plain simulated engine, which tells its steps."""

    def __init__(self, told: StepSink, index: int, spec: InstanceSpec, sinks: Sinks, pool: Any) -> None:
        super().__init__(index, spec, sinks, pool)
        self.told = told

    def _plan(self, now: int) -> None:
        super()._plan(now)
        if self.next_at is None:
            return
        decoding = [sim for sim in self.running if sim.computed == sim.total]
        self.told(
            str(self.index),
            StepRecord(
                at_s=to_seconds(now),
                step_s=to_seconds(self.next_at - now),
                prefill_tokens=sum(tokens for _, tokens in self.chunks),
                decode_requests=len(decoding),
                kv_tokens=sum(sim.prompt + sim.generated for sim in decoding),
                pairs=sum(tokens * sim.computed + tokens * (tokens + 1) // 2 for sim, tokens in self.chunks),
            ),
        )


class NotingEngine(SimulatedEngine):
    """The simulated engine with a step sink."""

    def __init__(self, name: str, spec: InstanceSpec, told: StepSink) -> None:
        self.told = told
        super().__init__(name, spec)

    def _fresh(self) -> Any:
        plain = super()._fresh()
        return Noting(self.told, 0, self.spec, plain.sinks, BlockPool(self.spec.kv_blocks, False))


SHAPE = Cluster((TRUE,) * 3, kv_tokens=4096, batch_tokens=256, max_batch=8)
REACH = Reach(batch_tokens=256, max_batch=8, kv_tokens=4096)


def measured(budget_s: float, heard: Any = None) -> list[Round]:
    """The sweep on a simulated engine, in virtual time."""

    async def main() -> list[Round]:
        told = StepList()
        engine = NotingEngine("a", SHAPE.specs(16)[0], told)
        return await measure(engine, told, REACH, budget_s=budget_s, heard=heard)

    return run_virtually(main())


def test_the_sweep_tells_every_coefficient_and_keeps_to_its_time() -> None:
    told: list[tuple[Round, float]] = []
    rounds = measured(20.0, lambda one, at_s: told.append((one, at_s)))
    assert [one for one, _ in told] == rounds
    assert {one.kind for one in rounds} == {"prefill", "prompts", "decode", "mixed"}
    ends = [at_s for _, at_s in told]
    assert ends == sorted(ends)
    assert ends[-2] < 20.0 <= ends[-1] < 25.0  # none begins after it
    fit = fit_step_time(all_steps(rounds))
    assert notes(fit) == {}
    assert StepTicks.of(fit.step_time) == StepTicks.of(TRUE)


def test_the_sweep_says_when_nothing_could_be_measured() -> None:
    with pytest.raises(EngineFailure, match="not even warm after"):
        measured(0.001)
    with pytest.raises(BadInput, match="budget_s"):
        measured(0.0)

    async def silent() -> None:
        await measure(SimulatedEngine("a", SHAPE.specs(16)[0]), StepList(), REACH, budget_s=60.0)

    with pytest.raises(EngineFailure, match="a tells nothing of its steps"):
        run_virtually(silent())


def test_simulated_with_what_was_fitted_to_simulated_steps_the_times_are_the_same() -> None:
    """A whole workload: its steps are fitted, the calibration is simulated, and gives the run it came from."""
    requests = list(open_source("workload:chat:requests=120,rate_per_s=3,block_tokens=16", seed=2)[0])
    requests = [one for one in requests if one.prompt_tokens + one.output_tokens <= 3000]
    shape = Cluster((TRUE,) * 3, kv_tokens=8192, batch_tokens=256, max_batch=8)
    told = StepList()
    parts = replace(PLAIN, engine=functools.partial(Noting, told))
    plain = simulate(prepare(requests, parts), policy("lmetric:ties=first"), shape)
    facts = msgspec.structs.replace(FACTS, kv_blocks=512)
    log = StepLog(header=Header(engine=facts), rounds=[Round(steps=told.take())])
    calibration = calibrate(log)
    assert calibration.held_out_error.p90 < 1e-9
    again = simulate(requests, policy("lmetric:ties=first"), calibration.cluster(3))
    assert calibration.cluster(3).specs(16) == shape.specs(16)
    times = [(sim.instance, sim.first_at, sim.last_at) for sim in plain.sims]
    assert [(sim.instance, sim.first_at, sim.last_at) for sim in again.sims] == times
