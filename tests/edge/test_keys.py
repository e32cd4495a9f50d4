"""Keys: who has none gets nowhere, what a key may do is kept to, and the key itself stays at the edge."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.edge.test_refusals import assert_error
from tests.support.clients import Answer, call
from tests.support.processes import wait_until
from tests.support.stack import CHAT, Stack

Start = Callable[..., Stack]
FORM = {"content-type": "multipart/form-data; boundary=x"}
KEY, SLOW, BUSY = "sk-one", "sk-two", "sk-three"
TENANTS = [
    {"name": "acme", "requests_per_minute": 0, "concurrency": 0, "cache_salt": True},
    {"name": "slow", "requests_per_minute": 3, "concurrency": 0},
    {"name": "busy", "requests_per_minute": 0, "concurrency": 2},
]


def line(key: str, tenant: str) -> str:
    """A key's line in the map."""
    return f"{hashlib.sha256(key.encode()).hexdigest()} {tenant}\n"


def bearer(key: str) -> dict[str, str]:
    """The header that carries a key."""
    return {"authorization": f"Bearer {key}"}


@pytest.fixture
def keyed(start: Start, tmp_path: Path) -> Stack:
    """An edge that knows three keys, and its engines by a key of their own."""
    keys, engine = tmp_path / "keys.map", tmp_path / "engine.map"
    keys.write_text(line(KEY, "acme|0|0|pepper") + line(SLOW, "slow|3|0|") + line(BUSY, "busy|0|2|"))
    engine.write_text("engine Bearer engine-secret\n")
    for file in (keys, engine):
        file.chmod(0o600)
    changes: dict[str, Any] = {"auth": {"keys_path": str(keys)}, "engine_key_path": str(engine), "tenants": TENANTS}
    return start({"tiny": 2}, headers=bearer(KEY), **changes)


@pytest.mark.parametrize("named_by", ["header", "prompt_cache_key", "beginning"])
def test_sessions_of_a_tenant_stay_home_when_the_router_dies(keyed: Stack, named_by: str) -> None:
    """The edge remembers them under the same name as the router: that of session and tenant together."""

    def homes() -> dict[str, str]:
        return {name: asked(name).engine for name in (f"session-{number}" for number in range(12))}

    def asked(name: str) -> Answer:
        if named_by == "header":
            return keyed.post(keyed.question(), x_session_id=name, **bearer(KEY))
        said = {"prompt_cache_key": name} if named_by == "prompt_cache_key" else {}
        return ask(keyed, KEY, **said, messages=[{"role": "user", "content": f"I am {name}"}])

    before = homes()
    assert len(set(before.values())) == 2
    keyed.router.stop()
    assert homes() == before
    assert asked("session-0").why == "fallback"


def ask(stack: Stack, key: str, **wish: object) -> Answer:
    """A chat request with a key."""
    return stack.post(stack.question(**wish), **bearer(key))


@pytest.mark.parametrize(
    "headers",
    [{}, bearer("sk-none"), {"authorization": f"Basic {KEY}"}, {"x-api-key": "x"}, {"authorization": "Bearer "}],
    ids=["none", "unknown", "basic", "x-api-key", "empty"],
)
def test_request_without_a_known_key_is_401(keyed: Stack, headers: dict[str, str]) -> None:
    """Whatever the path, known or not: nothing is learnt without a key."""
    for path in (CHAT, "/v1/models", "/nothing"):
        answer = call(keyed.port, "POST", path, b"{}", headers)
        assert assert_error(answer, 401, "edge")["code"] == "invalid_api_key"
        assert answer.headers["www-authenticate"] == "Bearer"


def test_probes_need_no_key(keyed: Stack) -> None:
    """A load balancer has none."""
    assert keyed.get("/health").status == keyed.get("/ready").status == 200


def test_unknown_key_is_refused_without_a_router_too(keyed: Stack) -> None:
    """Keys do not hang on the router."""
    keyed.router.stop()
    assert ask(keyed, "sk-none").status == 401
    assert ask(keyed, KEY).status == 200


def test_model_that_a_key_may_not_use_is_refused_without_a_router_too(start: Start, tmp_path: Path) -> None:
    """Two models, a tenant that may use one of them, and a router that is away: nothing is opened by that."""
    keys = tmp_path / "keys.map"
    keys.write_text(line(KEY, "acme|0|0|") + line(BUSY, "busy|0|0|"))
    tenants = [{**TENANTS[0], "models": ["tiny"]}, TENANTS[2]]
    stack = start({"tiny": 1, "big": 1}, headers=bearer(KEY), auth={"keys_path": str(keys)}, tenants=tenants)
    stack.router.stop()
    wait_until(lambda: ask(stack, BUSY).headers.get("x-route-reason") == "fallback", "the edge decides by itself")
    assert ask(stack, KEY).json["headers"]["x-ironrack-model"] == "tiny"
    assert assert_error(ask(stack, KEY, model="big"), 403, "edge")["code"] == "model_not_allowed"
    assert ask(stack, BUSY, model="big").status == 200


