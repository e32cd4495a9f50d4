"""An engine hangs, in three ways that its port does not show: what waits there is served by others, nothing fails."""

import asyncio

import pytest

from tests.chaos.conftest import Start, busiest
from tests.support.faults import SOONEST, Fault, blackholed, need_iptables, seconds_to_ejection, stopped, stuck
from tests.support.lab import Lab
from tests.support.load import conversations, ends, homes
from tests.support.until import until

pytestmark = pytest.mark.lab

MOST_SECONDS = 5.0  # until an engine that says nothing gets nothing, with the settings that nobody has changed
LOOKS = "ironrack_router_probes_total"


@pytest.mark.parametrize("fault", [stopped, stuck, blackholed])
async def test_an_engine_that_hangs_under_load_fails_nothing(start: Start, fault: Fault) -> None:
    """It is ejected; requests without a first byte move; streams that had begun go on when the engine does."""
    if fault is blackholed:
        need_iptables()
    lab, load = await start(4, "--decode-seconds", "0.02")
    talks = conversations(32, "s")
    await load.rounds(talks, 2)
    home = homes(load.outcomes)
    victim = busiest(home)
    mine = [talk for talk in talks if home[talk.name] == victim]
    later, busy = mine[::2], [talk for talk in talks if talk not in mine[::2]]
    before = len(load.outcomes)
    allowed = seconds_to_ejection(lab.state / "router.yml", silent=fault is not stuck)
    async with load.running(busy):
        await until(lambda: len(load.outcomes) > before + len(busy), "the load runs")
        async with fault(lab, victim), asyncio.TaskGroup() as group:
            looks = await lab.metric(LOOKS, engine=victim)
            asked = group.create_task(load.rounds(later, 1))
            await until(lambda: _out(lab, victim), "it is ejected", allowed)
            looks = await lab.metric(LOOKS, engine=victim) - looks
            await until(asked.done, "what waited there is served", 30)
    moved = asked.result()
    # One that answers its probes is found out up to a second later, by what stands still.
    assert allowed <= MOST_SECONDS or fault is stuck
    # In looks at it, once a second, of which a slow machine makes no more; one was under way.
    assert looks <= allowed / SOONEST + 1
    assert ends(load.outcomes) == {"ok": len(load.outcomes)}, [one for one in load.outcomes if one.end != "ok"]
    assert victim not in {one.served_by for one in moved}
    assert "retry" in {one.reason for one in moved} <= {"retry", "eject"}
    await until(lab.idle, "no load is left at the router")


async def _out(lab: Lab, engine: str) -> bool:
    return bool((await lab.fleet())[engine]["state"] == "ejected")
