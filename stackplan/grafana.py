"""Grafana, where it is wanted: its container, what it is provisioned with, and what stands against it.

Alert rules stay Prometheus': Grafana only shows. It asks the Prometheus of its own host.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stackplan import images
from stackplan.ground import reachable, wget
from stackplan.model import LOOPBACK, Health, Host, Listen, Mount, Service
from stackplan.observe_services import NOBODY, SECRETS
from stackplan.observe_settings import Observe
from stackplan.settings import Settings

PROVISIONING = "/etc/grafana/provisioning"
BOARDS = ("fleet", "engine", "router", "edge", "gpu", "capacity", "runbooks")
FOLDER = "Ironrack"
_OFFLOAD_FLAGS = ("--kv-offloading-size", "--kv-transfer-config")

Plan = Mapping[str, Any]


def grafanas(settings: Settings, hosts: Sequence[Host], root: str) -> list[Service]:
    """One Grafana beside each Prometheus, if any is wanted."""
    return [_grafana(settings, host, root) for host in hosts] if settings.observe.grafana.enabled else []


def _grafana(settings: Settings, host: Host, root: str) -> Service:
    mine = settings.observe.grafana
    address = mine.address or LOOPBACK
    url = f"http://{reachable(address)}:{mine.port}/api/health"
    secrets = [Mount(SECRETS, f"{root}/secrets/grafana")] if grafana_secrets(settings.observe) else []
    return Service(
        name="grafana",
        kind="grafana",
        host=host.name,
        address=address,
        image=mine.image,
        command=[],
        env={**_environment(settings, address), **_login(settings)},
        ports=[Listen("http", address, mine.port)],
        mounts=[
            Mount(PROVISIONING, f"{root}/config/grafana"),
            Mount("/var/lib/grafana", "grafana", "volume", read_only=False),
            Mount("/tmp", type="tmpfs", read_only=False),
            *secrets,
        ],
        health=Health(wget(url), url, 15, 5, 3, 120),
        stop_grace_seconds=30,
        # The image's folders are open to any user; this one's secrets are put where it alone reads them.
        user=f"{NOBODY}:{NOBODY}",
        cap_drop=("ALL",),
        read_only=True,
    )


def _environment(settings: Settings, address: str) -> dict[str, str]:
    """Settings that need a restart stand here: a change makes another container, files are read while it runs."""
    observe = settings.observe
    prometheus = f"http://{reachable(observe.prometheus_address or LOOPBACK)}:{observe.prometheus_port}"
    return {
        "IRONRACK_PROMETHEUS_URL": prometheus,
        "IRONRACK_SCRAPE_INTERVAL": f"{observe.scrape_interval_seconds}s",
        "GF_SERVER_HTTP_ADDR": address,
        "GF_SERVER_HTTP_PORT": str(observe.grafana.port),
        "GF_PATHS_PROVISIONING": PROVISIONING,
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": f"{PROVISIONING}/boards/ironrack-fleet.json",
        "GF_LOG_MODE": "console",
        # Nothing here calls home, and nothing waits for an address that an air-gapped host cannot reach.
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
        "GF_NEWS_NEWS_FEED_ENABLED": "false",
        "GF_PLUGINS_PREINSTALL_DISABLED": "true",
        "GF_PLUGINS_PLUGIN_ADMIN_ENABLED": "false",
        "GF_UNIFIED_ALERTING_ENABLED": "false",
        "GF_METRICS_ENABLED": "true",
        "GF_USERS_ALLOW_SIGN_UP": "false",
        "GF_SECURITY_DISABLE_GRAVATAR": "true",
        "GF_AUTH_ANONYMOUS_ENABLED": "true" if observe.grafana.anonymous_viewer else "false",
        "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
    }


def _login(settings: Settings) -> dict[str, str]:
    """The administrator's password comes from a file; without one there is no administrator to guess at."""
    if password := settings.observe.grafana.admin_password_secret:
        return {"GF_SECURITY_ADMIN_PASSWORD__FILE": f"{SECRETS}/{password}"}
    return {"GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION": "true"}


def grafana_secrets(mine: Observe) -> list[str]:
    """The names of the secrets that Grafana reads, each once: its administrator's, and what Prometheus asks for."""
    if not mine.grafana.enabled:
        return []
    login = [mine.login.password_secret] if mine.login else []
    return sorted({*login, *([mine.grafana.admin_password_secret] if mine.grafana.admin_password_secret else [])})


def grafana_files(plan: Plan, host: str) -> dict[str, Any]:
    """What Grafana reads at its start as data, by path below the release; nothing where there is none."""
    if not any(service["kind"] == "grafana" and service["host"] == host for service in plan["services"]):
        return {}
    source = {
        "name": "Prometheus",
        "uid": "ironrack-prometheus",
        "type": "prometheus",
        "access": "proxy",
        "url": "$IRONRACK_PROMETHEUS_URL",
        "isDefault": True,
        "editable": False,
        **_login_at_prometheus(plan["settings"]["observe"]["login"]),
        "jsonData": {"timeInterval": "$IRONRACK_SCRAPE_INTERVAL", "httpMethod": "POST", "manageAlerts": False},
    }
    provider = {
        "name": "ironrack",
        "folder": FOLDER,
        "type": "file",
        "disableDeletion": True,
        "allowUiUpdates": False,
        "updateIntervalSeconds": 30,
        "options": {"path": f"{PROVISIONING}/boards"},
    }
    return {
        "config/grafana/datasources/ironrack.yml": {"apiVersion": 1, "prune": True, "datasources": [source]},
        "config/grafana/dashboards/ironrack.yml": {"apiVersion": 1, "providers": [provider]},
    }


def _login_at_prometheus(login: Mapping[str, Any] | None) -> dict[str, Any]:
    if not login:
        return {}
    password = {"basicAuthPassword": f"$__file{{{SECRETS}/{login['password_secret']}}}"}
    return {"basicAuth": True, "basicAuthUser": login["username"], "secureJsonData": password}


def grafana_boards(plan: Plan, host: str) -> dict[str, str]:
    """The dashboards' files by the path they are deployed to, below the project's folder.

    With KV offload on, the variant of a dashboard that has its panels.
    """
    if not grafana_files(plan, host):
        return {}
    sources = {name: f"ironrack-{name}.json" for name in BOARDS}
    if offloads(plan):
        sources["engine"] = "ironrack-engine.kv-offload.json"
    return {f"config/grafana/boards/ironrack-{name}.json": source for name, source in sources.items()}


def offloads(plan: Plan) -> bool:
    """Whether any engine moves KV blocks to memory or elsewhere when its GPU has no room for them."""
    settings = plan["settings"]
    arguments = [*settings["engines"]["args"], *(arg for model in settings["models"] for arg in model["engine_args"])]
    return any(arg.split("=")[0] in _OFFLOAD_FLAGS for arg in arguments)


def grafana_problems(settings: Settings) -> Iterator[str]:
    """A Grafana that nobody could look at, or whose image may change."""
    mine, where = settings.observe.grafana, "stack_observe.grafana"
    if not mine.enabled:
        return
    if not (mine.admin_password_secret or mine.anonymous_viewer):
        yield (
            f"{where}: neither admin_password_secret nor anonymous_viewer was found: nobody could look at it; "
            "name a secret that observe_secrets holds in the vault, or let everyone look with anonymous_viewer"
        )
    if reason := images.trouble(mine.image):
        yield f"{where}.image: {mine.image!r} was found, {reason}: allowed is name:tag or name@sha256:…; pin it"
