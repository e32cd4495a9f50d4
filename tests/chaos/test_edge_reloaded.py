"""The edge is reloaded again and again under load: no answer fails, no stream is cut, nobody meets a closed connection.

This client does not send a request again: a connection that an old process closed in the moment of its next use counts.
"""

import asyncio
import os
from asyncio.subprocess import DEVNULL, Process
from contextlib import suppress

import pytest

from router.edge import EdgeSocket
from tests.chaos.conftest import Start
from tests.support.lab import Lab
from tests.support.load import conversations
from tests.support.until import until

pytestmark = pytest.mark.lab


async def _life(lab: Lab) -> tuple[str, str]:
    return (await EdgeSocket(str(lab.state / "haproxy.sock")).look()).life


async def test_edge_reload_under_load_fails_and_cuts_nothing(start: Start) -> None:
    """Three generations at once: each finishes the streams it has, the newest takes what is new."""
    lab, load = await start(3, "--decode-seconds", "0.01")
    program = os.readlink(f"/proc/{lab.report['edge']['pid']}/exe")
    config, sock = str(lab.state / "haproxy.cfg"), str(lab.state / "haproxy.sock")
    pids, children = [int(lab.report["edge"]["pid"])], list[Process]()
    try:
        async with load.running(conversations(24, "s")):
            for _ in range(3):
                await load.go_on(24)
                argv = [program, "-db", "-f", config, "-x", sock, "-sf", str(pids[-1])]
                children.append(await asyncio.create_subprocess_exec(*argv, stdout=DEVNULL, stderr=DEVNULL))
                pids.append(children[-1].pid)

                async def taken_over() -> bool:
                    return (await _life(lab))[0] == str(pids[-1])

                await until(taken_over, "the new process answers")
            await load.go_on(48)
        assert [one for one in load.outcomes if one.end != "ok"] == []
        await until(lab.idle, "no load is left at the router")
    finally:
        for child in children:
            with suppress(ProcessLookupError):  # the next one ended it
                child.kill()
            await child.wait()
