"""The status screen: numbers from where they should come, nothing invented, a clear word when there is nothing."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from observe.series import NAMES
from status import __main__ as command
from status.board import Board, board
from status.errors import StatusError
from status.places import Places, deployed
from status.screen import screen
from status.sources import _SERIES, RECORDED, look

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
BASE = "http://127.0.0.1:9090"
ENGINES = {"model": "tiny", "engine": "a"}, {"model": "tiny", "engine": "b"}
METRICS = """\
# TYPE ironrack_router_engine_state gauge
ironrack_router_engine_state{engine="a",model="tiny",state="ready"} 1
ironrack_router_engine_state{engine="a",model="tiny",state="ejected"} 0
# TYPE ironrack_router_engine_in_flight gauge
ironrack_router_engine_in_flight{engine="a",model="tiny"} 3
# TYPE ironrack_router_queue_requests gauge
ironrack_router_queue_requests{class="default"} 2
"""


def series(name: str, value: float | str, **labels: str) -> dict[str, Any]:
    return {"metric": {"__name__": f"ironrack:{name}", **labels}, "value": [0, str(value)]}


def recorded() -> list[dict[str, Any]]:
    a, b = ENGINES
    return [
        series("engine_state", 1, **a, state="ready"),
        series("engine_state", 0, **a, state="ejected"),
        series("engine_state", 1, **b, state="ejected"),
        series("engine_in_flight", 4, **a),
        series("engine_uncached_tokens", 1200, **a),
        series("engine_prefill_tokens_per_second", 8000, **a),
        series("engine_prefix_hit_ratio", 0.75, **a),
        series("engine_prefix_hit_ratio", "NaN", **b),
        series("engine_ttft_seconds:quantile", 0.12, **a, quantile="0.5"),
        series("engine_ttft_seconds:quantile", 1.5, **a, quantile="0.99"),
        series("model_engines", 2, model="tiny"),
        series("model_engines_available", 1, model="tiny"),
        series("model_requests:rate", 1.5, model="tiny", code="2xx"),
        series("model_requests:rate", 0.5, model="tiny", code="5xx"),
        series("queue_requests", 3, **{"class": "default"}),
        series("queue_capacity_requests", 1000),
        series("affinity_hit_ratio", 0.9),
        series("router_config_ok", 1, host="box", router="router"),
        series("edge_fallback_active", 0, host="box"),
    ]


def alert(name: str, severity: str, state: str = "firing", **labels: str) -> dict[str, Any]:
    notes = {"summary": f"{name} said so", "runbook_url": f"https://docs/{name}"}
    names = {"alertname": name, "severity": severity, **labels}
    return {"labels": names, "annotations": notes, "state": state, "activeAt": "2026-11-22T02:59:00Z"}


def target(service: str, health: str = "up", error: str = "") -> dict[str, Any]:
    return {"labels": {"service": service, "host": "box"}, "health": health, "lastError": error}


def prometheus(alerts: list[dict[str, Any]], targets: list[dict[str, Any]]) -> Callable[..., bytes]:
    """Prometheus' API as far as it is asked."""

    def get(url: str, login: str = "") -> bytes:
        path = url.removeprefix(BASE)
        if path.startswith("/api/v1/query?"):
            return json.dumps({"data": {"result": recorded()}}).encode()
        found = {"/api/v1/alerts": {"alerts": alerts}, "/api/v1/targets?state=active": {"activeTargets": targets}}
        return json.dumps({"data": found[path]}).encode()

    return get


def seen_with(alerts: list[dict[str, Any]] | None = None, targets: list[dict[str, Any]] | None = None) -> Board:
    return board(look(Places(BASE), prometheus(alerts or [], targets or [target("router")])), NOW)


def shown(found: Board) -> str:
    page = io.StringIO()
    Console(width=140, file=page).print(screen(found))
    return page.getvalue()


def test_numbers_come_from_the_recorded_series() -> None:
    """State, load, rate, hits and first tokens by engine; what is not a number is not known."""
    found = seen_with()
    first, second = found.engines
    assert (first.state, first.in_flight, first.uncached_tokens, first.prefill_tokens_per_second) == (
        "ready",
        4,
        1200,
        8000,
    )
    assert (first.prefix_hit_ratio, first.ttft_p50_seconds, first.ttft_p99_seconds) == (0.75, 0.12, 1.5)
    assert (second.state, second.in_flight, second.prefix_hit_ratio) == ("ejected", None, None)
    [model] = found.models
    assert (model.engines, model.available, model.requests_per_second) == (2, 1, 2.0)
    assert (found.queue_requests, found.queue_capacity_requests, found.affinity_hit_ratio) == (3, 1000, 0.9)
    assert (found.fallback_active, found.settings_in_force, found.problems) == (False, True, [])


