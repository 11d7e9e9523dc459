"""The cost model against published numbers, and laws of roofline step times."""

from __future__ import annotations

from itertools import pairwise

import pytest

from replay.sim.cost_model import GPUS, MAX_GPUS, MODELS, find, kv_capacity_tokens, step_time
from scheduler.errors import BadInput

# From each model's config.json on huggingface.co (Qwen/Qwen2-7B, Qwen/Qwen3-30B-A3B, Qwen/Qwen3-32B,
# meta-llama/Llama-3.1-8B and -70B):
# num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim, hidden_size, vocab_size.
SHAPES = {
    "Qwen2-7B": (28, 28, 4, 128, 3584, 152_064),
    "Qwen3-30B-A3B": (48, 32, 4, 128, 2048, 151_936),
    "Qwen3-32B": (64, 64, 8, 128, 5120, 151_936),
    "Llama-3.1-8B": (32, 32, 8, 128, 4096, 128_256),
    "Llama-3.1-70B": (80, 64, 8, 128, 8192, 128_256),
}
# Same source: width of an MLP (intermediate_size, moe_intermediate_size), experts in all and for one token.
MLPS = {
    "Qwen2-7B": (18_944, 1, 1),
    "Qwen3-30B-A3B": (768, 128, 8),
    "Qwen3-32B": (25_600, 1, 1),
    "Llama-3.1-8B": (14_336, 1, 1),
    "Llama-3.1-70B": (28_672, 1, 1),
}
# Parameters as the model cards count them; active ones too for the mixture of experts (30.5B in total, 3.3B activated).
CARDS = {
    "Qwen2-7B": 7.62e9,
    "Qwen3-30B-A3B": 30.5e9,
    "Qwen3-32B": 32.8e9,
    "Llama-3.1-8B": 8.03e9,
    "Llama-3.1-70B": 70.6e9,
}
# NVIDIA data sheets: dense BF16 FLOP/s (half of the figure "with sparsity"), memory bandwidth [byte/s], memory [GB].
# A100 80GB SXM: 312 TFLOPS, 2,039 GB/s. H100 SXM: 1,979 with sparsity, 3.35 TB/s. H200 SXM: the same and 4.8 TB/s.
# H20: 148 TFLOPS, 4.0 TB/s, 96 GB.
DATA_SHEETS = {
    "H20": (148e12, 4.0e12, 96),
    "A100": (312e12, 2.039e12, 80),
    "H100": (1979e12 / 2, 3.35e12, 80),
    "H200": (1979e12 / 2, 4.8e12, 141),
}
TIMES = ("base_s", "prefill_s_per_token", "decode_s_per_request", "kv_s_per_token", "attention_s_per_pair")
PAIRS = [(model, gpu) for model in MODELS for gpu in GPUS]


def layer_parameters(name: str, experts: str) -> float:
    """Parameters of the matrices of all layers: attention, router and ``all`` or the ``active`` experts."""
    layers, heads, kv_heads, size, hidden, _ = SHAPES[name]
    width, everyone, chosen = MLPS[name]
    attention = 2 * hidden * heads * size + 2 * hidden * kv_heads * size
    router = hidden * everyone if everyone > 1 else 0
    return layers * (attention + router + 3 * hidden * width * (everyone if experts == "all" else chosen))


def degrees(model: str) -> list[int]:
    """Tensor-parallel degrees that the model allows."""
    allowed = []
    for degree in range(1, MAX_GPUS + 1):
        try:
            find(model, "H200", degree)
        except BadInput:
            continue
        allowed.append(degree)
    return allowed


def test_every_model_and_card_is_checked_here() -> None:
    assert set(MODELS) == set(SHAPES) == set(MLPS) == set(CARDS)
    assert set(GPUS) == set(DATA_SHEETS)


@pytest.mark.parametrize("name", MODELS)
def test_shapes_are_the_published_ones(name: str) -> None:
    model = MODELS[name]
    shape = (model.layers, model.heads, model.kv_heads, model.head_size, model.hidden, model.vocabulary)
    assert shape == SHAPES[name]


