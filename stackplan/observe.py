"""What Prometheus and Alertmanager read: every target of the plan, and of a secret only its file's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from observe.rules import rule_files
from stackplan.alerts import alertmanager_config
from stackplan.configs import backend
from stackplan.grafana import grafana_files, grafana_secrets
from stackplan.observe_services import NOBODY, SECRETS, alertmanager_secrets, prometheus_secrets
from stackplan.observe_settings import Observe

Plan = Mapping[str, Any]

# Job by job: the kind of service it scrapes, and the port that has the metrics.
JOBS = {
    "engines": ("engine", "http"),
    "router": ("router", "http"),
    "haproxy": ("edge", "metrics"),
    "node": ("node_exporter", "http"),
    "gpu": ("gpu_exporter", "http"),
    "grafana": ("grafana", "http"),
    "prometheus": ("prometheus", "http"),
    "alertmanager": ("alertmanager", "http"),
}
_OWN = ("prometheus", "alertmanager")  # seen by the Prometheus of their own host alone, over loopback
# What one scrape may bring: beyond it the whole scrape is dropped, and the target counts as down.
_MOST = {"body_size_limit": "32MB", "sample_limit": 50_000, "label_limit": 64, "label_value_length_limit": 2048}
_LONGEST_SCRAPE_SECONDS = 10


def observe_configs(plan: Plan, host: str) -> dict[str, Any]:
    """Every file of Prometheus, Alertmanager and Grafana on this host as data, by its path below the release."""
    if not _of(plan, host, "prometheus"):
        return {}
    files: dict[str, Any] = {"config/prometheus/prometheus.yml": prometheus_config(plan, host)}
    for job, targets in prometheus_targets(plan, host).items():
        files[f"config/prometheus/targets/{job}.yml"] = targets
    for name, rules in rule_files(plan, _backends(plan)).items():
        files[f"config/prometheus/rules/{name}"] = rules
    return {
        **files,
        "config/alertmanager/alertmanager.yml": alertmanager_config(plan),
        **grafana_files(plan, host),
    }


def _backends(plan: Plan) -> dict[str, str]:
    return {model["name"]: backend(model) for model in plan["settings"]["models"]}


def prometheus_config(plan: Plan, host: str) -> dict[str, Any]:
    """prometheus.yml: one job per kind of service. Who is scraped stands in the files of `prometheus_targets`."""
    mine = plan["settings"]["observe"]
    every = mine["scrape_interval_seconds"]
    return {
        "global": {
            "scrape_interval": f"{every}s",
            "scrape_timeout": f"{min(every, _LONGEST_SCRAPE_SECONDS)}s",
            "evaluation_interval": f"{every}s",
            **({"external_labels": mine["labels"]} if mine["labels"] else {}),
        },
        "rule_files": ["rules/*.yml"],
        "alerting": {"alertmanagers": [{**_login(mine), "static_configs": _targets(plan, host, "alertmanager")}]},
        "scrape_configs": [_job(mine, job) for job in JOBS],
        **({"remote_write": [_remote(each) for each in mine["remote_write"]]} if mine["remote_write"] else {}),
    }


def prometheus_targets(plan: Plan, host: str) -> dict[str, list[dict[str, Any]]]:
    """Whom each job scrapes. Prometheus reads the whole list again whenever a file changes: no event can be missed."""
    return {job: _targets(plan, host, job) for job in JOBS}


def observe_secrets(plan: Plan, host: str) -> dict[str, Any]:
    """What only Prometheus and Alertmanager may read: `owner` (a user's number) and `services`, one entry each.

    An entry has `service`, its `directory`, the `secrets` to put there by name, and `web` (the content of web.yml, or
    nothing). `paths`: every file that will be there.
    """
    mine = Observe.model_validate(plan["settings"]["observe"])
    web = {"basic_auth_users": {mine.login.username: mine.login.password_hash}} if mine.login else {}
    wanted = {
        "prometheus": (prometheus_secrets(mine), web),
        "alertmanager": (alertmanager_secrets(mine), web),
        "grafana": (grafana_secrets(mine), {}),
    }
    services = [
        {"service": name, "directory": f"{plan['root']}/secrets/{name}", "secrets": secrets, "web": pages}
        for name, (secrets, pages) in wanted.items()
        if (secrets or pages) and _of(plan, host, name)
    ]
    files = [(each["directory"], [*each["secrets"], *(["web.yml"] if each["web"] else [])]) for each in services]
    return {
        "owner": NOBODY,
        "services": services,
        "paths": [f"{directory}/{name}" for directory, names in files for name in names],
    }


def _job(mine: Mapping[str, Any], job: str) -> dict[str, Any]:
    return {
        "job_name": job,
        **(_login(mine) if job in _OWN else {}),
        **_MOST,
        "file_sd_configs": [{"files": [f"targets/{job}.yml"], "refresh_interval": "30s"}],
    }


def _targets(plan: Plan, host: str, job: str) -> list[dict[str, Any]]:
    kind, port = JOBS[job]
    services = [s for s in plan["services"] if s["kind"] == kind and (job not in _OWN or s["host"] == host)]
    return [_target(service, port) for service in services]


def _target(service: Mapping[str, Any], port: str) -> dict[str, Any]:
    labels = {"host": service["host"], "service": service["name"]}
    named = {**labels, "model": service["model"]} if service["model"] else labels
    found = next(listen for listen in service["ports"] if listen["name"] == port)
    return {"targets": [f"{_dialable(found['address'])}:{found['port']}"], "labels": named}


def _dialable(address: str) -> str:
    return "127.0.0.1" if address == "0.0.0.0" else address


def _login(mine: Mapping[str, Any]) -> dict[str, Any]:
    login = mine["login"]
    if not login:
        return {}
    return {"basic_auth": {"username": login["username"], "password_file": f"{SECRETS}/{login['password_secret']}"}}


def _remote(each: Mapping[str, Any]) -> dict[str, Any]:
    """A store that is away costs memory up to the queue's size, and what the write-ahead log still holds."""
    login: dict[str, Any] = {}
    if each["token_secret"]:
        login = {"authorization": {"credentials_file": f"{SECRETS}/{each['token_secret']}"}}
    elif each["username"]:
        login = {"basic_auth": {"username": each["username"], "password_file": f"{SECRETS}/{each['password_secret']}"}}
    queue = {"capacity": 10_000, "max_shards": 10, "max_samples_per_send": 2_000}
    return {"name": each["name"], "url": each["url"], **login, "queue_config": queue}


def _of(plan: Plan, host: str, kind: str) -> list[Mapping[str, Any]]:
    return [service for service in plan["services"] if service["kind"] == kind and service["host"] == host]
