"""alertmanager.yml: who is told what, how often, and what one alert says in place of many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stackplan.observe_services import SECRETS

Plan = Mapping[str, Any]

KEPT = "kept"  # the receiver that tells nobody: alerts are seen in Alertmanager's own pages
WATCHDOG = "Watchdog"  # the alert that always fires
HOST_DOWN = "HostDown"
_GROUP = ["alertname", "host", "model"]
# The worse alert, the one that it makes superfluous, and what both must be about.
_WORSE = (
    ("ErrorBudgetBurningFast", "ErrorBudgetBurningSlowly", ["model", "slo"]),
    ("DiskFull", "DiskFilling", ["host", "mountpoint"]),
)
_TITLE = (
    '{{ if eq .Status "resolved" }}Over{{ else }}{{ .CommonLabels.severity | toUpper }}{{ end }}: '
    "{{ .CommonLabels.alertname }}{{ with .CommonLabels.model }} {{ . }}{{ end }}"
    "{{ with .CommonLabels.host }} on {{ . }}{{ end }}"
)
_TEXT = (
    "{{ range .Alerts }}{{ .Annotations.summary }}\n"
    "{{ with .Annotations.description }}{{ . }}\n{{ end }}"
    "{{ with .Annotations.runbook_url }}What to do: {{ . }}\n{{ end }}"
    'Since {{ .StartsAt.Format "2006-01-02 15:04:05 MST" }}'
    '{{ if eq .Status "resolved" }}, over since {{ .EndsAt.Format "15:04:05 MST" }}{{ end }}\n\n{{ end }}'
)


def alertmanager_config(plan: Plan) -> dict[str, Any]:
    """Without a receiver every alert is kept and shown, and nobody is told."""
    told = plan["settings"]["observe"]["alerts"]
    receivers = [*_mail(told["mail"]), *_slack(told["slack"]), *(_webhook(hook) for hook in told["webhooks"])]
    watchdog = _watchdog(told["watchdog"])
    return {
        "global": {"resolve_timeout": "5m"},
        "route": {
            "receiver": KEPT,
            "group_by": _GROUP,
            "group_wait": f"{told['group_wait_seconds']}s",
            "group_interval": f"{told['group_interval_seconds']}s",
            "repeat_interval": f"{told['repeat_hours']}h",
            "routes": [_to_watchdog(told["watchdog"]), *(_route(*receiver) for receiver in receivers)],
        },
        "inhibit_rules": _inhibitions(),
        "receivers": [{"name": KEPT}, *watchdog, *(found for found, _ in receivers)],
    }


def _to_watchdog(watchdog: Mapping[str, Any] | None) -> dict[str, Any]:
    """The alert that always fires goes to whoever misses it when it stops, and to nobody else."""
    route: dict[str, Any] = {"receiver": KEPT, "matchers": [f'alertname="{WATCHDOG}"']}
    if not watchdog:
        return route
    every = watchdog["every_seconds"]
    # A repetition is due only at a group's next turn: it must be due a little earlier, or every second one is left out.
    times = {"group_wait": "0s", "group_interval": f"{every}s", "repeat_interval": f"{every * 900}ms"}
    return {**route, "receiver": "watchdog", **times}


def _route(receiver: Mapping[str, Any], severities: list[str]) -> dict[str, Any]:
    """To everyone who wants this severity: the tree goes on after a match."""
    matchers = {"matchers": [f'severity=~"{"|".join(severities)}"']} if severities else {}
    return {"receiver": receiver["name"], **matchers, "continue": True}


def _inhibitions() -> list[dict[str, Any]]:
    """A host that is gone explains all that is missing of it; what is said at its worst need not be said mildly."""
    return [
        {
            "source_matchers": [f'alertname="{HOST_DOWN}"'],
            "target_matchers": [f'alertname!="{HOST_DOWN}"', 'severity=~"critical|warning|info"'],
            "equal": ["host"],
        },
        *(
            {"source_matchers": [f'alertname="{worse}"'], "target_matchers": [f'alertname="{mild}"'], "equal": same}
            for worse, mild, same in _WORSE
        ),
    ]


def _mail(mail: Mapping[str, Any] | None) -> list[tuple[dict[str, Any], list[str]]]:
    if not mail:
        return []
    login = {"auth_username": mail["username"], "auth_password_file": _secret(mail["password_secret"])}
    config = {
        "to": ", ".join(mail["to"]),
        "from": mail["sender"],
        "smarthost": mail["smarthost"],
        "require_tls": mail["require_tls"],
        **(login if mail["username"] else {}),
        "headers": {"subject": f"[ironrack] {_TITLE}"},
        "html": "",
        "text": _TEXT,
        "send_resolved": True,
    }
    return [({"name": "mail", "email_configs": [config]}, mail["severities"])]


def _slack(slack: Mapping[str, Any] | None) -> list[tuple[dict[str, Any], list[str]]]:
    if not slack:
        return []
    config = {
        "api_url_file": _secret(slack["url_secret"]),
        **({"channel": slack["channel"]} if slack["channel"] else {}),
        "title": _TITLE,
        "text": _TEXT,
        "send_resolved": True,
    }
    return [({"name": "slack", "slack_configs": [config]}, slack["severities"])]


def _webhook(hook: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    config = {**_hook(hook), "send_resolved": True}
    return {"name": f"webhook-{hook['name']}", "webhook_configs": [config]}, hook["severities"]


def _watchdog(watchdog: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    # That it ended must not look like one more sign of life.
    return [{"name": "watchdog", "webhook_configs": [{**_hook(watchdog), "send_resolved": False}]}] if watchdog else []


def _hook(hook: Mapping[str, Any]) -> dict[str, Any]:
    where = {"url": hook["url"]} if hook["url"] else {"url_file": _secret(hook["url_secret"])}
    token = hook["token_secret"]
    return where | ({"http_config": {"authorization": {"credentials_file": _secret(token)}}} if token else {})


def _secret(name: str) -> str:
    return f"{SECRETS}/{name}"
