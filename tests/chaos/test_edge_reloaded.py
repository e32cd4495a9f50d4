"""The edge is reloaded again and again under load: no answer fails, no stream is cut, nobody meets a closed connection.

This client does not send a request again: a connection that an old process closed in the moment of its next use counts.
"""

import asyncio
import os
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from tests.chaos.conftest import Start
from tests.support.lab import Lab
from tests.support.load import conversations, homes
from tests.support.runtime_socket import process, settled
from tests.support.until import until

pytestmark = pytest.mark.lab

SESSIONS = 24


@asynccontextmanager
async def reloading(lab: Lab) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """What puts a new process in the place of the edge's last one; all of them are gone after the block."""
    program = os.readlink(f"/proc/{lab.report['edge']['pid']}/exe")
    config, sock = str(lab.state / "haproxy.cfg"), str(lab.state / "haproxy.sock")
    pids, children = [int(lab.report["edge"]["pid"])], list[Process]()

    async def reload() -> None:
        argv = [program, "-db", "-f", config, "-x", sock, "-sf", str(pids[-1])]
        children.append(await asyncio.create_subprocess_exec(*argv, stdout=DEVNULL, stderr=DEVNULL))
        pids.append(children[-1].pid)
        await until(lambda: process(sock) == pids[-1], "the new process answers")

    try:
        yield reload
    finally:
        for child in children:
            with suppress(ProcessLookupError):  # the next one ended it
                child.kill()
            await child.wait()


async def test_edge_reload_under_load_fails_and_cuts_nothing(start: Start) -> None:
    """Three generations at once: each finishes the streams it has, the newest takes what is new."""
    lab, load = await start(3, "--decode-seconds", "0.01")
    async with reloading(lab) as reload:
        async with load.running(conversations(SESSIONS, "s")):
            for _ in range(3):
                await load.go_on(SESSIONS)
                await reload()
            await load.go_on(2 * SESSIONS)
        # The newest process is still there to tell the router how its last streams ended.
        await until(lab.idle, "no load is left at the router")
    assert [one for one in load.outcomes if one.end != "ok"] == []


async def test_sessions_go_home_through_a_new_edge_that_has_no_router(start: Start) -> None:
    """What the old process knew is handed over before it ends; the hash alone would send two of three elsewhere."""
    lab, load = await start(3)
    sock, talks = lab.state / "haproxy.sock", conversations(SESSIONS, "h", words=20)
    home = homes(await load.rounds(talks, 1))
    assert len(set(home.values())) == 3
    lab.kill("router")
    async with reloading(lab) as reload:
        await until(lambda: settled(sock), "the edge is as old as one must be to hand over")
        await reload()
        await until(lambda: settled(sock), "the new process was told all there is")
        found = await load.rounds(talks, 1)
    assert (homes(found), {one.reason for one in found}) == (home, {"fallback"})
