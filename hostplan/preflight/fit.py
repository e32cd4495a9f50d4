"""Does a model fit its GPUs: weights, working memory, and the KV cache of one answer of full length.

vLLM takes `gpu_memory_utilization` of each GPU, loads its share of the weights, runs one step of the largest size, and
gives what is left to the cache; it refuses to start when that holds less than one sequence of `max_model_len`
(https://docs.vllm.ai/en/latest/configuration/conserving_memory.html). This is that sum ahead of time, and an estimate:
working memory is right within a gibibyte or two, so a model is refused when it is short by more than that doubt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hostplan.preflight.finding import Finding, ok, refused, skipped, warning
from hostplan.preflight.model_config import Shape

CHECK = "model fits"
GIB = 2**30
RUNTIME_BYTES = int(1.2 * GIB)  # CUDA's context, NCCL, captured graphs of one GPU
STEP_TOKENS = 8192  # vLLM's largest step on a server card, unless told otherwise
DOUBT = 0.05  # of a GPU's share
BLOCK = 1024  # lengths are proposed in whole thousands
_FP8 = ("fp8", "fp8_e4m3", "fp8_e5m2", "int8")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the plan wants: of how many GPUs, how long, how many at once; `length` 0 is the model's own."""

    engine: str
    gpus: int
    memory_bytes: int  # of the smallest of its GPUs
    share: float
    length: int
    at_once: int
    cache_dtype: str
    step_tokens: int
    max_sequences: int
    weights_bytes: int  # as they lie on disk, 0 when not known
    by_id: bool = (
        False  # memory is the board's by its PCI id, an upper bound: ECC and the driver keep up to a sixteenth
    )


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes on each GPU. `length` is the one counted with; `most` the longest that fits; `sequences` of full length."""

    weights: int
    working: int
    room: int
    per_sequence: int
    length: int
    most: int
    sequences: float

    @property
    def fits(self) -> bool:
        """Whether one sequence of full length has room."""
        return self.room >= self.per_sequence


def estimate(shape: Shape, asked: Asked) -> Estimate:
    """The sum, for one GPU of the group."""
    budget = asked.memory_bytes * asked.share
    whole = asked.weights_bytes or shape.parameters * shape.weight_bytes
    weights, working = whole / asked.gpus, _working(shape, asked)
    length = asked.length or shape.longest
    room = budget - weights - working
    one = cache_bytes(shape, length, asked)
    return Estimate(
        int(weights), int(working), int(room), int(one), length, _longest(shape, asked, room), room / one if one else 0
    )


def cache_bytes(shape: Shape, length: int, asked: Asked) -> float:
    """KV cache of one sequence on one GPU, which keeps at least one key head. MLA's latent is not split."""
    element = 1 if asked.cache_dtype in _FP8 else 2
    heads = max(1.0, shape.kv_heads / asked.gpus)
    each = shape.latent * element if shape.latent else 2 * heads * shape.head_dim * element
    seen = min(length, shape.window + asked.step_tokens) if shape.window else length
    return float(each * (shape.full_layers * length + shape.window_layers * seen))


def check(shape: Shape | None, asked: Asked) -> Finding:
    """The finding for one engine, with the values that would make it fit."""
    if shape is None or not asked.memory_bytes:
        return skipped(CHECK, f"{asked.engine}: cannot be estimated: its config.json or its GPUs are not known yet")
    found = estimate(shape, asked)
    text = (
        f"{asked.engine}: weights {_gib(found.weights)}, working memory {_gib(found.working)}, "
        f"cache {_gib(found.room)} of {_gib(asked.memory_bytes * asked.share)} on each of {asked.gpus} GPUs"
        f"{' (an estimate by PCI id until the driver is there)' if asked.by_id else ''}"
    )
    one = f"one answer of {found.length} tokens takes {_gib(found.per_sequence)}"
    doubt = asked.memory_bytes * asked.share * DOUBT
    if found.room + doubt < found.per_sequence or found.room <= 0:
        return refused(CHECK, text, f"{one}, and one must fit", remedy(shape, asked, found))
    if not found.fits:
        return warning(CHECK, text, f"{one}: it may just not fit", remedy(shape, asked, found))
    if found.sequences < asked.at_once:
        return warning(
            CHECK, text, f"{one}: {found.sequences:.1f} fit, {asked.at_once} were asked", remedy(shape, asked, found)
        )
    return ok(CHECK, f"{text}: {found.sequences:.1f} answers of {found.length} tokens at once")


def remedy(shape: Shape, asked: Asked, found: Estimate) -> str:
    """What to change, in the words of stack.yml; only what would do."""
    ways = [f"set max_model_len: {found.most}"] if found.most >= 2 * BLOCK and asked.at_once <= 1 else []
    if asked.cache_dtype not in _FP8 and _would(shape, asked, cache_dtype="fp8"):
        ways.append("add --kv-cache-dtype fp8 to engine_args")
    wider = next((gpus for gpus in _wider(shape, asked) if _would(shape, asked, gpus=gpus)), 0)
    ways += [f"set gpus_per_replica: {wider}"] if wider else []
    if asked.share < 0.95 and _would(shape, asked, share=0.95):
        ways.append("set gpu_memory_utilization: 0.95")
    return ", or ".join(ways) or "take a smaller or quantised model, or GPUs with more memory"


def _would(shape: Shape, asked: Asked, **other: Any) -> bool:
    found = estimate(shape, replace(asked, **other))
    return found.fits and found.sequences >= asked.at_once


def _wider(shape: Shape, asked: Asked) -> list[int]:
    """Larger groups that divide the heads, as vLLM wants."""
    return [gpus for gpus in (2, 4, 8, 16) if gpus > asked.gpus and shape.heads % gpus == 0]


def _working(shape: Shape, asked: Asked) -> float:
    """One step of the largest size, and the logits of every sequence in 32 bits, twice."""
    step = asked.step_tokens * shape.hidden * 2 * 10 / asked.gpus
    logits = asked.max_sequences * shape.vocabulary * 4 * 2 / asked.gpus
    return RUNTIME_BYTES + step + logits


def _longest(shape: Shape, asked: Asked, room: float) -> int:
    """The longest sequence that fits, in whole blocks, no longer than the model allows."""
    low, high = 0, max(shape.longest, asked.length) // BLOCK
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if cache_bytes(shape, middle * BLOCK, asked) <= room else (low, middle - 1)
    return low * BLOCK


def _gib(count: float) -> str:
    return f"{count / GIB:.1f} GiB"
