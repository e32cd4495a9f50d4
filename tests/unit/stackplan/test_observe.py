"""What observes the stack: whom it asks, whom it tells, and where its secrets are not."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import stackplan
from stackplan.compose import compose_project
from tests.unit.stackplan.stacks import fleet, intent, model, one_host, problems_of, services

TWO = [model(replicas=2), model(name="Org/Other", source="org/other", replicas=1)]
HASH = "$2y$10$" + "a" * 53
EVERYTHING: dict[str, Any] = {
    "login": {"username": "ops", "password_hash": HASH},
    "labels": {"site": "north"},
    "remote_write": [
        {"name": "store", "url": "https://store.example.org/api/v1/write", "token_secret": "store-token"},
        {"name": "other", "url": "http://10.1.1.1/write", "username": "us", "password_secret": "other-password"},
    ],
    "alerts": {
        "mail": {
            "to": ["a@example.org", "b@example.org"],
            "sender": "ironrack@example.org",
            "smarthost": "mail.example.org:587",
            "username": "ironrack",
            "password_secret": "mail-password",
        },
        "slack": {"url_secret": "slack-url", "channel": "#gpu-ops", "severities": ["critical"]},
        "webhooks": [{"name": "pager", "url": "https://pager.example.org/x", "token_secret": "pager-token"}],
        "watchdog": {"url": "https://switch.example.org/y"},
    },
}


def _config(observe: dict[str, Any] | None = None, file: str = "prometheus/prometheus.yml") -> Any:
    planned = stackplan.plan(intent(models=TWO, observe=observe or {}), one_host())
    return stackplan.observe_configs(planned, "box")[f"config/{file}"]


def _receivers(observe: dict[str, Any]) -> dict[str, Any]:
    config = _config(observe, "alertmanager/alertmanager.yml")
    return {receiver["name"]: receiver for receiver in config["receivers"]}


def test_prometheus_finds_every_service_of_the_plan() -> None:
    """One file of targets per kind of service; over loopback what is on its own host."""
    planned = stackplan.plan(intent(models=TWO), fleet())
    files = stackplan.observe_configs(planned, "edge-1")
    found = {
        Path(path).stem: sorted(target for static in statics for target in static["targets"])
        for path, statics in files.items()
        if "/targets/" in path
    }
    assert found == {
        "engines": ["10.0.0.3:8101", "10.0.0.3:8102", "10.0.0.4:8101"],
        "router": ["10.0.0.2:9902", "127.0.0.1:9902"],
        "haproxy": ["10.0.0.2:8405", "127.0.0.1:8405"],
        "node": ["10.0.0.2:9100", "10.0.0.3:9100", "10.0.0.4:9100", "127.0.0.1:9100"],
        "gpu": ["10.0.0.3:9400", "10.0.0.4:9400"],
        "grafana": [],
        "prometheus": ["127.0.0.1:9090"],
        "alertmanager": ["127.0.0.1:9093"],
    }


def test_each_job_reads_the_file_of_its_own_targets() -> None:
    """A fleet that changes changes files of targets, and Prometheus' own configuration stays as it is."""
    jobs = {job["job_name"]: job["file_sd_configs"][0]["files"] for job in _config()["scrape_configs"]}
    assert jobs == {job: [f"targets/{job}.yml"] for job in jobs}
    bigger = stackplan.plan(intent(models=[model(replicas=8)]), one_host())
    assert stackplan.observe_configs(bigger, "box")["config/prometheus/prometheus.yml"] == _config()


def test_engines_targets_carry_their_model() -> None:
    """Labels come from the plan: host, service and model."""
    files = stackplan.observe_configs(stackplan.plan(intent(), one_host()), "box")
    assert files["config/prometheus/targets/engines.yml"][0] == {
        "targets": ["127.0.0.1:8101"],
        "labels": {"host": "box", "service": "engine-qwen-0", "model": "qwen"},
    }


def test_every_job_is_bounded() -> None:
    """A target gone mad costs itself, not the disk: more than this and its scrape is dropped."""
    jobs = _config()["scrape_configs"]
    assert all(job["sample_limit"] and job["body_size_limit"] and job["label_limit"] for job in jobs)


@pytest.mark.parametrize(("every", "longest"), [(1, "1s"), (15, "10s"), (60, "10s")])
def test_a_scrape_ends_before_the_next_begins(every: int, longest: str) -> None:
    """Prometheus refuses a timeout longer than the interval."""
    found = _config({"scrape_interval_seconds": every})["global"]
    assert (found["scrape_interval"], found["scrape_timeout"]) == (f"{every}s", longest)