def test_form_of_a_key_with_a_list_waits_for_a_router(start: Start, tmp_path: Path) -> None:
    """The edge cannot read a form, so it cannot tell an adapter that the key may not use: come back soon."""
    keys = tmp_path / "keys.map"
    keys.write_text(line(KEY, "acme|0|0|") + line(BUSY, "busy|0|0|"))
    tenants = [{**TENANTS[0], "models": ["tiny"]}, TENANTS[2]]
    stack = start({"tiny": 1}, headers=bearer(KEY), auth={"keys_path": str(keys)}, tenants=tenants)
    stack.router.stop()
    wait_until(lambda: ask(stack, BUSY).headers.get("x-route-reason") == "fallback", "the edge decides by itself")
    unseen = call(stack.port, "POST", "/v1/audio/transcriptions", b"--x--", {**bearer(KEY), **FORM})
    assert assert_error(unseen, 503, "edge")["code"] == "model_not_seen"
    assert unseen.headers["retry-after"] == "1"


@pytest.mark.parametrize("headers", [bearer(KEY), {"x-api-key": KEY}], ids=["bearer", "x-api-key"])
def test_key_ends_at_the_edge(keyed: Stack, headers: dict[str, str]) -> None:
    """The engine gets its own key, never the client's; no log has either; the tenant's name is in the line."""
    answer = call(
        keyed.port, "POST", CHAT, b'{"model": "tiny", "messages": [{"role": "user", "content": "a"}]}', headers
    )
    heard = answer.json["headers"]
    assert heard["authorization"] == "Bearer engine-secret"
    assert "x-api-key" not in heard
    assert keyed.line(answer.headers["x-request-id"])["tenant"] == "acme"
    for log in (keyed.edge.log, keyed.router.log):
        assert not [secret for secret in (KEY, "engine-secret", "pepper") if secret in log.read_text()]


def test_cache_salt_is_the_tenants(keyed: Stack) -> None:
    """A tenant that asks for it has a salt of its own, whatever the client says; others have none."""
    answer = keyed.post(keyed.question(), x_ironrack_cache_salt="mine", **bearer(KEY))
    assert answer.json["headers"]["x-ironrack-cache-salt"] == "pepper"
    answer = keyed.post(keyed.question(), x_ironrack_cache_salt="mine", **bearer(BUSY))
    assert "x-ironrack-cache-salt" not in answer.json["headers"]


def test_rate_is_kept_to(keyed: Stack) -> None:
    """The fourth request of a minute is refused with a time to wait; refusals do not count against the key."""
    answers = [ask(keyed, SLOW) for _ in range(6)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429, 429]
    assert assert_error(answers[3], 429, "edge")["code"] == "tenant_rate"
    assert 1 <= int(answers[3].headers["retry-after"]) <= 60
    assert ask(keyed, KEY).status == 200


def test_concurrency_is_kept_to(keyed: Stack) -> None:
    """A third request at a time is refused, and taken again once one has ended."""
    before = keyed.total("requests")
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(ask, keyed, BUSY, delay=2) for _ in range(2)]
        wait_until(lambda: keyed.total("requests") == before + 2, "two requests are under way")
        refused = ask(keyed, BUSY)
        assert [future.result().status for future in waiting] == [200, 200]
    assert assert_error(refused, 429, "edge")["code"] == "tenant_concurrency"
    wait_until(lambda: ask(keyed, BUSY).status == 200, "there is room again")


def test_changed_keys_keep_streams(keyed: Stack) -> None:
    """A reload takes new keys and drops old ones, and a stream under way goes on."""
    before = keyed.total("requests")
    with ThreadPoolExecutor(1) as pool:
        stream = pool.submit(ask, keyed, KEY, chunks=8, gap=0.5)
        wait_until(lambda: keyed.total("requests") > before, "the stream is under way")
        Path(keyed.config["auth"]["keys_path"]).write_text(line("sk-new", "acme|0|0|"))
        assert keyed.edge.process
        keyed.edge.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: ask(keyed, "sk-new").status == 200, "the new key is known")
        wait_until(lambda: ask(keyed, KEY).status == 401, "the old key is not")
        assert not stream.done()
        assert stream.result().body.count(b"data:") == 8
