"""The shape of a model as its `config.json` tells it: what its weights and its KV cache are made of.

Field names: https://huggingface.co/docs/transformers/main_classes/configuration and the models' own pages there. What
counts for the cache is how vLLM lays it out: keys and values of each attention layer, one latent of a layer with MLA,
nothing that grows for a layer with linear attention or a state space.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]
# By the method's name; `compressed-tensors` and others say it in their groups.
_QUANTISED = {
    "fp8": 1.0,
    "fbgemm_fp8": 1.0,
    "modelopt": 1.0,
    "modelopt_fp4": 0.5625,  # four bits, and eight for sixteen of them
    "mxfp4": 0.53125,  # four bits, and eight for thirty-two of them
    "awq": 0.53,  # four bits, and scales and zeros for each hundred and twenty-eight
    "gptq": 0.53,
    "bitsandbytes": 0.53,
}
_NO_CACHE = ("linear", "mamba", "conv", "recurrent", "ssm")


@dataclass(frozen=True, slots=True)
class Shape:
    """Numbers of a text model. `latent` is the width of MLA's latent, 0 without; `window` is 0 where none is."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    latent: int
    window: int
    full_layers: int  # whose cache grows with the whole length
    window_layers: int  # whose cache stops growing at `window`
    parameters: int
    weight_bytes: float  # of one parameter, as it lies in memory
    longest: int


def shape(config: Config) -> Shape | None:
    """The shape of a text model, or of the text part of one with eyes; None where the file does not tell."""
    text = {**config, **(config.get("text_config") or config.get("llm_config") or {})}
    layers, hidden = _int(text, "num_hidden_layers", "n_layer"), _int(text, "hidden_size", "n_embd", "d_model")
    heads = _int(text, "num_attention_heads", "n_head")
    if not (layers and hidden and heads):
        return None
    window, full, windowed = _spans(text, layers)
    return Shape(
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=_int(text, "num_key_value_heads", "num_kv_heads") or heads,
        head_dim=_int(text, "head_dim") or hidden // heads,
        vocabulary=_int(text, "vocab_size"),
        latent=_int(text, "kv_lora_rank") + _int(text, "qk_rope_head_dim") if _int(text, "kv_lora_rank") else 0,
        window=window,
        full_layers=full,
        window_layers=windowed,
        parameters=parameters(text, layers, hidden, heads),
        weight_bytes=weight_bytes(config, text),
        longest=_int(text, "max_position_embeddings", "n_positions"),
    )


def weight_bytes(config: Config, text: Config) -> float:
    """Bytes of one parameter, by quantisation, else by type."""
    quantised = config.get("quantization_config") or text.get("quantization_config") or {}
    method = str(quantised.get("quant_method", "")).lower()
    bits = quantised.get("bits") or _group_bits(quantised)
    if method in ("gptq", "awq", "compressed-tensors") and bits:
        return int(bits) / 8 * (1.06 if int(bits) <= 4 else 1.0)
    if method in _QUANTISED:
        return _QUANTISED[method]
    kind = str(text.get("dtype") or text.get("torch_dtype") or config.get("torch_dtype") or "bfloat16")
    # vLLM loads what was saved in 32 bits in 16, unless told otherwise.
    return 1.0 if "float8" in kind else 2.0


def _group_bits(quantised: Config) -> int:
    groups = (quantised.get("config_groups") or {}).values()
    bits = [int((group.get("weights") or {}).get("num_bits") or 0) for group in groups]
    return min([each for each in bits if each], default=0)


def parameters(text: Config, layers: int, hidden: int, heads: int) -> int:
    """All parameters, experts included; norms and biases, far below a hundredth, are not counted."""
    vocabulary = _int(text, "vocab_size") * hidden
    # Where a file does not say, Gemma's are tied and the others' are not.
    tied = text.get("tie_word_embeddings", str(text.get("model_type", "")).startswith("gemma"))
    embeddings = vocabulary if tied else 2 * vocabulary
    return embeddings + layers * _attention(text, hidden, heads) + _feed_forward(text, layers, hidden)


def _attention(text: Config, hidden: int, heads: int) -> int:
    rank = _int(text, "kv_lora_rank")
    if rank:
        rope, nope, value = (_int(text, name) for name in ("qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"))
        query_rank = _int(text, "q_lora_rank")
        query = heads * (nope + rope)
        asked = hidden * query_rank + query_rank * query if query_rank else hidden * query
        return asked + hidden * (rank + rope) + rank * heads * (nope + value) + heads * value * hidden
    head = _int(text, "head_dim") or hidden // heads
    kv_heads = _int(text, "num_key_value_heads", "num_kv_heads") or heads
    return 2 * hidden * heads * head + 2 * hidden * kv_heads * head


def _feed_forward(text: Config, layers: int, hidden: int) -> int:
    inner = _int(text, "intermediate_size", "n_inner") or 4 * hidden
    experts = _int(text, "num_local_experts", "num_experts", "n_routed_experts")
    if not experts:
        return layers * 3 * hidden * inner
    expert = 3 * hidden * (_int(text, "moe_intermediate_size") or inner)
    always = 3 * hidden * _int(text, "shared_expert_intermediate_size") + _int(text, "n_shared_experts") * expert
    dense = min(_int(text, "first_k_dense_replace"), layers)
    return dense * 3 * hidden * inner + (layers - dense) * (experts * expert + always + hidden * experts)


def _spans(text: Config, layers: int) -> tuple[int, int, int]:
    """Window, and how many layers look at everything, and how many only through it."""
    window = _int(text, "sliding_window")
    kinds = text.get("layer_types") or []
    if kinds:
        local = sum("sliding" in kind or "chunked" in kind for kind in kinds)
        none = sum(any(word in kind for word in _NO_CACHE) for kind in kinds)
        return window, len(kinds) - local - none, local
    every = _int(text, "full_attention_interval")
    if every:
        return 0, layers // every, 0
    pattern = _int(text, "sliding_window_pattern")
    if window and pattern > 1:
        return window, layers // pattern, layers - layers // pattern
    if window and text.get("use_sliding_window", True):
        return window, 0, layers
    return 0, layers, 0


def _int(config: Config, *names: str) -> int:
    """The first of the names that has a number; 0 when none has."""
    return next((int(config[name]) for name in names if isinstance(config.get(name), int | float)), 0)