@pytest.mark.parametrize("name", MODELS)
def test_parameters_follow_from_the_shape_and_are_those_of_the_model_card(name: str) -> None:
    # Norms and biases, left out here, are less than 0.1 %. Embedding and output head are two matrices in all.
    hidden, vocabulary = SHAPES[name][4:]
    model = MODELS[name]
    assert model.parameters == pytest.approx(layer_parameters(name, "all") + 2 * hidden * vocabulary, rel=1e-3)
    assert model.parameters == pytest.approx(CARDS[name], rel=2e-3)
    assert model.active_parameters == pytest.approx(layer_parameters(name, "active"), rel=1e-3)


def test_a_token_of_the_mixture_meets_few_experts() -> None:
    model = MODELS["Qwen3-30B-A3B"]
    # The card says 3.3B activated, embedding and output head included.
    assert model.active_parameters + 2 * model.hidden * model.vocabulary == pytest.approx(3.3e9, rel=0.02)


@pytest.mark.parametrize("name", GPUS)
def test_cards_are_those_of_the_data_sheets(name: str) -> None:
    gpu, (flops, rate, gigabytes) = GPUS[name], DATA_SHEETS[name]
    assert gpu.flops == pytest.approx(flops, rel=1e-3)
    assert gpu.bytes_per_s == pytest.approx(rate, rel=1e-3)
    # A driver reports binary units of what is left after its own: a few percent around the round figure.
    assert gpu.memory_bytes / 1e9 == pytest.approx(gigabytes, rel=0.08)


# kv bytes a token = keys and values x 2 bytes x layers x kv heads x head size.
@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("Qwen2-7B", 57_344),
        ("Qwen3-30B-A3B", 98_304),
        ("Qwen3-32B", 262_144),
        ("Llama-3.1-8B", 131_072),
        ("Llama-3.1-70B", 327_680),
    ],
)
def test_bytes_of_a_cached_token(name: str, published: int) -> None:
    assert MODELS[name].kv_bytes_per_token == published


def test_step_times_of_qwen2_7b_on_h20_by_hand() -> None:
    # 60% of 148 TFLOP/s is 88.8e12, 80% of 4.0 TB/s is 3.2e12; a step costs 2 ms beside reading 2 bytes a weight.
    time = step_time("Qwen2-7B", "H20")
    assert time.base_s == pytest.approx(0.002 + 2 * 7.616e9 / 3.2e12)
    assert time.prefill_s_per_token == pytest.approx(2 * 6.525e9 / 88.8e12)
    assert time.decode_s_per_request == pytest.approx(2 * (6.525e9 + 3584 * 152_064) / 88.8e12)
    assert time.kv_s_per_token == pytest.approx(57_344 / 3.2e12)
    # A pair of tokens: for each head a product of head size with the key, one with the value, 2 FLOP an element.
    assert time.attention_s_per_pair == pytest.approx(28 * 28 * (2 * 128 + 2 * 128) / 88.8e12)


def test_step_times_of_the_big_model_on_eight_cards_by_hand() -> None:
    time = step_time("Llama-3.1-70B", "A100")
    flops, rate = 8 * 0.6 * 312e12, 8 * 0.8 * 2.039e12
    assert MODELS["Llama-3.1-70B"].gpus == 8
    assert time == step_time("Llama-3.1-70B", "A100", 8)
    assert time.base_s == pytest.approx(0.002 + 2 * 70.55e9 / rate)
    assert time.prefill_s_per_token == pytest.approx(2 * 68.45e9 / flops)
    assert time.kv_s_per_token == pytest.approx(327_680 / rate)
    assert time.attention_s_per_pair == pytest.approx(4 * 80 * 64 * 128 / flops)


@pytest.mark.parametrize(("model", "gpu"), PAIRS)
def test_more_cards_are_never_slower_and_never_smaller(model: str, gpu: str) -> None:
    rows = [step_time(model, gpu, degree) for degree in degrees(model)]
    assert len(rows) > 2
    for few, many in pairwise(rows):
        for name in TIMES:
            assert getattr(many, name) <= getattr(few, name) * (1 + 1e-12), name
        assert many.base_s < few.base_s
        assert many.prefill_s_per_token < few.prefill_s_per_token
    capacities = [capacity for degree in degrees(model) if (capacity := capacity_or_none(model, gpu, degree))]
    assert capacities == sorted(capacities)


