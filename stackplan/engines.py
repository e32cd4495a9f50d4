"""How vLLM is started: its command line and its environment, for GPUs and without."""

from __future__ import annotations

import json
from collections.abc import Sequence

from stackplan.model import Mount, Replica
from stackplan.settings import Engines, Model

HOME = "/root"  # of the official images
SECRETS = "/run/secrets/ironrack"
PLUGINS = "/opt/ironrack/engine"  # our additions to the engine, as Python modules
PROBED = "/health,/metrics"  # asked every second or two; their access lines would bury the others
_TRUSTED = "trusted_fields.TrustedFields"
_SERVE = ("vllm", "serve")
# Flags the plan sets itself: set twice, the second silently wins and the rest of the plan is wrong.
OWNED = {
    "--model",
    "--served-model-name",
    "--host",
    "--port",
    "--uds",
    "--tensor-parallel-size",
    "-tp",
    "--pipeline-parallel-size",
    "-pp",
    "--data-parallel-size",
    "-dp",
    "--max-model-len",
    "--gpu-memory-utilization",
    "--revision",
    "--shutdown-timeout",
    "--sse-keep-alive-interval",
    "--api-key",
    "--lora-modules",
    "--scheduling-policy",
    "--kv-events-config",
    "--otlp-traces-endpoint",
}


def command(
    model: Model,
    engines: Engines,
    address: str,
    port: int,
    *,
    priorities: bool = False,
    events: Sequence[int] = (),
    traces: str = "",
) -> list[str]:
    """The arguments of `vllm serve`; the operator's own come last. `priorities`: requests differ in urgency.

    `events`: the ports for KV events and for saying them again, if they are wanted. `traces`: where spans go, if.
    """
    names = [model.name, *model.aliases]
    line = [model.source, "--served-model-name", *names, "--host", address, "--port", str(port)]
    line += ["--revision", model.revision] if model.revision else []
    line += ["--max-model-len", str(model.max_model_len)] if model.max_model_len else []
    line += _gpu_flags(model, engines) if engines.device == "gpu" else []
    line += _adapter_flags(model)
    line += ["--enable-prefix-caching", "--shutdown-timeout", str(engines.shutdown_timeout_seconds)]
    line += ["--sse-keep-alive-interval", str(engines.sse_keep_alive_seconds)] if engines.sse_keep_alive_seconds else []
    line += ["--disable-access-log-for-endpoints", PROBED]
    line += ["--scheduling-policy", "priority"] if priorities else []
    line += ["--kv-events-config", _kv_events(*events)] if events else []
    line += ["--otlp-traces-endpoint", traces] if traces else []
    line += ["--middleware", "hold_headers.HoldHeaders"] if engines.hold_headers else []
    # The last one added sees requests first: fields are written before anything else looks at them.
    line += ["--enable-prompt-tokens-details", "--middleware", _TRUSTED] if engines.trusted_fields else []
    return [*line, *engines.args, *model.engine_args]


def entrypoint(model: Model, engines: Engines, url: str) -> list[str]:
    """What starts vLLM; unless told otherwise it also ends one that is stuck."""
    if not engines.stuck_after_seconds:
        return list(_SERVE)
    told = ["--url", url, "--model", model.name, "--after", str(engines.stuck_after_seconds)]
    return ["python3", f"{PLUGINS}/restart_stuck.py", *told, "--most", str(engines.stuck_restarts), *_SERVE]


