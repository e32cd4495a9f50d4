"""The section `stack_observe`: what is measured, kept and told. A secret is named here and lies in the vault."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from stackplan import fields, images
from stackplan.fields import AbsolutePath, Address, Count, Name, Port, Seconds, Section
from stackplan.slo_settings import Slo

Secret = Annotated[str, Field(pattern=fields.SECRET)]
Url = Annotated[str, Field(pattern=fields.URL)]
MailAddress = Annotated[str, Field(pattern=fields.MAIL)]
Severities = list[Literal["critical", "warning", "info"]]


class Mail(Section):
    """Alerts by mail."""

    to: Annotated[list[MailAddress], Field(min_length=1)]
    sender: MailAddress
    smarthost: Annotated[str, Field(pattern=fields.ENDPOINT)]
    username: str = ""
    password_secret: Secret | None = None
    require_tls: bool = True
    severities: Severities = []


class Slack(Section):
    """Alerts in a Slack channel; the address of its incoming webhook is the secret."""

    url_secret: Secret
    channel: str = ""
    severities: Severities = []


class Webhook(Section):
    """Alerts as JSON to whoever listens: the address in the open, or as a secret."""

    name: Secret
    url: Url | None = None
    url_secret: Secret | None = None
    token_secret: Secret | None = None
    severities: Severities = []


class Watchdog(Section):
    """Who is told all the time that alerting works, and sounds the alarm when that stops."""

    url: Url | None = None
    url_secret: Secret | None = None
    token_secret: Secret | None = None
    every_seconds: Seconds = 60


class Alerts(Section):
    """Who is told of alerts, and how often."""

    mail: Mail | None = None
    slack: Slack | None = None
    webhooks: Annotated[list[Webhook], Field(max_length=16)] = []
    watchdog: Watchdog | None = None
    group_wait_seconds: Annotated[int, Field(ge=0, le=3600)] = 15
    group_interval_seconds: Seconds = 300
    repeat_hours: Annotated[int, Field(ge=1, le=168)] = 4


class RemoteWrite(Section):
    """Another store that gets every sample as well."""

    name: Secret
    url: Url
    username: str = ""
    password_secret: Secret | None = None
    token_secret: Secret | None = None


class Login(Section):
    """Name and password that Prometheus and Alertmanager ask everyone for."""

    username: Name
    password_hash: Annotated[str, Field(pattern=fields.BCRYPT)]
    password_secret: Secret = "web-password"


class Grafana(Section):
    """Dashboards in a browser; off unless asked for."""

    enabled: bool = False
    image: str = images.GRAFANA
    address: Address | None = None
    port: Port = 3000
    admin_password_secret: Secret | None = None
    anonymous_viewer: bool = False


def _target(text: str) -> str:
    url = urlsplit(text)
    if url.scheme not in {"http", "https"} or not url.hostname or not url.path.strip("/") or "@" in url.netloc:
        raise ValueError("an address such as http://10.0.0.9:4318/v1/traces")
    return text


class Traces(Section):
    """OpenTelemetry over OTLP with HTTP; without an endpoint there are none. `ratio`: of requests without a trace."""

    endpoint: Annotated[str, AfterValidator(_target)] | None = None
    ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    engines: bool = True


class Observe(Section):
    """Prometheus, Alertmanager and the host's exporters."""

    prometheus_image: str = images.PROMETHEUS
    alertmanager_image: str = images.ALERTMANAGER
    node_exporter_image: str = images.NODE_EXPORTER
    gpu_exporter_image: str = images.GPU_EXPORTER
    prometheus_address: Address | None = None
    prometheus_port: Port = 9090
    prometheus_url: Url | None = None
    alertmanager_address: Address | None = None
    alertmanager_port: Port = 9093
    alertmanager_url: Url | None = None
    node_exporter_port: Port = 9100
    gpu_exporter_port: Port = 9400
    scrape_interval_seconds: Seconds = 5
    retention_days: Count = 15
    retention_gib: Count = 20
    log_file_mib: Annotated[int, Field(ge=1, le=10_000)] = 50
    log_files: Annotated[int, Field(ge=1, le=1000)] = 5
    traces: Traces = Traces()
    storage_directory: AbsolutePath | None = None
    textfile_directory: AbsolutePath = "/var/lib/ironrack/node-exporter"
    labels: dict[Annotated[str, Field(pattern=fields.VARIABLE)], str] = {}
    login: Login | None = None
    remote_write: Annotated[list[RemoteWrite], Field(max_length=8)] = []
    alerts: Alerts = Alerts()
    grafana: Grafana = Grafana()
    runbooks_url: Url | None = None
    slo: Slo = Slo()
