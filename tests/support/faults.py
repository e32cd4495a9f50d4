"""What can be done to an engine's process and its network from outside, undone whatever happens."""

import asyncio
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from tests.support.lab import Lab, Running

SOONEST, LATEST = 0.8, 1.2  # of the interval, between two looks: not all engines are looked at at once
WATCHED = 0.1  # seconds between two looks for engines that stand still

Fault = Callable[[Lab, str], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def stopped(lab: Lab, name: str) -> AsyncIterator[None]:
    """Its process does not run; its kernel still takes every packet."""
    lab.signal(name, signal.SIGSTOP)
    try:
        yield
    finally:
        lab.signal(name, signal.SIGCONT)


@asynccontextmanager
async def stuck(lab: Lab, engine: str) -> AsyncIterator[None]:
    """It answers `/health`, takes requests, and nothing advances."""
    await lab.sim(engine, freeze=True)
    try:
        yield
    finally:
        await lab.sim(engine, freeze=False)


@asynccontextmanager
async def blackholed(stack: Running, engine: str) -> AsyncIterator[None]:
    """No packet reaches it or comes from it, on loopback, and nobody is told."""
    port = str(urlsplit(stack.engines[engine]).port)
    rules = [["-p", "tcp", way, port, "-j", "DROP"] for way in ("--dport", "--sport")]
    try:
        for rule in rules:
            await asyncio.to_thread(_iptables, "-I", rule)
        yield
    finally:
        for rule in rules:
            await asyncio.to_thread(_iptables, "-D", rule)


def seconds_to_ejection(settings: Path, *, silent: bool) -> float:
    """How long an engine that hangs under load may keep its place, by a router's file. `silent`: to probes, too.

    Two probes that find no answer: the time until the first, its patience, and the second with its shorter ones. One
    that answers probes is found out later: a look may still see what came before, then it has to stand still for
    `stall_seconds`, which the router's timer sees within a tenth of a second.
    """
    health = yaml.safe_load(settings.read_text())["health"]
    interval, patience = health["interval_seconds"], health["timeout_seconds"]
    if silent:
        return float(LATEST * interval + patience + (LATEST * interval / 4 + patience / 2))
    return float(health["stall_seconds"] + LATEST * interval + WATCHED)


def need_iptables() -> None:
    """Skip where packets cannot be dropped."""
    if not shutil.which("iptables") or subprocess.run(["iptables", "-L"], capture_output=True, check=False).returncode:
        pytest.skip("needs iptables and CAP_NET_ADMIN: runs as root where iptables is installed")


def _iptables(verb: str, rule: list[str]) -> None:
    # Not checked: taking out what was never put in is no problem, and putting in is seen by the test.
    subprocess.run(["iptables", "-w", "5", verb, "INPUT", "-i", "lo", *rule], capture_output=True, check=False)
