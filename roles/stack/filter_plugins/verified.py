"""What `playbooks/verify.yml` found, as Ansible filters: alerts, failures and the summary as lines of text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

PARTS = ("compose", "router", "edge", "observe")
_WHERE = ("engine", "service", "router", "model", "gpu", "host")


def firing(alerts: Sequence[Mapping[str, Any]], severities: Sequence[str]) -> list[str]:
    """One line for each alert of these severities that fires: what, where, since when, which page says what to do."""
    loud = [a for a in alerts if a.get("state") == "firing" and a["labels"].get("severity", "") in severities]
    return sorted(_line(alert) for alert in loud)


def failure(result: Mapping[str, Any], host: str, part: str) -> str:
    """What a failed task of a part has to say: its own message, or those of the items that failed."""
    failed = [item for item in result.get("results", []) if item.get("failed")]
    found = [_said(item) for item in failed] or [_said(result)]
    text = "; ".join(dict.fromkeys(each.removeprefix(f"{host}: ") for each in found))
    return text if text.startswith(f"{part}: ") else f"{part}: {text}"


def summary(hostvars: Mapping[str, Mapping[str, Any]], hosts: Sequence[str]) -> list[str]:
    """One screen: for each host what every part found, then what is wrong."""
    lines = [line for host in hosts for line in _host(host, hostvars[host])]
    wrong = sum(len(hostvars[host].get("verify_problems", [])) for host in hosts)
    firing_now = {line for host in hosts for line in hostvars[host].get("observe_firing", [])}
    verdict = f"{wrong} to look at" if wrong else "everything works"
    return [*lines, *(f"fires: {line}" for line in sorted(firing_now)), f"all {len(hosts)} hosts: {verdict}"]


def _host(host: str, found: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{host}: {part}: {' '.join(str(found[key]).split())}" for part in PARTS if (key := f"{part}_verified") in found
    ]
    problems = [f"{host}: WRONG: {problem}" for problem in found.get("verify_problems", [])]
    return [*lines, *problems] or [f"{host}: nothing was asked"]


def _said(result: Mapping[str, Any]) -> str:
    where = f" ({result['url']})" if result.get("url") else ""
    return " ".join(str(result.get("msg") or result.get("stderr") or "failed without a word").split()) + where


def _line(alert: Mapping[str, Any]) -> str:
    labels, notes = alert["labels"], alert.get("annotations", {})
    where = " ".join(dict.fromkeys(labels[name] for name in _WHERE if labels.get(name)))
    since = str(alert.get("activeAt", ""))[:19]
    page = notes.get("runbook_url", "docs/runbooks")
    return (
        f"{labels.get('severity')} {labels.get('alertname')} {where} since {since}: {notes.get('summary', '')} ({page})"
    )


class FilterModule:
    """Filters of what was verified."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names as templates use them."""
        return {"stack_firing": firing, "stack_failure": failure, "stack_summary": summary}
