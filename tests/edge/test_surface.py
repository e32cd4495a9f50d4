"""What of vLLM can be reached from outside: what is in the list, and nothing else, however it is written."""

from __future__ import annotations

import pytest

from tests.support.clients import exchange, head
from tests.support.stack import Stack

# vLLM's own, without a key to guard them: verbs that stop it, load code into it, or tell how it runs.
DANGEROUS = [
    "/invocations",
    "/reset_prefix_cache",
    "/reset_mm_cache",
    "/sleep",
    "/wake_up",
    "/is_sleeping",
    "/collective_rpc",
    "/pause",
    "/resume",
    "/scale_elastic_ep",
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/load_lora_adapter",
    "/start_profile",
    "/stop_profile",
    "/init_weights",
    "/update_weights",
    "/metrics",
    "/docs",
    "/redoc",
    "/openapi.json",
    "/server_info",
    "/load",
    "/version",
    "/ping",
    "/tokenize",
    "/detokenize",
    "/tokenizer_info",
    "/pooling",
    "/classify",
    "/score",
    "/rerank",
    "/admin/engines",
    "/admin/drain",
    "/stats",
    "/",
    "*",
]
WRITTEN = [
    "{}",
    "/{}",
    "{}/",
    "{}?a=/v1/models",
    "{};/v1/models",
    "/v1/models/..{}",
    "/v1/models/%2e%2e{}",
    "/v1/models%2f..{}",
    "/v1/chat/completions/../../..{}",
    "/v1/models#{}",
    "http://test{}",
    "http://test?/v1/models{}",
    "http://user@test{}",
]


def _encoded(path: str) -> str:
    return "/" + "".join(f"%{ord(char):02x}" for char in path[1:])


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_nothing_dangerous_is_reachable(shared: Stack, method: str) -> None:
    """Doubled, encoded, absolute, with dots and parameters: no engine and no router sees any of it."""
    paths = [form.format(path) for path in DANGEROUS for form in WRITTEN] + [_encoded(path) for path in DANGEROUS]
    before = shared.total("gets"), shared.total("requests")
    for path in paths:
        answer = exchange(shared.port, head(path, "content-length: 0", method=method))
        assert (path, answer.status in {400, 404, 405}) == (path, True), answer
    assert (shared.total("gets"), shared.total("requests")) == before


def test_engine_reads_the_path_that_the_edge_read(shared: Stack) -> None:
    """A target with a host in it reaches the engine without it."""
    body = b'{"model": "tiny", "messages": [{"role": "user", "content": "a"}]}'
    request = head("http://test/v1/chat/completions?x=1", f"content-length: {len(body)}") + body
    answer = exchange(shared.port, request)
    assert answer.status == 200, answer
    assert answer.json["path"] == "/v1/chat/completions?x=1"


@pytest.mark.parametrize("name", ["transfer_encoding", "x_session_id", "content_length"])
def test_header_names_with_underscores_are_removed(shared: Stack, name: str) -> None:
    """An engine could read them as others do theirs with dashes."""
    body = b'{"model": "tiny", "messages": [{"role": "user", "content": "a"}]}'
    request = head("/v1/chat/completions", f"{name}: 7", f"content-length: {len(body)}") + body
    assert name not in exchange(shared.port, request).json["headers"]
