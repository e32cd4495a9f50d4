"""Alerts reach people: by mail, Slack and webhook, again when they are over, and the watchdog its own switch alone."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from tests.observe.live import Observing, observing
from tests.observe.sinks import Hooks, Mailbox, Toy, hooks, mailbox, toy
from tests.support.processes import wait_until

PASSWORD = "correct horse"  # and below its bcrypt hash with the least rounds
HASH = "$2b$04$zVHmKQtGGQob.b/Nc7l9NO62DDGswImlq.Eq1eQ4Q366fSs1vAyUa"


@dataclass
class Site:
    """Everything that an alert passes on its way."""

    live: Observing
    hooks: Hooks
    mailbox: Mailbox
    target: Toy


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Both programs with every receiver, and targets that are fine."""
    with ExitStack() as stack:
        heard, mails = stack.enter_context(hooks()), stack.enter_context(mailbox())
        # Two of one host: were one alone down, the host would be, and of that the host's own alert tells.
        target, other = stack.enter_context(toy()), stack.enter_context(toy())
        here = f"http://127.0.0.1:{heard.port}"
        settings: dict[str, Any] = {
            "alerts": {
                "group_wait_seconds": 0,
                "group_interval_seconds": 1,
                "mail": {
                    "to": ["ops@example.org"],
                    "sender": "ironrack@example.org",
                    "smarthost": f"127.0.0.1:{mails.port}",
                    "username": "ironrack",
                    "password_secret": "mail-password",
                    "require_tls": False,
                },
                "slack": {"url_secret": "slack-url", "channel": "#gpu-ops"},
                "webhooks": [
                    {"name": "pager", "url": f"{here}/pager", "token_secret": "pager-token"},
                    {"name": "critical", "url": f"{here}/critical", "severities": ["critical"]},
                ],
                "watchdog": {"url": f"{here}/watchdog", "every_seconds": 1},
            }
        }
        secrets = {"mail-password": "mail secret", "slack-url": f"{here}/slack", "pager-token": "pager secret"}
        live = stack.enter_context(observing(tmp_path, settings, secrets=secrets))
        live.targets("router", toy=target.address, other=other.address)
        live.start()
        yield Site(live, heard, mails, target)


def _statuses(site: Site, path: str) -> list[str]:
    return [
        body["status"]
        for body in site.hooks.at(path)
        if body["commonLabels"].get("alertname") == "TargetDown" and body["commonLabels"].get("service") == "toy"
    ]


def _mails(site: Site) -> list[Message]:
    return [mail for mail in site.mailbox.mails if "TargetDown" in str(mail["subject"])]


@pytest.mark.timeout(400)
def test_an_alert_reaches_everyone_and_so_does_its_end(site: Site) -> None:
    """A target that answers 500 is told by mail, Slack and webhook with its name; then that it is over."""
    wait_until(lambda: bool(site.hooks.at("/watchdog")), "the watchdog's switch hears a sign of life", 30)
    site.target.mode = "broken"
    wait_until(lambda: "firing" in _statuses(site, "/pager"), "the pager hears of the target", 30)
    wait_until(lambda: bool(_mails(site) and site.hooks.at("/slack")), "mail and Slack do, too", 15)
    site.target.mode = "fine"
    wait_until(lambda: _statuses(site, "/pager")[-1] == "resolved", "the pager hears that it is over", 30)
    wait_until(lambda: "Over" in str(_mails(site)[-1]["subject"]), "so does the mailbox", 15)
    _as_people_see_it(site)


