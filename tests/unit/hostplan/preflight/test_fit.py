"""Whether a model fits: counted from the configurations of real models, beside the numbers their makers give."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostplan.preflight import fit
from hostplan.preflight.fit_checks import flag_values
from hostplan.preflight.model_config import Shape, shape

GIB = fit.GIB
LLAMA_8B: dict[str, Any] = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}
LLAMA_70B = {
    **LLAMA_8B,
    "hidden_size": 8192,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "intermediate_size": 28672,
}
QWEN3_32B = {
    "hidden_size": 5120,
    "num_hidden_layers": 64,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 25600,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "sliding_window": None,
    "use_sliding_window": False,
}
QWEN3_06B = {
    "hidden_size": 1024,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 3072,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "tie_word_embeddings": True,
}
QWEN3_30B_A3B = {
    "hidden_size": 2048,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
}
MIXTRAL = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "num_local_experts": 8,
    "vocab_size": 32000,
    "max_position_embeddings": 32768,
    "sliding_window": None,
}
DEEPSEEK_V3 = {
    "hidden_size": 7168,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "first_k_dense_replace": 3,
    "vocab_size": 129280,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "max_position_embeddings": 163840,
    "quantization_config": {"quant_method": "fp8"},
}
GPT_OSS_120B = {
    "hidden_size": 2880,
    "num_hidden_layers": 36,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "intermediate_size": 2880,
    "num_local_experts": 128,
    "vocab_size": 201088,
    "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 18,
    "max_position_embeddings": 131072,
    "quantization_config": {"quant_method": "mxfp4"},
}
GEMMA3_27B = {
    "model_type": "gemma3",
    "text_config": {
        "model_type": "gemma3_text",
        "hidden_size": 5376,
        "num_hidden_layers": 62,
        "num_attention_heads": 32,
        "num_key_value_heads": 16,
        "head_dim": 128,
        "intermediate_size": 21504,
        "vocab_size": 262208,
        "sliding_window": 1024,
        "sliding_window_pattern": 6,
        "max_position_embeddings": 131072,
    },
}
GPT2 = {
    "n_layer": 12,
    "n_embd": 768,
    "n_head": 12,
    "vocab_size": 50257,
    "n_positions": 1024,
    "tie_word_embeddings": True,
}


def of(config: dict[str, Any]) -> Shape:
    found = shape(config)
    assert found is not None
    return found


def asked(**values: Any) -> fit.Asked:
    base = fit.Asked("engine-x-0", 1, 80 * GIB, 0.9, 32768, 1, "auto", 8192, 256, 0)
    return replace(base, **values)


@pytest.mark.parametrize(
    ("config", "billions"),
    [
        (LLAMA_8B, 8.03),
        (LLAMA_70B, 70.6),
        (QWEN3_32B, 32.8),
        (QWEN3_06B, 0.596),
        (QWEN3_30B_A3B, 30.5),
        (MIXTRAL, 46.7),
        (DEEPSEEK_V3, 671),
        (GPT_OSS_120B, 117),
        (GEMMA3_27B, 27.0),
    ],
    ids=[
        "llama 8B",
        "llama 70B",
        "qwen3 32B",
        "qwen3 0.6B, tied",
        "qwen3 MoE",
        "mixtral",
        "deepseek",
        "gpt-oss",
        "gemma",
    ],
)
def test_parameters_are_those_the_maker_counts(config: dict[str, Any], billions: float) -> None:
    """Dense, experts, latents, shared experts, tied embeddings: within two hundredths."""
    assert of(config).parameters / 1e9 == pytest.approx(billions, rel=0.02)


@pytest.mark.parametrize(
    ("config", "gpus", "dtype", "octets"),
    [
        (LLAMA_8B, 1, "auto", 131_072),  # 2 x 32 layers x 8 heads x 128 x 2 bytes
        (LLAMA_8B, 4, "auto", 32_768),
        (LLAMA_8B, 16, "auto", 16_384),  # one head each: the eight are kept twice
        (LLAMA_8B, 1, "fp8", 65_536),
        (QWEN3_30B_A3B, 1, "auto", 98_304),
        (DEEPSEEK_V3, 1, "auto", 70_272),  # (512 + 64) x 61 layers x 2 bytes
        (DEEPSEEK_V3, 8, "auto", 70_272),  # the latent is not split
    ],
)
def test_cache_of_a_token_is_what_its_layers_keep(config: dict[str, Any], gpus: int, dtype: str, octets: int) -> None:
    """Grouped queries, latents, a smaller type, more GPUs than heads."""
    assert fit.cache_bytes(of(config), 1000, asked(gpus=gpus, cache_dtype=dtype)) == octets * 1000


def test_layers_behind_a_window_stop_growing() -> None:
    """Half of gpt-oss looks back 128 tokens: twice the length costs the other half alone."""
    one, two = (fit.cache_bytes(of(GPT_OSS_120B), length, asked()) for length in (65_536, 131_072))
    grown = 18 * 2 * 8 * 64 * 2 * 65_536
    assert two - one == grown
    assert of(GEMMA3_27B).full_layers == 10
    assert of(GEMMA3_27B).window_layers == 52


def test_layers_with_a_state_keep_no_cache() -> None:
    """Linear attention and state spaces: only the full layers grow."""
    hybrid = {**LLAMA_8B, "layer_types": ["linear_attention"] * 24 + ["full_attention"] * 8}
    assert (of(hybrid).full_layers, of(hybrid).window_layers) == (8, 0)
    assert of({**LLAMA_8B, "full_attention_interval": 4}).full_layers == 8


@pytest.mark.parametrize(
    ("config", "octets"),
    [
        ({}, 2.0),
        ({"torch_dtype": "float32"}, 2.0),
        ({"quantization_config": {"quant_method": "fp8"}}, 1.0),
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, 0.53),
        ({"quantization_config": {"quant_method": "gptq", "bits": 8}}, 1.0),
        ({"quantization_config": {"quant_method": "mxfp4"}}, 0.53),
        (
            {
                "quantization_config": {
                    "quant_method": "compressed-tensors",
                    "config_groups": {"a": {"weights": {"num_bits": 8}}},
                }
            },
            1.0,
        ),
        (
            {
                "quantization_config": {
                    "quant_method": "compressed-tensors",
                    "config_groups": {"a": {"weights": {"num_bits": 4}}},
                }
            },
            0.53,
        ),
        ({"torch_dtype": "float8_e4m3fn"}, 1.0),
    ],
)
def test_weights_take_what_their_quantisation_says(config: dict[str, Any], octets: float) -> None:
    """By method and bits; what was saved in 32 bits is loaded in 16."""
    assert of({**LLAMA_8B, **config}).weight_bytes == pytest.approx(octets, rel=0.01)


def test_bytes_on_disk_win_over_the_estimate() -> None:
    """An index knows its files."""
    assert fit.estimate(of(LLAMA_8B), asked(weights_bytes=30 * GIB)).weights == 30 * GIB


def test_a_model_that_fits_says_how_many_answers_it_has_room_for() -> None:
    """8B on one card of 80 GiB: 72 GiB, less 15 of weights and about 3 of work."""
    found = fit.check(of(LLAMA_8B), asked())
    assert found.level == "ok"
    assert "12." in found.text.split(": ")[-1] or "13." in found.text.split(": ")[-1]


def test_weights_that_do_not_fit_are_refused_with_more_gpus() -> None:
    """70B in 16 bits needs two cards of 80 GiB, and no length helps on one."""
    found = fit.check(of(LLAMA_70B), asked())
    assert found.level == "refused"
    assert "gpus_per_replica: 4" in found.text or "gpus_per_replica: 2" in found.text
    assert "max_model_len" not in found.text


def test_a_length_that_does_not_fit_is_refused_with_the_one_that_does() -> None:
    """Every value proposed is one with which it fits."""
    wanted = asked(memory_bytes=24 * GIB, length=131_072)
    found = fit.estimate(of(LLAMA_8B), wanted)
    refusal = fit.check(of(LLAMA_8B), wanted)
    assert refusal.level == "refused"
    assert f"max_model_len: {found.most}" in refusal.text
    assert fit.estimate(of(LLAMA_8B), replace(wanted, length=found.most)).fits
    assert not fit.estimate(of(LLAMA_8B), replace(wanted, length=found.most + fit.BLOCK)).fits


def test_every_way_that_is_proposed_is_one() -> None:
    """fp8 for the cache, or a larger share, only where they are enough."""
    tight = asked(memory_bytes=36 * GIB, share=0.88, length=131_072)
    text = fit.check(of(LLAMA_8B), tight).text
    assert ("fp8" in text) is fit.estimate(of(LLAMA_8B), replace(tight, cache_dtype="fp8")).fits
    assert ("utilization" in text) is fit.estimate(of(LLAMA_8B), replace(tight, share=0.95)).fits


def test_too_few_answers_at_once_are_a_warning() -> None:
    """It starts, and makes others wait."""
    found = fit.check(of(LLAMA_8B), asked(at_once=40))
    assert found.level == "warning"
    assert "40 were asked" in found.text


def test_a_model_nobody_can_count_is_not_held_against_a_host() -> None:
    """No shape, or no GPU seen yet."""
    assert fit.check(None, asked()).level == "skipped"
    assert shape({"model_type": "strange"}) is None
    assert fit.check(of(LLAMA_8B), asked(memory_bytes=0)).level == "skipped"


def test_old_names_of_fields_are_read() -> None:
    """GPT-2's file names the same things otherwise."""
    found = of(GPT2)
    assert (found.layers, found.hidden, found.kv_heads, found.longest) == (12, 768, 12, 1024)


def test_flags_of_the_operator_are_read_both_ways_and_the_last_wins() -> None:
    """As vLLM reads them."""
    args = ["--kv-cache-dtype", "auto", "--enforce-eager", "--max_num_seqs=64", "--kv-cache-dtype=fp8"]
    assert flag_values(args) == {"--kv-cache-dtype": "fp8", "--enforce-eager": "", "--max-num-seqs": "64"}
