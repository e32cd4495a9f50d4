"""The services of a stack: every container of every host, complete and absolute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from stackplan import engines as vllm
from stackplan import images
from stackplan.derive import slug
from stackplan.gpu_hosts import gpu_exporter, gpu_hosts
from stackplan.grafana import grafanas
from stackplan.ground import ALL, GRACE_SECONDS, Ground, python_get, reachable, wget
from stackplan.guard import SECRETS, uses_tls
from stackplan.model import LOOPBACK, Health, Host, Listen, Mount, Replica, Service
from stackplan.observe_services import alertmanager, node_exporter, prometheus
from stackplan.settings import Settings

PORTS_APART = 10  # between one decider's ports and the next one's
SHARED = "/run/ironrack"
KEYS = "/etc/ironrack-keys"


def services(ground: Ground, replicas: Sequence[Replica]) -> list[Service]:
    """All services in starting order: engines, routers, edges, then what observes them."""
    edges, observers = ground.in_group("edge"), ground.in_group("observe")
    watched = [host for host in ground.hosts if host.groups] if observers else []
    return [
        *_engines(ground, replicas),
        *(router for host in edges for router in _routers(ground, host)),
        *(_edge(ground, host) for host in edges),
        *(prometheus(ground, host) for host in observers),
        *(alertmanager(ground, host) for host in observers),
        *(node_exporter(ground, host) for host in watched),
        *(gpu_exporter(ground, host) for host in gpu_hosts(ground.settings, watched)),
        *grafanas(ground.settings, observers, ground.root),
    ]


def priorities(settings: Settings) -> bool:
    """Whether some requests go before others inside an engine, too."""
    return any(each.priority for each in settings.router.admission.classes)


def _engines(ground: Ground, replicas: Sequence[Replica]) -> list[Service]:
    hosts = {host.name: host for host in ground.hosts}
    before: Counter[str] = Counter()
    found = []
    for replica in replicas:
        number = before[replica.host]
        before[replica.host] += 1
        found.append(_engine(ground, replica, hosts[replica.host], number))
    return found


def _engine(ground: Ground, replica: Replica, host: Host, number: int) -> Service:
    shared, model = ground.settings.engines, ground.settings.models[replica.model]
    port, events = shared.base_port + number, _events(ground, number)
    image = model.image or ""
    base = f"http://{host.address}:{port}"
    url = f"{base}/health"
    gpu = shared.device == "gpu"
    name = vllm.engine_name(slug(model.name), replica)
    traces = ground.settings.observe.traces
    spans = traces.endpoint if traces.engines else None
    return Service(
        name=name,
        kind="engine",
        host=host.name,
        address=host.address,
        image=image,
        entrypoint=vllm.entrypoint(model, shared, base),
        command=vllm.command(
            model,
            shared,
            host.address,
            port,
            priorities=priorities(ground.settings),
            events=[listen.port for listen in events],
            traces=spans or "",
        ),
        env={**(vllm.tracing(name) if spans else {}), **vllm.environment(model, shared)},
        env_file=vllm.env_file(shared, ground.root),
        ports=[Listen("http", host.address, port), *events],
        gpus=replica.gpus,
        gpu_injection=shared.gpu_injection,
        mounts=vllm.mounts(model, shared, ground.root, images.key(image)),
        health=Health(python_get(url), url, 10, 5, 3, shared.start_timeout_seconds),
        stop_grace_seconds=(shared.shutdown_timeout_seconds or 0) + GRACE_SECONDS,
        ulimits={"memlock": -1, "stack": 67108864} if gpu else {},
        ipc="host" if shared.shared_memory == "host" else None,
        shm_size=None if shared.shared_memory == "host" else shared.shared_memory,
        model=model.name,
    )


def _events(ground: Ground, number: int) -> list[Listen]:
    """Where the nth engine of a host tells what it holds, and tells it again: on all addresses, it can no other."""
    if not ground.settings.router.kv_events:
        return []
    first = ground.settings.engines.kv_events_base_port + 2 * number
    return [Listen("kv-events", "0.0.0.0", first), Listen("kv-replay", "0.0.0.0", first + 1)]


def router_name(index: int) -> str:
    """A decider's container and folder: the first one's name says nothing of others."""
    return f"router-{index}" if index else "router"


def _routers(ground: Ground, host: Host) -> list[Service]:
    return [_router(ground, host, index) for index in range(ground.settings.router.processes)]


def _router(ground: Ground, host: Host, index: int) -> Service:
    mine, name, further = ground.settings.router, router_name(index), PORTS_APART * index
    http = mine.http_address or ground.heard(host)
    url = f"http://{http}:{mine.http_port + further}/healthz"
    ports = [
        Listen("spop", LOOPBACK, mine.spop_port + further),
        Listen("http", http, mine.http_port + further),
        Listen("events", LOOPBACK, mine.events_port + further),
        Listen("proxy", LOOPBACK, mine.proxy_port + further),
    ]
    return Service(
        name=name,
        kind="router",
        host=host.name,
        address=http,
        image=mine.image,
        build=mine.build.model_dump() if mine.build else None,
        entrypoint=["python", "-m", "router"],
        command=["--config", "/etc/ironrack/router.yml"],
        env=_router_env(ground, ports),
        ports=ports,
        mounts=[
            ground.config(name, "/etc/ironrack"),
            Mount("/tmp", type="tmpfs", read_only=False),
            *_router_mounts(ground),
        ],
        health=Health(python_get(url), url, 5, 3, 3, 10),
        # Requests that the router carries itself may end; the edge decides by itself meanwhile.
        stop_grace_seconds=GRACE_SECONDS + 10,
        # Only root may be given a capability, and it has no other.
        user="0:0" if mine.sever_frozen else None,
        cap_drop=ALL,
        cap_add=["NET_ADMIN"] if mine.sever_frozen else [],
        read_only=True,
    )


def _router_env(ground: Ground, ports: Sequence[Listen]) -> dict[str, str]:
    """What a running router cannot change must make another container; other settings must not."""
    endpoint = ground.settings.observe.traces.endpoint
    listens = {"IRONRACK_LISTEN": " ".join(f"{port.name}={port.address}:{port.port}" for port in ports)}
    return {**listens, "IRONRACK_TRACES": endpoint} if endpoint else listens


def _router_mounts(ground: Ground) -> list[Mount]:
    """The edge's runtime socket, the memory in which several routers share their load, the engines' key."""
    socket = ground.settings.edge.runtime_socket.rsplit("/", 1)[0]
    found = [Mount(socket, "edge-run", "tmpfs")]
    if ground.settings.router.processes > 1:
        found.append(Mount(SHARED, "router-run", "tmpfs", read_only=False))
    if ground.settings.engines.api_key_enabled:
        found.append(Mount(KEYS, f"{ground.root}/secrets/router"))
    return found


def _edge(ground: Ground, host: Host) -> Service:
    mine = ground.settings.edge
    metrics = mine.metrics_address or ground.inside(host)
    ports = [
        Listen("http", mine.bind_address, mine.bind_port),
        Listen("metrics", metrics, mine.metrics_port),
        *_edge_listens(ground, host),
    ]
    guarded = uses_tls(mine.model_dump()) or mine.tenants or mine.admin.token_hash
    # Probes do not speak TLS: they ask where metrics are read.
    plain = (metrics, mine.metrics_port) if uses_tls(mine.model_dump()) else (mine.bind_address, mine.bind_port)
    url = f"http://{reachable(plain[0])}:{plain[1]}/health"
    low = any(listen.port < 1024 for listen in ports)
    needed = guarded or ground.settings.engines.api_key_enabled
    secrets = [Mount(SECRETS, f"{ground.root}/secrets/edge")] if needed else []
    return Service(
        name="edge",
        kind="edge",
        host=host.name,
        address=mine.bind_address,
        image=mine.image,
        entrypoint=["haproxy"],
        command=["-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"],
        ports=ports,
        mounts=[
            ground.config("edge", "/usr/local/etc/haproxy"),
            Mount(mine.runtime_socket.rsplit("/", 1)[0], "edge-run", "tmpfs", read_only=False),
            *secrets,
        ],
        health=Health(wget(url), url, 5, 3, 3, 10),
        # A HAProxy that stops keeps its event line to a router that has gone, and waits for it until it is killed.
        after=[router_name(index) for index in range(ground.settings.router.processes)],
        stop_grace_seconds=mine.timeouts.server_seconds + GRACE_SECONDS,
        stop_signal="SIGUSR1",
        user="0:0" if low else None,
        cap_drop=ALL,
        cap_add=["NET_BIND_SERVICE"] if low else [],
        read_only=True,
    )


def _edge_listens(ground: Ground, host: Host) -> list[Listen]:
    """What an edge listens on besides clients and metrics."""
    mine, found = ground.settings.edge, []
    if uses_tls(mine.model_dump()) and mine.tls.redirect_port:
        found.append(Listen("plain", mine.bind_address, mine.tls.redirect_port))
    if mine.admin.token_hash:
        found.append(Listen("admin", mine.admin.address, mine.admin.port))
    if len(ground.in_group("edge")) > 1:
        found.append(Listen("peers", host.address, mine.peers_port))
    return found
