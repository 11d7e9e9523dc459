"""A measured serving run simulated: one client by hand, and what each constant of the cost model does."""

from __future__ import annotations

import pytest

from benchmarks.serving_points import Constants, Engine, Load, served
from replay.sim.cost_model import GPUS, MODELS, kv_capacity_tokens, step_time
from scheduler.cost import StepTime

PLAIN = Constants()
TIMES = StepTime.__slots__


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("gpu", GPUS)
def test_with_the_default_constants_it_is_the_cost_model(model: str, gpu: str) -> None:
    engine = Engine(model, gpu, 4)
    for name in TIMES:
        assert getattr(engine.step_time(PLAIN), name) == pytest.approx(getattr(step_time(model, gpu, 4), name)), name
    assert engine.kv_tokens() == kv_capacity_tokens(model, gpu, 4)


def test_constants_divide_what_they_are_about() -> None:
    engine = Engine("Llama-3.1-8B", "H100", 1)
    plain = engine.step_time(PLAIN)
    slow = engine.step_time(Constants(PLAIN.compute_efficiency / 2, PLAIN.memory_efficiency / 4, 0.01))
    assert slow.prefill_s_per_token == pytest.approx(2 * plain.prefill_s_per_token)
    assert slow.decode_s_per_request == pytest.approx(2 * plain.decode_s_per_request)
    assert slow.attention_s_per_pair == pytest.approx(2 * plain.attention_s_per_pair)
    assert slow.kv_s_per_token == pytest.approx(4 * plain.kv_s_per_token)
    assert slow.base_s - 0.01 == pytest.approx(4 * (plain.base_s - PLAIN.overhead_s))


def test_weights_of_one_byte_are_read_and_multiplied_twice_as_fast_and_leave_more_room() -> None:
    wide, narrow = (Engine("Llama-3.1-8B", "H100", 1, fp8=fp8) for fp8 in (False, True))
    one, two = wide.step_time(PLAIN), narrow.step_time(PLAIN)
    assert two.base_s - PLAIN.overhead_s == pytest.approx((one.base_s - PLAIN.overhead_s) / 2)
    assert two.prefill_s_per_token == pytest.approx(one.prefill_s_per_token / 2)
    assert (two.kv_s_per_token, two.attention_s_per_pair) == (one.kv_s_per_token, one.attention_s_per_pair)
    assert narrow.kv_tokens() - wide.kv_tokens() == pytest.approx(8.03e9 / 131_072, rel=1e-3)


def test_gpus_that_talk_to_each_other_take_longer_and_one_alone_does_not() -> None:
    talking = Constants(link_bytes_per_s=1e11, collective_s=1e-5)
    assert Engine("Qwen3-32B", "H100", 1).step_time(talking) == Engine("Qwen3-32B", "H100", 1).step_time(PLAIN)
    engine = Engine("Qwen3-32B", "H100", 4)
    one, two = engine.step_time(PLAIN), engine.step_time(talking)
    assert two.base_s - one.base_s == pytest.approx(2 * 64 * 1e-5)
    moved = 2 * 64 * 5120 * 2 * 2 * 3 / 4  # two sums a layer, BF16, out and back over three of four
    assert two.prefill_s_per_token - one.prefill_s_per_token == pytest.approx(moved / 1e11)
    assert two.decode_s_per_request - one.decode_s_per_request == pytest.approx(moved / 1e11)


def test_a_client_alone_by_hand() -> None:
    time = StepTime(0.01, 1e-4, 2e-5, 1e-8, 1e-9)
    found = served(time, 4096, Load(1, 1000, 5), rounds=3)
    assert found is not None
    assert found.ttft_s == pytest.approx(time.step_s(prefill_tokens=1000, pairs=1000 * 1001 // 2))
    assert found.tpot_s == pytest.approx(sum(time.step_s(batch=1, kv_tokens=1000 + n) for n in range(1, 5)) / 4)


def test_a_load_keeps_so_many_clients_busy_and_can_vary_its_lengths() -> None:
    requests = Load(3, 100, 10).requests(4)
    assert [one.after for one in requests] == [None] * 3 + list(range(9))
    assert {(one.prompt_tokens, one.output_tokens) for one in requests} == {(100, 10)}
    varied = Load(50, 1000, 100, spread=0.2).requests(10)
    lengths = [one.prompt_tokens for one in varied]
    assert 800 <= min(lengths) < 850
    assert 1150 < max(lengths) <= 1200
    assert sum(lengths) / len(lengths) == pytest.approx(1000, rel=0.02)


def test_what_does_not_fit_is_not_simulated() -> None:
    assert served(StepTime(0.01, 0.0, 0.0, 0.0), 100, Load(1, 100, 10)) is None
