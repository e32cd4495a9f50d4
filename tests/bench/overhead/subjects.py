"""What is measured: each subject started as its own makers start it, in front of the same cheap engines."""

import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench.errors import BenchError
from tests.bench.overhead.workloads import MODEL
from tests.lab import processes, starting, topology
from tests.lab.errors import LabError
from tests.lab.launch import haproxy
from tests.lab.processes import Command, Process
from tests.lab.state import State
from tests.support.lab import free_span

ROUND_ROBIN = ("balance roundrobin",)
PEER_COMMAND = (
    "{python} -m vllm_router.launch_router --worker-urls {urls} --policy {policy} --host 127.0.0.1 --port {port}"
)
_PEER_PORT, _PEER_METRICS = 7, 8
_BARE = """\
global
    maxconn 8192
    nbthread 1
    tune.bufsize {buffer}
    tune.maxrewrite 4096
defaults
    mode http
    timeout connect 2s
    timeout client 1800s
    timeout server 1800s
    option http-no-delay
frontend edge
    bind 127.0.0.1:{port}
    http-request return status 200 if {{ path /ready }}
    default_backend engines
backend engines
{balance}
{servers}
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing to measure: commands to start in order, the port that serves, and by part whose CPU counts."""

    name: str
    port: int
    commands: Sequence[Sequence[Command]]
    parts: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Bench:
    """The engines that run, and every subject that can be put in front of them."""

    folder: Path
    engines: Sequence[Command]
    subjects: Sequence[Subject]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to measure. `peers`: policies of the peer; `peer_command`: how it is started. `compiled`: see the lab's."""

    haproxy: str | None = None
    peers: Sequence[str] = ()
    peer_python: str = sys.executable
    peer_command: str = PEER_COMMAND
    engines: int = 2
    compiled: Path | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """A subject that was started: the processes of each part."""

    subject: Subject
    pids: Mapping[str, Sequence[int]]


def ran(compiled: Path | None) -> str:
    """How the router runs, for whoever reads the figures."""
    return "compiled, as in its image" if compiled else "from source"


def prepare(wanted: Wanted, folder: Path) -> Bench:
    """Plan everything and write what has to be written; nothing is started yet."""
    try:
        program, version = haproxy(wanted.haproxy)
        lab = topology.design(_lab(wanted, program, version, folder))
    except LabError as problem:
        raise BenchError(str(problem)) from problem
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    for path, text in lab.files.items():
        path.write_text(text)
    ports = [_port(command) for command in lab.engines]
    addresses = [f"127.0.0.1:{port}" for port in ports]
    engines = [cheap(command) for command in lab.engines]
    first = min(lab.ports)
    subjects = [
        Subject("direct", ports[0], (), {"engine": (engines[0].name,)}),
        bare("haproxy", program, lab, addresses),
        ironrack(lab),
        *(peer(wanted, policy, folder, addresses, first) for policy in wanted.peers),
    ]
    return Bench(folder, engines, subjects)


@contextmanager
def started(bench: Bench, subject: Subject, engines: Sequence[Process]) -> Iterator[Running]:
    """A subject that answers; gone after the block."""
    state = State(tuple(engines), {})
    mine: list[Process] = []
    try:
        for batch in subject.commands:
            state = starting.start(bench.folder, batch, state)
            mine = [one for one in state.processes if one not in engines]
        yield Running(subject, {part: _pids(state, names) for part, names in subject.parts.items()})
    except LabError as problem:
        raise BenchError(f"{subject.name}: {problem}") from problem
    finally:
        processes.end(mine)
        processes.wait(lambda: not _listened(subject.port) or not subject.commands, 5.0)


@contextmanager
def engines_up(bench: Bench) -> Iterator[Sequence[Process]]:
    """The engines, for as long as the block runs."""
    state = State((), {})
    try:
        state = starting.start(bench.folder, bench.engines, state)
        yield state.processes
    finally:
        processes.end(state.processes)


def _lab(wanted: Wanted, program: str, version: str, folder: Path) -> topology.Wanted:
    return topology.Wanted(
        engines=wanted.engines,
        port=free_span(),
        model=MODEL,
        haproxy=program,
        haproxy_version=version,
        prefill_rate=20_000.0,
        decide_milliseconds=500,
        engine_options=(),
        state=folder,
        compiled=wanted.compiled,
    )


def ironrack(lab: topology.Lab) -> Subject:
    """A lab's routers and edge, without its engines."""
    engines = {command.name for command in lab.engines}
    others = [command for command in lab.commands if command.name not in engines]
    edge = [command for command in others if command.name == "edge"]
    routers = [command for command in others if command.name != "edge"]
    parts = {"edge": [one.name for one in edge], "router": [one.name for one in routers]}
    return Subject("ironrack", _port(edge[0]), (routers, edge), parts)


def bare(
    name: str,
    program: str,
    lab: topology.Lab,
    addresses: Sequence[str],
    *,
    balance: Sequence[str] = ROUND_ROBIN,
) -> Subject:
    """HAProxy with nothing but a rule of its own, on the port of the lab's edge and with the same buffers."""
    port = min(lab.ports)
    servers = "\n".join(f"    server engine-{number} {one} check" for number, one in enumerate(addresses))
    rule = "\n".join(f"    {line}" for line in balance)
    buffer = lab.plan["settings"]["edge"]["buffer_bytes"]
    folder = next(iter(lab.files)).parent
    path = folder / f"bare-{name.replace(' ', '-')}.cfg"  # the edge's own is haproxy.cfg
    path.write_text(_BARE.format(buffer=buffer, port=port, balance=rule, servers=servers))
    said = subprocess.run([program, "-c", "-f", str(path)], capture_output=True, text=True, check=False)
    if said.returncode:
        raise BenchError(f"{path}: {program} does not accept it: {said.stderr.strip()}")
    log = str(folder / "logs" / f"{path.stem}.log")
    command = Command(name, [program, "-db", "-f", str(path)], {}, f"http://127.0.0.1:{port}/ready", log)
    return Subject(name, port, ([command],), {"edge": (name,)})


def peer(wanted: Wanted, given: str, folder: Path, addresses: Sequence[str], first: int) -> Subject:
    """Another router, told its policy and the engines; its ports follow the `first` one."""
    policy = given.partition("=")[2] or given
    port = first + _PEER_PORT
    urls = " ".join(f"http://{one}" for one in addresses)
    words = wanted.peer_command.format(python=wanted.peer_python, urls=urls, policy=policy, port=port).split()
    if "--prometheus-port" not in words and wanted.peer_command == PEER_COMMAND:
        words += ["--prometheus-port", str(first + _PEER_METRICS)]
    name = f"{given.partition('=')[0]} {policy}" if "=" in given else f"vllm-router {policy}"
    log = str(folder / "logs" / f"peer-{policy}.log")
    command = Command(name, words, {}, f"http://127.0.0.1:{port}/health", log)
    return Subject(name, port, ([command],), {"router": (name,)})


def cheap(command: Command) -> Command:
    """The cheap engine in place of a lab's."""
    return replace(command, argv=[sys.executable, "-m", "tests.bench.overhead.engine", str(_port(command))])


def _port(command: Command) -> int:
    return int(command.ready_url.split("/")[2].rpartition(":")[2])


def _pids(state: State, names: Sequence[str]) -> list[int]:
    return [state.process(name).pid for name in names]


def _listened(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
