"""A lab for one test: started through its own command, observed over HTTP, ended whatever happens.

What is only looked at may be any stack that runs.
"""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from tests.lab.processes import ROOT

_COMMAND = str(ROOT / "scripts" / "lab")
_FIRST, _LAST, _SPAN = 21_000, 21_980, 20
# The decider and the tests share few cores: a slow answer must not look like a dead router.
PATIENCE_MILLISECONDS = "500"


class Running:
    """A stack that runs, seen over HTTP. `report` names its parts as `scripts/lab up` does; `client` only looks."""

    def __init__(self, report: Mapping[str, Any], client: ClientSession) -> None:
        self.report = report
        self.client = client

    @property
    def endpoint(self) -> str:
        """The edge."""
        return str(self.report["endpoint"])

    @property
    def model(self) -> str:
        """The model's name."""
        return str(self.report["model"])

    @property
    def engines(self) -> dict[str, str]:
        """URL by name."""
        return {engine["name"]: engine["url"] for engine in self.report["engines"]}

    @property
    def admin_url(self) -> str:
        """The router's HTTP side."""
        return str(self.report["routers"][0]["admin_url"])

    async def admin(self, engine: str, verb: str) -> None:
        """Drain or undrain an engine."""
        async with self.client.post(f"{self.admin_url}/admin/engines/{engine}/{verb}") as response:
            response.raise_for_status()

    async def fleet(self) -> dict[str, dict[str, Any]]:
        """What the router knows of each engine."""
        async with self.client.get(f"{self.admin_url}/admin/engines") as response:
            return {engine["name"]: engine for engine in (await response.json())["engines"]}

    async def metric(self, name: str, **labels: str) -> float:
        """A number of the router, summed over the series that have these labels."""
        return await metric(self.client, self.admin_url, name, **labels)

    async def idle(self) -> bool:
        """Whether the router counts nothing anywhere."""
        return all(not one["in_flight"] and not one["uncached_tokens"] for one in (await self.fleet()).values())

    async def all_ready(self) -> bool:
        """Whether the router gives work to every engine: one slow first probe keeps an engine waiting for the next."""
        return all(one["state"] == "ready" for one in (await self.fleet()).values())


class Lab(Running):
    """A running lab, whose processes can be done things to."""

    def __init__(self, state: Path, report: Mapping[str, Any], client: ClientSession) -> None:
        super().__init__(report, client)
        self.state = state

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to one process."""
        os.kill(self._pid(name), number)

    def restart(self, name: str) -> None:
        """Start a process again; returns when it answers."""
        self.report = run("restart", name, "--state", str(self.state))

    def kill(self, name: str) -> None:
        """End a process as a crash would; returns when it is gone."""
        run("kill", name, "--state", str(self.state))

    async def sim(self, engine: str, **order: object) -> dict[str, Any]:
        """Give an engine an order, or ask for its counters."""
        url = f"{self.engines[engine]}/sim"
        request = self.client.post(url, json=order) if order else self.client.get(url)
        async with request as response:
            return dict(await response.json())

    async def die(self, engine: str) -> None:
        """Make an engine's process end on the spot."""
        with suppress(ConnectionError):  # it dies before it answers
            await self.sim(engine, die=True)

    def _pid(self, name: str) -> int:
        entries = [*self.report["engines"], *self.report["routers"], self.report["edge"]]
        return next(int(entry["pid"]) for entry in entries if entry["name"] == name)


async def metric(client: ClientSession, url: str, name: str, **labels: str) -> float:
    """A number of one router, summed over the series that have these labels; 0 where there is none."""
    async with client.get(f"{url}/metrics") as response:
        lines = (await response.text()).splitlines()
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    found = (line for line in lines if line.startswith((f"{name} ", f"{name}{{")))
    return sum(float(line.split()[-1]) for line in found if all(label in line for label in wanted))


def put(path: Path, text: str) -> None:
    """Write a file as a deploy does: whole or not at all, for the same owner with the same mode."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    if path.exists():
        was = path.stat()
        os.chown(new, was.st_uid, was.st_gid)
        new.chmod(was.st_mode)
    new.replace(path)


def run(*argv: str) -> dict[str, Any]:
    """Run `scripts/lab`; its JSON, or an AssertionError with what it said."""
    done = subprocess.run([_COMMAND, *argv], capture_output=True, text=True, check=False, timeout=90)
    if done.returncode not in (0, 1):
        raise AssertionError(done.stderr)
    return dict(json.loads(done.stdout))


@contextmanager
def started(
    state: Path, engines: int, *engine_options: str, lab_options: tuple[str, ...] = ()
) -> Iterator[dict[str, Any]]:
    """A lab's report; the lab is gone after the block."""
    where = ("--state", str(state))
    options = ("--engines", str(engines), "--decide-milliseconds", PATIENCE_MILLISECONDS, *lab_options)
    try:
        yield run("up", *where, "--port", str(free_span()), *options, "--", *engine_options)
    finally:
        run("down", *where)


def free_span() -> int:
    """The first of a run of ports that nobody listens on."""
    for first in range(_FIRST + os.getpid() % 40 * _SPAN, _LAST, _SPAN):
        if all(is_free(port) for port in range(first, first + _SPAN)):
            return first
    raise AssertionError(f"no {_SPAN} neighbouring free ports between {_FIRST} and {_LAST}")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0