def _as_people_see_it(site: Site) -> None:
    first = _mails(site)[0]
    assert (first["from"], first["to"]) == ("ironrack@example.org", "ops@example.org")
    assert "WARNING" in first["subject"]
    texts = [part.get_payload(decode=True) for part in first.walk() if not part.is_multipart()]
    assert [text for text in texts if b"toy" in text and b"target-down.md" in text]
    assert set(site.mailbox.logins) == {("ironrack", "mail secret")}
    attachments = [each for body in site.hooks.at("/slack") for each in body["attachments"]]
    assert [each for each in attachments if "TargetDown" in each["title"] and "toy" in each["text"]]
    assert {login for path, login, _ in site.hooks.heard if path == "/pager"} == {"Bearer pager secret"}
    assert not _statuses(site, "/critical"), "a warning went to who hears of what is critical alone"
    others = [body for path in ("/pager", "/slack") for body in site.hooks.at(path)]
    assert "Watchdog" not in json.dumps(others)
    assert {body["status"] for body in site.hooks.at("/watchdog")} == {"firing"}


def _post(live: Observing, *labels: dict[str, str]) -> None:
    body = json.dumps([{"labels": {"severity": "critical", **each}} for each in labels]).encode()
    url = f"http://127.0.0.1:{live.ports['alertmanager']}/api/v2/alerts"
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.status == 200


def _inhibited(live: Observing) -> set[tuple[str, str]]:
    alerts = live.get("alertmanager", "/api/v2/alerts?active=false&silenced=false&inhibited=true")
    return {(alert["labels"]["alertname"], alert["labels"]["host"]) for alert in alerts}


def test_a_host_that_is_gone_is_told_once(tmp_path: Path) -> None:
    """What is missing of a host follows from its loss; other hosts' alerts, and what watches, are told as ever."""
    with observing(tmp_path, {}) as live:
        live.alertmanager.start()
        wait_until(lambda: live.get("alertmanager", "/-/ready", text=True) is not None, "alertmanager answers", 30)
        _post(live, {"alertname": "HostDown", "host": "gpu-1"}, {"alertname": "EngineFrozen", "host": "gpu-1"})
        _post(live, {"alertname": "EngineFrozen", "host": "gpu-2"}, {"alertname": "HostDown", "host": "gpu-3"})
        wait_until(lambda: _inhibited(live) == {("EngineFrozen", "gpu-1")}, "one alert is inhibited", 15)


def test_samples_reach_another_store_with_its_token(tmp_path: Path) -> None:
    """Remote write sends them along, and its token comes from a file."""
    with hooks() as store:
        remote = {"name": "store", "url": f"http://127.0.0.1:{store.port}/write", "token_secret": "store-token"}
        with observing(tmp_path, {"remote_write": [remote]}, secrets={"store-token": "store secret"}) as live:
            live.targets("prometheus", prometheus=f"127.0.0.1:{live.ports['prometheus']}")
            live.prometheus.start()
            wait_until(lambda: bool(store.heard), "samples arrive", 40)
        path, login, body = store.heard[0]
        assert (path, login) == ("/write", "Bearer store secret")
        assert body["octets"] > 0


def test_with_a_login_nobody_else_looks_and_everything_works(tmp_path: Path) -> None:
    """Both pages ask for the password; Prometheus scrapes itself and Alertmanager, and hands its alerts over."""
    login = {"username": "ops", "password_hash": HASH}
    with observing(tmp_path, {"login": login}, secrets={"web-password": PASSWORD}) as live:
        for job in ("prometheus", "alertmanager"):
            live.targets(job, **{job: f"127.0.0.1:{live.ports[job]}"})
            getattr(live, job).start()
        known, wanted = ("ops", PASSWORD), {("prometheus", "1"), ("alertmanager", "1")}

        def up() -> bool:
            found = live.get("prometheus", "/api/v1/query?query=up", login=known)["data"]["result"]
            return {(each["metric"]["job"], each["value"][1]) for each in found} == wanted

        wait_until(up, "Prometheus reads both", 40)
        alerts = "/api/v2/alerts"
        wait_until(lambda: bool(live.get("alertmanager", alerts, login=known)), "an alert arrives", 30)
        for name in ("prometheus", "alertmanager"):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                live.get(name, "/-/ready")