def capacity_or_none(model: str, gpu: str, degree: int) -> int | None:
    """Capacity, or None where the weights do not fit."""
    try:
        return kv_capacity_tokens(model, gpu, degree)
    except BadInput:
        return None


@pytest.mark.parametrize(("model", "gpu"), PAIRS)
def test_cards_share_the_work_evenly_up_to_the_kv_heads(model: str, gpu: str) -> None:
    one, two = step_time(model, gpu, 1), step_time(model, gpu, 2)
    overhead = 2 * two.base_s - one.base_s  # base = overhead + reading / cards
    assert overhead == pytest.approx(0.002)
    for name in TIMES[1:]:
        assert getattr(two, name) == pytest.approx(getattr(one, name) / 2), name


def test_more_cards_than_kv_heads_keep_copies() -> None:
    four, eight = (step_time("Qwen3-30B-A3B", "H100", degree) for degree in (4, 8))
    assert eight.kv_s_per_token == pytest.approx(four.kv_s_per_token)
    assert eight.prefill_s_per_token == pytest.approx(four.prefill_s_per_token / 2)


@pytest.mark.parametrize(("model", "gpu"), PAIRS)
def test_a_step_grows_with_everything_in_it(model: str, gpu: str) -> None:
    time = step_time(model, gpu)
    idle = time.step_s()
    assert 0 < idle < time.step_s(prefill_tokens=1) < time.step_s(prefill_tokens=1, pairs=1)
    assert idle < time.step_s(batch=1) < time.step_s(batch=1, kv_tokens=1)
    # A produced token also goes through the output head.
    head = MODELS[model].hidden * MODELS[model].vocabulary / MODELS[model].active_parameters
    assert time.decode_s_per_request / time.prefill_s_per_token == pytest.approx(1 + head)


@pytest.mark.parametrize(("model", "gpu"), PAIRS)
def test_the_attention_of_a_prompt_grows_with_its_square(model: str, gpu: str) -> None:
    time = step_time(model, gpu)

    def attention_s(prompt: int) -> float:
        pairs = prompt * (prompt + 1) // 2
        return time.step_s(prefill_tokens=prompt, pairs=pairs) - time.step_s(prefill_tokens=prompt)

    assert attention_s(20_000) / attention_s(10_000) == pytest.approx(4, rel=1e-3)


def test_the_cache_of_qwen2_7b_on_h20_is_the_one_published_for_vllm() -> None:
    assert kv_capacity_tokens("Qwen2-7B", "H20") == pytest.approx(80_860 * 16, rel=0.01)


def test_the_cache_is_what_the_weights_leave() -> None:
    # Two cards have twice the memory, and the weights lie there once: 0.9 x memory of a card less 3 GB comes on top.
    one, two = (kv_capacity_tokens("Llama-3.1-8B", "A100", degree) for degree in (1, 2))
    card = 0.9 * 81_920 * 2**20 - 3e9
    assert two - one == pytest.approx(card / 131_072, abs=1)
    assert one == pytest.approx((card - 2 * 8.03e9) / 131_072, abs=1)
    with pytest.raises(BadInput, match="more GPUs per instance"):
        kv_capacity_tokens("Llama-3.1-70B", "H100", 1)
    with pytest.raises(BadInput, match="weights that fit"):
        kv_capacity_tokens("Llama-3.1-70B", "H200", 1)


@pytest.mark.parametrize("degree", [-1, 0, 3, 5, 16])
def test_a_degree_that_does_not_divide_the_heads_is_refused(degree: int) -> None:
    for model in MODELS:
        with pytest.raises(BadInput, match=r"tensor_parallel: expected one of 1, 2, 4"):
            step_time(model, "H20", degree)


@pytest.mark.parametrize("name", MODELS)
def test_kv_heads_are_split_evenly_or_copied_evenly(name: str) -> None:
    # As engines demand (vLLM's ModelConfig and attention layers): the degree divides the KV heads, or they divide it.
    kv_heads = SHAPES[name][2]
    assert [degree for degree in degrees(name) if kv_heads % degree and degree % kv_heads] == []


def test_unknown_names_are_named() -> None:
    with pytest.raises(BadInput, match="nearest: Qwen2-7B"):
        step_time("Qwen2-7b", "H20")
    with pytest.raises(BadInput, match="nearest: H20"):
        step_time("Qwen2-7B", "H2O")
