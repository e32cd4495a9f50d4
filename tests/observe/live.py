"""A real Prometheus and a real Alertmanager as processes, with the files and command lines of a plan.

Only what makes waiting long is shortened: rules are evaluated every second, wait no longer than that before they
fire, and are told again every second.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

import stackplan
from stackplan.observe_services import SECRETS
from tests.support.processes import Child, free_ports, wait_until

PROGRAMS = {"prometheus": ("prometheus",), "alertmanager": ("prometheus-alertmanager", "alertmanager")}
MODELS = [{"name": "sim", "source": "/simulated", "replicas": 1, "gpus_per_replica": 0}]
HOSTS = [{"name": "lab", "address": "127.0.0.1", "groups": ["edge", "engines", "observe"], "gpus": 0}]
# Seconds after which the newest sample counts as too old; a plan says more than a minute.
OLD_SECONDS = 5


@dataclass
class Observing:
    """Both programs in one folder. `storage` is where Prometheus keeps its metrics."""

    folder: Path
    settings: Mapping[str, Any]
    secrets: Mapping[str, str] = field(default_factory=dict)
    storage: Path | None = None

    def __post_init__(self) -> None:
        ports = free_ports(2)
        self.ports = dict(zip(PROGRAMS, ports, strict=True))
        observe = {
            "scrape_interval_seconds": 1,
            **{f"{name}_port": port for name, port in self.ports.items()},
            **self.settings,
        }
        self.plan = stackplan.plan(
            {"models": MODELS, "engines": {"device": "cpu"}, "observe": observe}, HOSTS, str(self.folder)
        )
        self.storage = self.storage or self.folder / "prometheus"
        self._write()
        self.prometheus, self.alertmanager = (self._child(name) for name in PROGRAMS)

    def _write(self) -> None:
        for path, data in stackplan.observe_configs(self.plan, "lab").items():
            content = hurried(data) if "/rules/" in path else data
            # Nobody is there of whom the plan speaks: tests say whom to ask.
            content = [] if "/targets/" in path else content
            self._file(path, yaml.safe_dump(content))
        for service in stackplan.observe_secrets(self.plan, "lab")["services"]:
            for name in service["secrets"]:
                self._file(f"secrets/{service['service']}/{name}", self.secrets[name])
            self._file(f"secrets/{service['service']}/web.yml", yaml.safe_dump(service["web"]))

    def _file(self, path: str, text: str) -> None:
        name = Path(path).parts[1]
        where = self.folder / path
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(text.replace(SECRETS, str(self.folder / "secrets" / name)))

    def _child(self, name: str) -> Child:
        service = next(each for each in self.plan["services"] if each["kind"] == name)
        inside = {
            f"/etc/{name}": str(self.folder / "config" / name),
            SECRETS: str(self.folder / "secrets" / name),
            "path=/prometheus": f"path={self.storage}",
            "path=/alertmanager": f"path={self.folder / name}",
        }
        command = list(service["command"])
        for old, new in inside.items():
            command = [word.replace(old, new) for word in command]
        told = ["--rules.alert.resend-delay=1s"] if name == "prometheus" else []
        return Child([program(name), *command, *told], self.folder / f"{name}.log")

    def targets(self, job: str, **urls: str) -> None:
        """Have these scraped from now on: the whole list, by the name of the service."""
        listed = [{"targets": [url], "labels": {"host": "lab", "service": name}} for name, url in urls.items()]
        path = self.folder / "config" / "prometheus" / "targets" / f"{job}.yml"
        fresh = path.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(listed))
        fresh.replace(path)

    def start(self) -> None:
        """Start both and wait until they answer."""
        for name, child in (("alertmanager", self.alertmanager), ("prometheus", self.prometheus)):
            child.start()
            wait_until(partial(self._answers, name), f"{name} answers", 40)

    def _answers(self, name: str) -> bool:
        return bool(self.get(name, "/-/ready", text=True))

    def stop(self) -> None:
        """End both, whatever state they are in."""
        for child in (self.prometheus, self.alertmanager):
            child.stop()

    def get(self, name: str, path: str, text: bool = False, login: tuple[str, str] | None = None) -> Any:
        """What one of them answers."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[name]}{path}")
        if login:
            request.add_header("authorization", f"Basic {base64.b64encode(':'.join(login).encode()).decode()}")
        with urllib.request.urlopen(request, timeout=5) as answer:
            body = answer.read().decode()
        return body if text else json.loads(body)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Prometheus' answer to an instant query."""
        path = f"/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        found: list[dict[str, Any]] = self.get("prometheus", path)["data"]["result"]
        return found

    def firing(self) -> set[tuple[str, str]]:
        """Alert and service of everything that Alertmanager was told of and that is not over."""
        alerts = self.get("alertmanager", "/api/v2/alerts?active=true")
        return {(alert["labels"]["alertname"], alert["labels"].get("service", "")) for alert in alerts}


def program(name: str) -> str:
    """The installed program, or a skipped test that says where it does run."""
    found = next(filter(None, map(shutil.which, PROGRAMS[name])), None)
    if found is None:
        pytest.skip(f"{name} is not installed: scripts/bootstrap test installs it, and scripts/test does that")
    return found


def hurried(rules: Mapping[str, Any]) -> dict[str, Any]:
    """The same rules, impatient."""
    groups = []
    for group in rules["groups"]:
        found = [{**rule, **({"for": "1s"} if "for" in rule else {})} for rule in group["rules"]]
        for rule in found:
            rule.pop("keep_firing_for", None)
            if rule.get("alert") == "PrometheusNotStoring":
                rule["expr"] = re.sub(r"(timestamp\(.*?\)\)) > \d+", rf"\1 > {OLD_SECONDS}", rule["expr"])
        groups.append({**group, "interval": "1s", "rules": found})
    return {"groups": groups}


@contextmanager
def observing(folder: Path, settings: Mapping[str, Any], **more: Any) -> Iterator[Observing]:
    """Both programs, written; the test starts them. They are gone after the block."""
    found = Observing(folder, settings, **more)
    try:
        yield found
    finally:
        found.stop()