def test_screen_says_quiet_only_when_it_is() -> None:
    """An alert, a target that is down: each is told first, with the page to open."""
    assert "all quiet" in shown(seen_with())
    loud = seen_with(
        [alert("EngineFlapping", "warning", engine="b"), alert("EngineFrozen", "critical", engine="b", host="box")],
        [target("router"), target("edge", "down", "connection refused")],
    )
    text = shown(loud)
    assert "3 to look at" in text
    assert text.index("EngineFrozen") < text.index("EngineFlapping") < text.index("engine  ")
    assert "https://docs/EngineFrozen" in text
    assert "edge box: connection refused" in text
    assert (loud.targets_up, len(loud.targets_down)) == (1, 1)


def test_alerts_that_want_nothing_are_not_told() -> None:
    """The dead man's switch always fires; what is pending does not fire yet."""
    found = seen_with([alert("Watchdog", "none"), alert("RebootRequired", "info"), alert("X", "critical", "pending")])
    assert found.alerts == []


def test_routers_are_asked_where_prometheus_is_away() -> None:
    """The screen of the bad night: no history, but every engine's state and load."""

    def get(url: str) -> bytes:
        if url.startswith(BASE):
            raise OSError("refused")
        return METRICS.encode()

    found = board(look(Places(BASE, {"router": "http://127.0.0.1:9902"}), get), NOW)
    [engine] = found.engines
    assert (engine.name, engine.state, engine.in_flight, engine.ttft_p50_seconds) == ("a", "ready", 3, None)
    assert (found.queue_requests, found.models[0].available) == (2, 1)
    assert "refused" in found.problems[0]
    assert "no history" in shown(found)


def test_everything_is_asked_in_one_query() -> None:
    """Two hundred engines must not cost two hundred questions every two seconds."""
    asked: list[str] = []
    answer = prometheus([], [])

    def get(url: str) -> bytes:
        asked.append(url)
        return answer(url)

    look(Places(BASE), get)
    assert len(asked) == 3
    assert RECORDED.count("engine_") == 1


def deploy(root: Path, services: dict[str, Any], scrape: dict[str, Any] | None = None) -> None:
    (root / "current").mkdir(parents=True)
    (root / "current" / "compose.yml").write_text(yaml.safe_dump({"services": services}))
    (root / "config" / "prometheus").mkdir(parents=True)
    jobs = [{"job_name": "engines"}, {"job_name": "prometheus", **(scrape or {})}]
    (root / "config" / "prometheus" / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": jobs}))


def test_places_are_those_of_the_release_in_use(tmp_path: Path) -> None:
    """Prometheus' address is its own flag, a router's is what it listens on; the login is Prometheus' own."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "web-password").write_text("hush\n")
    services = {
        "prometheus": {
            "command": ["--web.listen-address=0.0.0.0:9091"],
            "volumes": [f"{tmp_path}/secrets:/run/secrets/x:ro"],
        },
        "router-1": {"environment": {"IRONRACK_LISTEN": "spop=127.0.0.1:1 http=10.0.0.1:9912"}},
    }
    deploy(tmp_path, services, {"basic_auth": {"username": "ops", "password_file": "/run/secrets/x/web-password"}})
    found = deployed(tmp_path)
    assert (found.prometheus, dict(found.routers)) == ("http://127.0.0.1:9091", {"router-1": "http://10.0.0.1:9912"})
    assert found.login == "ops:hush"
    assert "hush" not in repr(found)


def test_host_with_nothing_to_ask_says_where_to_go(tmp_path: Path) -> None:
    """An engine host has neither; the message names what is there and what to do."""
    deploy(tmp_path, {"engine-tiny-0": {"command": []}})
    with pytest.raises(StatusError, match=r"engine-tiny-0.*--prometheus"):
        deployed(tmp_path)


def test_nothing_deployed_is_said_and_not_traced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line: what was looked for, what to run."""
    assert command.main(["--once", "--root", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "nothing is deployed on this host" in said.err
    assert "scripts/up" in said.err


def test_nobody_answering_is_said_and_not_traced(capsys: pytest.CaptureFixture[str]) -> None:
    """A Prometheus that is not there."""
    assert command.main(["--json", "--prometheus", "http://127.0.0.1:9"]) == 2
    assert "Prometheus at http://127.0.0.1:9" in capsys.readouterr().err


def test_json_is_the_board(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """For scripts: the same numbers by their names; exit status 1 when something is wrong."""
    firing = prometheus([alert("EngineFrozen", "critical", engine="b")], [target("router")])
    monkeypatch.setattr(command, "look", lambda places: look(places, firing))
    assert command.main(["--json", "--prometheus", BASE]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["engines"][0]["uncached_tokens"] == 1200
    assert said["alerts"][0]["runbook"] == "https://docs/EngineFrozen"


def test_every_series_that_is_asked_for_is_recorded() -> None:
    """A series that is renamed would leave a column empty for ever: its name is checked against the one list."""
    pattern = re.compile(RECORDED.partition('"')[2].rpartition('"')[0])
    asked = {name for name in NAMES if pattern.fullmatch(name)}
    wanted = [f"ironrack:{name}" for group in _SERIES for name in spelled(group)]
    assert set(wanted) == asked


def spelled(group: str) -> list[str]:
    """`a_(b|c)` as `a_b` and `a_c`."""
    start, _, rest = group.partition("(")
    return [start + end for end in rest.rstrip(")").split("|")] if rest else [start]
