"""The services that observe a stack: they may be down, slow or full, and no request notices."""

from __future__ import annotations

from stackplan.ground import ALL, GRACE_SECONDS, Ground, reachable, wget, wget_guarded
from stackplan.model import LOOPBACK, Health, Host, Listen, Mount, Service
from stackplan.observe_settings import Observe, Watchdog, Webhook

NOBODY = 65534  # the user of Prometheus' images, said aloud so that secrets can be his
SECRETS = "/run/secrets/ironrack"  # inside the containers of Prometheus and Alertmanager
WEB = f"{SECRETS}/web.yml"
_TEXTFILES = "/var/lib/node-exporter"
_USER = f"{NOBODY}:{NOBODY}"


def prometheus(ground: Ground, host: Host) -> Service:
    """The Prometheus of one host: scrapes every part of the plan, evaluates every rule."""
    mine = ground.settings.observe
    address = mine.prometheus_address or LOOPBACK
    storage = mine.storage_directory
    return Service(
        name="prometheus",
        kind="prometheus",
        host=host.name,
        address=address,
        image=mine.prometheus_image,
        entrypoint=["prometheus"],
        command=[
            "--config.file=/etc/prometheus/prometheus.yml",
            "--storage.tsdb.path=/prometheus",
            f"--storage.tsdb.retention.time={mine.retention_days}d",
            f"--storage.tsdb.retention.size={mine.retention_gib}GB",
            # The limits of a scrape as series: a target that hangs is told from one that talks nonsense.
            "--enable-feature=extra-scrape-metrics",
            *_web(mine, address, mine.prometheus_port, mine.prometheus_url),
        ],
        ports=[Listen("http", address, mine.prometheus_port)],
        mounts=[
            ground.config("prometheus", "/etc/prometheus"),
            Mount("/prometheus", storage or "prometheus", "bind" if storage else "volume", read_only=False),
            *_secrets(ground, "prometheus", needed=bool(mine.login or _credentials(mine))),
        ],
        health=_health(mine, address, mine.prometheus_port, start_seconds=60),
        stop_grace_seconds=GRACE_SECONDS,
        user=_USER,
        cap_drop=ALL,
        read_only=True,
    )


def alertmanager(ground: Ground, host: Host) -> Service:
    """The Alertmanager of one host: it hears the Prometheus beside it alone, and talks to no other Alertmanager."""
    mine = ground.settings.observe
    address = mine.alertmanager_address or LOOPBACK
    return Service(
        name="alertmanager",
        kind="alertmanager",
        host=host.name,
        address=address,
        image=mine.alertmanager_image,
        entrypoint=["alertmanager"],
        command=[
            "--config.file=/etc/alertmanager/alertmanager.yml",
            "--storage.path=/alertmanager",
            "--cluster.listen-address=",
            *_web(mine, address, mine.alertmanager_port, mine.alertmanager_url),
        ],
        ports=[Listen("http", address, mine.alertmanager_port)],
        mounts=[
            ground.config("alertmanager", "/etc/alertmanager"),
            Mount("/alertmanager", "alertmanager", "volume", read_only=False),
            *_secrets(ground, "alertmanager", needed=bool(mine.login or _receiver_secrets(mine))),
        ],
        health=_health(mine, address, mine.alertmanager_port, start_seconds=30),
        stop_grace_seconds=GRACE_SECONDS,
        user=_USER,
        cap_drop=ALL,
        read_only=True,
    )


def node_exporter(ground: Ground, host: Host) -> Service:
    """The exporter of one host, which also tells what others wrote into the folder of text files."""
    mine = ground.settings.observe
    address, port = ground.inside(host), mine.node_exporter_port
    url = f"http://{address}:{port}/"
    return Service(
        name="node-exporter",
        kind="node_exporter",
        host=host.name,
        address=address,
        image=mine.node_exporter_image,
        entrypoint=["node_exporter"],
        command=[
            "--path.rootfs=/host",
            f"--collector.textfile.directory={_TEXTFILES}",
            f"--web.listen-address={address}:{port}",
        ],
        ports=[Listen("http", address, port)],
        mounts=[Mount("/host", "/"), Mount(_TEXTFILES, mine.textfile_directory)],
        health=Health(wget(url), url, 15, 5, 3, 10),
        stop_grace_seconds=10,
        cap_drop=ALL,
        read_only=True,
        pid="host",
    )


def prometheus_secrets(mine: Observe) -> list[str]:
    """The names of the secrets that Prometheus reads, each once."""
    login = [mine.login.password_secret] if mine.login else []
    return sorted({*login, *_credentials(mine)})


def alertmanager_secrets(mine: Observe) -> list[str]:
    """The names of the secrets that Alertmanager reads, each once."""
    return sorted(set(_receiver_secrets(mine)))


def _credentials(mine: Observe) -> list[str]:
    named = [name for each in mine.remote_write for name in (each.password_secret, each.token_secret)]
    return [name for name in named if name]


def _receiver_secrets(mine: Observe) -> list[str]:
    told = mine.alerts
    hooks: list[Webhook | Watchdog] = [*told.webhooks, *([told.watchdog] if told.watchdog else [])]
    named = [name for hook in hooks for name in (hook.url_secret, hook.token_secret)]
    named += [told.mail.password_secret] if told.mail else []
    named += [told.slack.url_secret] if told.slack else []
    return [name for name in named if name]


def _secrets(ground: Ground, service: str, needed: bool) -> list[Mount]:
    return [Mount(SECRETS, f"{ground.root}/secrets/{service}")] if needed else []


def _web(mine: Observe, address: str, port: int, url: str | None) -> list[str]:
    """Where the web side listens, how links in messages begin, and whether it asks for a password."""
    return [
        f"--web.listen-address={address}:{port}",
        *([f"--web.external-url={url}", "--web.route-prefix=/"] if url else []),
        *([f"--web.config.file={WEB}"] if mine.login else []),
    ]


def _health(mine: Observe, address: str, port: int, start_seconds: int) -> Health:
    url = f"http://{reachable(address)}:{port}/-/ready"
    return Health(wget_guarded(url) if mine.login else wget(url), url, 10, 5, 3, start_seconds)