def environment(model: Model, engines: Engines) -> dict[str, str]:
    """Environment of one engine. No secret is in it: the hub's token is a file."""
    env = {"VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(engines.keep_alive_seconds), "VLLM_NO_USAGE_STATS": "1"}
    if engines.hold_headers or engines.trusted_fields:
        env["PYTHONPATH"] = PLUGINS
    if offline(model):
        env["HF_HUB_OFFLINE"] = "1"
    elif engines.hub_token_enabled:
        env["HF_TOKEN_PATH"] = f"{SECRETS}/hub-token"
    if engines.device == "cpu":
        env["VLLM_CPU_KVCACHE_SPACE"] = str(engines.cpu_kv_cache_gib)
        if engines.cpu_threads_bind:
            env["VLLM_CPU_OMP_THREADS_BIND"] = engines.cpu_threads_bind
    return {**env, **engines.env, **model.env}


def tracing(name: str) -> dict[str, str]:
    """What OpenTelemetry inside vLLM must be told beside the endpoint: HTTP instead of gRPC, and who speaks."""
    return {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf", "OTEL_SERVICE_NAME": name}


def mounts(model: Model, engines: Engines, root: str, image_key: str) -> list[Mount]:
    """Weights and compiled graphs outlive the container; graphs are kept apart per image."""
    cache = engines.cache_directory
    compiled = f"{cache}/compiled/{image_key}"
    found = [Mount(f"{HOME}/.cache/vllm", f"{compiled}/vllm", read_only=False)]
    if engines.device == "gpu":
        found.append(Mount(f"{HOME}/.triton", f"{compiled}/triton", read_only=False))
        found.append(Mount(f"{HOME}/.cache/flashinfer", f"{compiled}/flashinfer", read_only=False))
    if _plugins(engines):
        found.append(Mount(PLUGINS, f"{root}/engine"))
    if any(not _is_folder(source) for source in _sources(model)):
        found.insert(0, Mount(f"{HOME}/.cache/huggingface", f"{cache}/huggingface", read_only=False))
    folders = [Mount(source, source) for source in dict.fromkeys(filter(_is_folder, _sources(model)))]
    token = engines.hub_token_enabled and not offline(model)
    return [*folders, *found, *([Mount(SECRETS, f"{root}/secrets/engine")] if token else [])]


def env_file(engines: Engines, root: str) -> str | None:
    """The file with the engines' API key, as the role `engine` writes it: neither compose.yml nor argv holds it."""
    return f"{root}/secrets/engine.env" if engines.api_key_enabled else None


def offline(model: Model) -> bool:
    """Nothing needs to be fetched: start must not depend on the hub."""
    return model.weights_staged or all(map(_is_folder, _sources(model)))


def owned_flags(args: Sequence[str]) -> list[str]:
    """Flags among `args` that the plan sets itself."""
    return [arg for arg in args if arg.split("=")[0].replace("_", "-") in OWNED]


def engine_name(slug: str, replica: Replica) -> str:
    """The public name of an engine: server in HAProxy, label in metrics, header in answers."""
    return f"engine-{slug}-{replica.number}"


def _sources(model: Model) -> list[str]:
    """Where the model and its adapters come from."""
    return [model.source, *(adapter.source for adapter in model.adapters)]


def _is_folder(source: str) -> bool:
    """A folder on the engine hosts, not a name at the hub."""
    return source.startswith("/")


def _plugins(engines: Engines) -> bool:
    return engines.hold_headers or engines.trusted_fields or engines.stuck_after_seconds > 0


def _adapter_flags(model: Model) -> list[str]:
    if not model.adapters:
        return []
    return ["--enable-lora", "--lora-modules", *(f"{adapter.name}={adapter.source}" for adapter in model.adapters)]


def _kv_events(port: int, replay_port: int) -> str:
    """vLLM binds where the address is a star, and on all addresses: the firewall says who may connect."""
    wanted = {
        "enable_kv_cache_events": True,
        "publisher": "zmq",
        "endpoint": f"tcp://*:{port}",
        "replay_endpoint": f"tcp://*:{replay_port}",
        "topic": "kv",
    }
    return json.dumps(wanted, separators=(",", ":"))


def _gpu_flags(model: Model, engines: Engines) -> list[str]:
    return [
        "--tensor-parallel-size",
        str(model.gpus_per_replica),
        "--gpu-memory-utilization",
        str(engines.gpu_memory_utilization),
    ]
