"""Every engine is taken out and back under load, one after the other: nobody notices."""

import asyncio

import pytest

from tests.chaos.conftest import Start, drained_at_edge
from tests.support.lab import Lab
from tests.support.load import conversations, ends
from tests.support.until import until

pytestmark = pytest.mark.lab


async def test_rolling_drain_of_every_engine_under_load_fails_nothing(start: Start) -> None:
    """Drain, wait until it is empty, undrain, the next: no turn fails or is cut, none is served by a drained engine."""
    lab, load = await start(4, "--decode-seconds", "0.004")
    clock = asyncio.get_running_loop().time
    late = []
    async with load.running(conversations(24, "s")):
        await until(lambda: len(load.outcomes) > 24, "the load runs")
        for engine in lab.engines:

            async def empty(engine: str = engine) -> bool:
                return bool((await lab.fleet())[engine]["in_flight"] == 0)

            async def known(engine: str = engine) -> bool:
                return engine in await drained_at_edge(lab)

            await lab.admin(engine, "drain")
            began = clock()
            await until(known, f"the edge knows that {engine} drains")
            await until(empty, f"{engine} is empty", 20)
            await load.go_on(24)
            late += [one for one in load.outcomes if one.served_by == engine and one.began > began]
            await lab.admin(engine, "undrain")
            await until(lambda: _none_drained(lab), f"the edge knows that {engine} is back")
    assert ends(load.outcomes) == {"ok": len(load.outcomes)}
    assert late == []
    await until(lab.idle, "no load is left at the router")


async def test_a_drain_outlives_the_router_and_holds_without_it(start: Start) -> None:
    """Router gone: the edge sends nothing there, not even sessions at home; router back: it still drains."""
    lab, load = await start(3, "--decode-seconds", "0.002")
    talks = conversations(12, "s")
    outcomes = await load.rounds(talks, 1)
    drained = outcomes[0].served_by
    await lab.admin(drained, "drain")

    async def known() -> bool:
        return await drained_at_edge(lab) == {drained}

    await until(known, "the edge knows")
    await asyncio.to_thread(lab.kill, "router")
    alone = await load.rounds(talks, 2)
    await asyncio.to_thread(lab.restart, "router")

    async def adopted() -> bool:
        return bool((await lab.fleet())[drained]["draining"])

    await until(adopted, "the new router knows")
    after = await load.rounds(talks, 1)
    assert ends([*alone, *after]) == {"ok": len(alone) + len(after)}
    assert drained not in {one.served_by for one in [*alone, *after]}
    assert await known()


async def _none_drained(lab: Lab) -> bool:
    return not await drained_at_edge(lab)
