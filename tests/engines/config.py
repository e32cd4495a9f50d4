"""What a simulated engine is told on its command line."""

import argparse
import os
from dataclasses import dataclass

from tests.engines.scheduler import Speed


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """One engine. `cache_tokens`: size of its KV cache; `keep_alive_seconds`: how long an idle connection lives.

    `hold_headers`: the headers of a stream leave with its first token; vLLM by itself sends them at once.
    """

    name: str
    model: str
    host: str
    port: int
    cache_tokens: int
    block_tokens: int
    answer_tokens: int
    max_model_len: int
    keep_alive_seconds: float
    hold_headers: bool
    speed: Speed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.engines", description="A simulated vLLM engine.")
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--model", required=True, help="the name it serves")
    parser.add_argument("--cache-tokens", type=int, default=200_000, help="size of the KV cache")
    parser.add_argument("--block-size", type=int, default=16, help="tokens per cache block")
    parser.add_argument("--answer-tokens", type=int, default=16, help="length of an answer nobody limits")
    parser.add_argument("--max-model-len", type=int, default=131_072)
    parser.add_argument("--prefill-rate", type=float, default=20_000.0, help="uncached prompt tokens per second")
    parser.add_argument("--decode-seconds", type=float, default=0.01, help="per token of a batch of one")
    parser.add_argument(
        "--decode-growth", type=float, default=0.02, help="share by which each further sequence slows a step"
    )
    parser.add_argument("--batch-tokens", type=int, default=2_048, help="token budget of one step")
    parser.add_argument("--max-num-seqs", type=int, default=256, help="sequences in one batch")
    parser.add_argument("--hold-headers", action="store_true", help="send the headers of a stream with its first token")
    return parser


def from_argv(argv: list[str]) -> EngineConfig:
    """Read the command line; argparse ends the process on a mistake."""
    given = _parser().parse_args(argv)
    speed = Speed(given.prefill_rate, given.decode_seconds, given.decode_growth, given.batch_tokens, given.max_num_seqs)
    return EngineConfig(
        name=given.name,
        model=given.model,
        host=given.host,
        port=given.port,
        cache_tokens=given.cache_tokens,
        block_tokens=given.block_size,
        answer_tokens=given.answer_tokens,
        max_model_len=min(given.max_model_len, given.cache_tokens),
        # vLLM's own variable and default: five seconds surprise every proxy that pools connections for longer.
        keep_alive_seconds=float(os.environ.get("VLLM_HTTP_TIMEOUT_KEEP_ALIVE", "5")),
        hold_headers=given.hold_headers,
        speed=speed,
    )
