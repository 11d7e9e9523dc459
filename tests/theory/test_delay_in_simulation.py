"""The law of marginal delay in the simulator: exact where its premises hold, within stated bounds where they do not."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import marginal_delay as benchmark
from benchmarks.marginal_delay import BASE, GAMMA, READS, TAU, Setting, situation
from benchmarks.measure import RESULTS
from replay.added_delay import AddedDelay, added_delay
from replay.sim.ticks import TICKS_PER_S, to_ticks
from scheduler import StepTime, formulas

seeds = st.integers(0, 10**6)
prompts = st.integers(1, 5000)
CHEAP = ["premises hold", "empty step 5 ms, chunk 512", "decode and KV reads, 200 output tokens"]


def simulated(setting: Setting, seed: int, prompt: int) -> AddedDelay:
    return added_delay(setting.cluster(), *situation(setting, random.Random(seed), prompt))


def law(result: AddedDelay) -> int:
    """The marginal delay of what the router saw [tick]."""
    seen = result.seen
    return to_ticks(TAU) * int(formulas.marginal_delay(seen.queued_prefill_tokens, seen.new_tokens, seen.batch))


@settings(max_examples=60, deadline=None)
@given(seeds, prompts, st.sampled_from([512, 2048, 8192]))
def test_where_the_premises_hold_the_law_is_exact_to_a_tick_a_step(seed: int, prompt: int, chunk: int) -> None:
    result = simulated(Setting(StepTime(0.0, TAU, 0.0, 0.0), chunk), seed, prompt)
    seen = result.seen
    # An empty step takes one tick, the least there is; so the own wait has a tick for each of its steps.
    steps = (seen.queued_prefill_tokens + seen.new_tokens) // (chunk - seen.batch) + 3
    assert 0 <= result.total - law(result) <= steps


def test_a_wrong_law_is_seen() -> None:
    result = simulated(Setting(StepTime(0.0, TAU, 0.0, 0.0)), 2, 1000)
    assert result.seen.queued_prefill_tokens > 0
    assert result.seen.batch > 2
    product = (result.seen.queued_prefill_tokens + result.seen.new_tokens) * result.seen.batch
    assert abs(to_ticks(TAU) * product - result.total) > law(result) // 10


@settings(max_examples=40, deadline=None)
@given(seeds, prompts, st.sampled_from([512, 2048, 8192]))
def test_chunks_lengthen_the_own_wait_alone(seed: int, prompt: int, chunk: int) -> None:
    result = simulated(Setting(StepTime(BASE, TAU, 0.0, 0.0), chunk), seed, prompt)
    seen = result.seen
    assert result.others == to_ticks(TAU) * seen.new_tokens * (seen.batch - 1)
    tokens, base = seen.queued_prefill_tokens + seen.new_tokens, to_ticks(BASE)
    # Whole chunks at least; more by the step in progress, the first prompt's own step and the last, partial one.
    least, most = (
        tokens * to_ticks(TAU) + (tokens / (chunk - decoding) + extra) * base
        for decoding, extra in ((0, 0), (seen.batch, 3))
    )
    assert least <= result.wait <= most


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 3000), st.integers(1, 300))
def test_decode_and_reads_add_the_offset_exactly(seed: int, prompt: int, output: int) -> None:
    setting = Setting(StepTime(BASE, TAU, GAMMA, READS), output=output)
    result = simulated(setting, seed, prompt)
    seen, steps = result.seen, output - 1  # the first token comes with the prefill
    gamma, reads = to_ticks(GAMMA), to_ticks(READS)
    slowed = sum(gamma + reads * (prompt + 1 + step) for step in range(steps))
    assert result.others == (seen.batch - 1) * (to_ticks(TAU) * prompt + slowed)
    # Its own decode tells how many KV tokens the others had by then; the offset does the rest.
    alone = steps * (to_ticks(BASE) + gamma) + reads * sum(prompt + 1 + step for step in range(steps))
    pairs = (seen.batch - 1) * formulas.pair_decode_delay(steps, gamma, reads, prompt + 1)
    kv = result.decode + result.others - alone - pairs - (seen.batch - 1) * to_ticks(TAU) * prompt
    if steps and seen.batch > 1:
        assert kv % (reads * steps) == 0
        assert kv // (reads * steps) >= seen.context_tokens - seen.batch
    else:
        assert kv == 0


@settings(max_examples=40, deadline=None)
@given(seeds, prompts, st.integers(1, 60))
def test_early_ends_only_lower_the_delay(seed: int, prompt: int, left: int) -> None:
    setting = Setting(StepTime(0.0, TAU, 0.0, 0.0), 512, left=(1, left))
    result = simulated(setting, seed, prompt)
    own = to_ticks(TAU) * (result.seen.queued_prefill_tokens + result.seen.new_tokens)
    assert own <= result.total <= law(result) + 1000


def test_later_arrivals_raise_the_delay_and_the_fluid_form_follows() -> None:
    for seed in range(3):
        setting = Setting(StepTime(0.0, TAU, 0.0, 0.0), load=0.2)
        quiet, busy = (simulated(replace(setting, load=load), seed, 3000) for load in (0.0, 0.2))
        assert busy.total > quiet.total
        predicted = benchmark.loaded(setting, busy) * TICKS_PER_S
        assert predicted == pytest.approx(busy.total, rel=0.25)


@pytest.mark.parametrize("name", CHEAP)
def test_the_saved_numbers_are_those_of_the_simulator(name: str) -> None:
    saved = json.loads((RESULTS / "marginal_delay.json").read_text(encoding="utf-8"))
    assert saved["rows"][name] == benchmark.ratios(name)


def test_among_instances_the_offset_rule_adds_least_and_the_product_more() -> None:
    saved = json.loads((RESULTS / "marginal_delay.json").read_text(encoding="utf-8"))["choices"]
    rows = {name: row["delay_over_least"] for name, row in saved["rules"].items()}
    assert rows["marginal_delay_offset:overlap=1.0"] <= rows["marginal_delay"] <= rows["lmetric"]
    again = benchmark.choices(4)["rules"]
    assert set(again) == set(rows)
    assert all(row["delay_over_least"] >= 1 for row in again.values())