def test_hosts_that_do_not_observe_have_no_files() -> None:
    """An engine host has an exporter and nothing else."""
    planned = stackplan.plan(intent(), fleet())
    assert stackplan.observe_configs(planned, "gpu-1") == {}
    assert stackplan.observe_secrets(planned, "gpu-1")["paths"] == []


def test_without_a_receiver_alerts_are_kept_and_nobody_is_told() -> None:
    """The default sends nothing anywhere."""
    receivers = _receivers({})
    assert list(receivers) == ["kept"]
    assert list(receivers["kept"]) == ["name"]


def test_every_receiver_hears_what_it_asked_for() -> None:
    """All of them in one route tree, each with its own severities; the watchdog's alert reaches its own alone."""
    config = _config(EVERYTHING, "alertmanager/alertmanager.yml")
    watchdog, *routes = config["route"]["routes"]
    assert (watchdog["receiver"], watchdog["matchers"]) == ("watchdog", ['alertname="Watchdog"'])
    assert "continue" not in watchdog
    assert [(route["receiver"], route.get("matchers")) for route in routes] == [
        ("mail", None),
        ("slack", ['severity=~"critical"']),
        ("webhook-pager", None),
    ]
    assert all(route["continue"] for route in routes)


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        (["alertname=EngineFrozen", "severity=critical"], "mail,slack,webhook-pager"),
        (["alertname=KvCacheSaturated", "severity=warning"], "mail,webhook-pager"),
        (["alertname=Watchdog", "severity=none"], "watchdog"),
    ],
)
def test_alertmanager_itself_sends_each_alert_where_it_belongs(
    labels: list[str], receivers: str, tmp_path: Path
) -> None:
    """Its own tool says who would be told."""
    if not shutil.which("amtool"):
        pytest.skip("amtool is missing (scripts/bootstrap test installs it)")
    path = tmp_path / "alertmanager.yml"
    path.write_text(yaml.safe_dump(_config(EVERYTHING, "alertmanager/alertmanager.yml")))
    command = ["amtool", "config", "routes", "test", f"--config.file={path}", *labels]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == receivers


def test_what_is_superfluous_is_an_alert_that_exists() -> None:
    """An alert that was renamed would be inhibited no longer, and nobody would notice."""
    files = stackplan.observe_configs(stackplan.plan(intent(), one_host()), "box")
    rules = [
        rule for path, data in files.items() if "/rules/" in path for group in data["groups"] for rule in group["rules"]
    ]
    known = {rule["alert"] for rule in rules if "alert" in rule}
    named = json.dumps(files["config/alertmanager/alertmanager.yml"])
    assert set(re.findall(r'alertname!?=\\"([A-Za-z]+)', named)) <= known


def test_a_sign_of_life_is_due_before_its_turn() -> None:
    """Repetitions are looked at once per group interval: what is due a little later waits for the one after it."""
    route = _config(EVERYTHING, "alertmanager/alertmanager.yml")["route"]["routes"][0]
    assert (route["group_interval"], route["repeat_interval"]) == ("60s", "54000ms")
    assert _receivers(EVERYTHING)["watchdog"]["webhook_configs"][0]["send_resolved"] is False


def test_secrets_are_named_by_files_alone() -> None:
    """Plan, configurations and Compose file hold names; each service sees its own secrets and no other's."""
    planned = stackplan.plan(intent(observe=EVERYTHING), one_host())
    found = {each["service"]: each["secrets"] for each in stackplan.observe_secrets(planned, "box")["services"]}
    assert found == {
        "prometheus": ["other-password", "store-token", "web-password"],
        "alertmanager": ["mail-password", "pager-token", "slack-url"],
    }
    [slack] = _receivers(EVERYTHING)["slack"]["slack_configs"]
    assert slack["api_url_file"] == "/run/secrets/ironrack/slack-url"
    [prometheus] = services(planned, "prometheus")
    assert {"target": "/run/secrets/ironrack", "source": "/opt/ironrack/secrets/prometheus"}.items() <= next(
        mount for mount in prometheus["mounts"] if "secrets" in mount["source"]
    ).items()
    commands = json.dumps(compose_project(planned, "box")["services"])
    assert HASH not in commands
    assert "basic_auth_users" not in json.dumps(stackplan.observe_configs(planned, "box"))


def test_nothing_is_mounted_where_no_secret_is_named() -> None:
    """Docker would make the missing folder, and it would be root's."""
    planned = stackplan.plan(intent(), one_host())
    for kind in ("prometheus", "alertmanager"):
        assert not [mount for mount in services(planned, kind)[0]["mounts"] if "secrets" in mount["source"]]


