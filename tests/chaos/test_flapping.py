"""An engine that fails and recovers all the time costs nobody an answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.chaos.conftest import Start
from tests.support.lab import Lab
from tests.support.load import conversations, ends
from tests.support.until import until

pytestmark = pytest.mark.lab
REFUSALS = ("503", "reset")


@asynccontextmanager
async def _flapping(lab: Lab, engine: str, how: str) -> AsyncIterator[None]:
    """Refuses for a while, answers for a while, for as long as the block runs."""

    async def flap() -> None:
        try:
            while True:
                await lab.sim(engine, refuse=how)
                await asyncio.sleep(0.3)
                await lab.sim(engine, refuse="")
                await asyncio.sleep(0.1)
        finally:
            await lab.sim(engine, refuse="")

    async with asyncio.TaskGroup() as group:
        flaps = group.create_task(flap())
        try:
            yield
        finally:
            flaps.cancel()


@pytest.mark.parametrize("how", REFUSALS)
async def test_a_flapping_engine_under_load_fails_nothing(start: Start, how: str) -> None:
    """It is ejected while it fails; when it is well again, it is given work again."""
    lab, load = await start(3, "--decode-seconds", "0.004")
    victim = next(iter(lab.engines))

    async def ejected() -> bool:
        return int((await lab.fleet())[victim]["ejections"]) >= 1

    async def trusted() -> bool:
        # Sessions have a home elsewhere by now: only new ones can be its trial.
        await load.rounds(conversations(3, f"n{len(load.outcomes)}"), 1)
        return bool((await lab.fleet())[victim]["state"] == "ready")

    async with load.running(conversations(18, "s")):
        async with _flapping(lab, victim, how):
            await until(ejected, "it is ejected", 20)
            wanted = len(load.outcomes) + 200
            await until(lambda: len(load.outcomes) >= wanted, "turns go on", 40)
        await until(trusted, "it is trusted again", 60)
    assert ends(load.outcomes) == {"ok": len(load.outcomes)}, [one for one in load.outcomes if one.end != "ok"]
    await until(lab.idle, "no load is left at the router")