def test_a_login_is_asked_for_and_known_where_needed() -> None:
    """Both pages ask; Prometheus logs in at itself and at Alertmanager; the health check needs no password."""
    planned = stackplan.plan(intent(observe=EVERYTHING), one_host())
    for kind in ("prometheus", "alertmanager"):
        [service] = services(planned, kind)
        assert "--web.config.file=/run/secrets/ironrack/web.yml" in service["command"]
        assert service["health"]["command"][0] == "CMD-SHELL"
    config = _config(EVERYTHING)
    login = {"username": "ops", "password_file": "/run/secrets/ironrack/web-password"}
    assert config["alerting"]["alertmanagers"][0]["basic_auth"] == login
    assert {job["job_name"] for job in config["scrape_configs"] if "basic_auth" in job} == {
        "prometheus",
        "alertmanager",
    }


def test_metrics_live_where_they_were_wanted() -> None:
    """A folder of the host, or a volume; retention by time and by size."""
    wanted = {"storage_directory": "/srv/metrics", "retention_days": 30, "retention_gib": 50}
    [prometheus] = services(stackplan.plan(intent(observe=wanted), one_host()), "prometheus")
    mounts = {mount["target"]: (mount["source"], mount["type"]) for mount in prometheus["mounts"]}
    assert mounts["/prometheus"] == ("/srv/metrics", "bind")
    assert {"--storage.tsdb.retention.time=30d", "--storage.tsdb.retention.size=50GB"} <= set(prometheus["command"])
    [prometheus] = services(stackplan.plan(intent(), one_host()), "prometheus")
    mounts = {mount["target"]: (mount["source"], mount["type"]) for mount in prometheus["mounts"]}
    assert mounts["/prometheus"] == ("prometheus", "volume")


def test_exporter_tells_what_others_wrote() -> None:
    """The folder of text files is mounted read-only."""
    [exporter] = services(stackplan.plan(intent(), one_host()), "node_exporter")
    [mount] = [mount for mount in exporter["mounts"] if mount["source"] == "/var/lib/ironrack/node-exporter"]
    assert mount["read_only"]
    assert f"--collector.textfile.directory={mount['target']}" in exporter["command"]


@pytest.mark.parametrize(
    ("observe", "found"),
    [
        ({"alerts": {"webhooks": [{"name": "a"}]}}, "webhooks[0].url: nothing was found"),
        ({"alerts": {"watchdog": {"url": "http://x/y", "url_secret": "z"}}}, "watchdog.url: both were found"),
        ({"alerts": {"webhooks": [{"name": "a", "url": "http://x"}] * 2}}, "webhooks[1].name: 'a' was found before"),
        ({"alerts": {"slack": {}}}, "slack.url_secret: nothing was found"),
        (
            {"alerts": {"mail": {"to": ["a@b"], "sender": "c@d", "smarthost": "m:25", "username": "u"}}},
            "'u' was found without password_secret",
        ),
        ({"remote_write": [{"name": "a", "url": "https://u:p@x/"}]}, "a URL with http or https and no password in it"),
        ({"login": {"username": "ops", "password_hash": "hunter2"}}, "a bcrypt hash"),
        ({"alertmanager_image": "prom/alertmanager:latest"}, "latest moves"),
    ],
)
def test_contradictions_are_said_and_secrets_are_not(observe: dict[str, Any], found: str) -> None:
    """One sentence for each mistake, and none of them repeats what may be a password."""
    [problem] = problems_of(observe=observe)
    assert found in problem
    assert "hunter2" not in problem
    assert "u:p@" not in problem


def test_both_programs_read_what_the_plan_writes(tmp_path: Path) -> None:
    """promtool and amtool accept everything at once."""
    if not (shutil.which("promtool") and shutil.which("amtool")):
        pytest.skip(
            "promtool or amtool is not installed (scripts/bootstrap test); a deployment runs them in their images"
        )
    planned = stackplan.plan(intent(models=TWO, observe=EVERYTHING), one_host())
    for path, data in stackplan.observe_configs(planned, "box").items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(yaml.safe_dump(data))
    web = stackplan.observe_secrets(planned, "box")["services"][0]["web"]
    (tmp_path / "web.yml").write_text(yaml.safe_dump(web))
    for command in (
        ["promtool", "check", "config", str(tmp_path / "config/prometheus/prometheus.yml")],
        ["promtool", "check", "web-config", str(tmp_path / "web.yml")],
        ["amtool", "check-config", str(tmp_path / "config/alertmanager/alertmanager.yml")],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
