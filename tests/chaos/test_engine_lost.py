"""An engine dies, refuses or is drained: its sessions move, and come home."""

import asyncio

import pytest

from tests.chaos.conftest import Start, busiest, drained_at_edge
from tests.support.load import Outcome, conversations, ends, homes, since
from tests.support.until import until

pytestmark = pytest.mark.lab


def _begun_at(outcomes: list[Outcome], engine: str, when: float) -> int:
    """Turns of an engine whose first byte had come and whose last had not."""
    mine = [one for one in outcomes if one.served_by == engine]
    return sum(1 for one in mine if one.began + one.first_byte <= when <= one.began + one.seconds + 0.2)


async def test_engine_killed_under_load_costs_only_streams_it_had_begun(start: Start) -> None:
    """Nothing fails before its first byte; the dead engine's sessions move, and come home when it is back."""
    lab, load = await start(4, "--decode-seconds", "0.01")
    talks = conversations(24, "s")
    await load.rounds(talks, 2)
    home = homes(load.outcomes)
    victim = busiest(home)
    mine = {session for session, engine in home.items() if engine == victim}
    clock = asyncio.get_running_loop().time

    def latest_of_mine() -> list[Outcome]:
        return [next(one for one in reversed(load.outcomes) if one.session == session) for session in mine]

    async with load.running(talks):
        await until(lambda: len(load.outcomes) > 72, "the load runs")
        died = clock()
        await lab.die(victim)
        await until(lambda: all(one.began > died + 0.5 for one in latest_of_mine()), "its sessions go on", 20)
        moved = {one.served_by for one in latest_of_mine()}
        await asyncio.to_thread(lab.restart, victim)
        await until(lambda: all(one.served_by == victim for one in latest_of_mine()), "its sessions come home", 20)
    found = ends(load.outcomes)
    assert found["failed"] == 0, [one for one in load.outcomes if one.end == "failed"]
    assert found["cut"] <= _begun_at(load.outcomes, victim, died)
    assert all(one.served_by == victim for one in load.outcomes if one.end == "cut")
    assert victim not in moved
    assert all(one.served_by == home[one.session] for one in load.outcomes if one.session not in mine)
    await until(lab.idle, "no load is left at the router")


async def test_engine_killed_before_any_first_byte_fails_nothing(start: Start) -> None:
    """Prompts that wait or are being read at an engine when it dies are answered by another, and say so."""
    lab, load = await start(3, "--decode-seconds", "0.004")
    for engine in lab.engines:
        await lab.sim(engine, freeze=True)
    victim, *others = lab.engines
    talks = conversations(12, "s")

    async def all_wait() -> bool:
        return sum([int((await lab.sim(engine))["requests"]) for engine in lab.engines]) == len(talks)

    async with asyncio.TaskGroup() as group:
        asking = group.create_task(load.rounds(talks, 1))
        await until(all_wait, "every prompt is at an engine")
        lost = (await lab.sim(victim))["requests"]
        await lab.die(victim)
        for engine in others:
            await lab.sim(engine, freeze=False)
    outcomes = asking.result()
    assert ends(outcomes) == {"ok": len(talks)}
    assert lost > 0
    assert [one.reason for one in outcomes].count("retry") == lost
    await until(lab.idle, "no load is left at the router")


async def test_drain_moves_new_turns_elsewhere_and_undrain_brings_them_home(start: Start) -> None:
    """A drained engine gets no new turn and loses none; its sessions say why they are away, and return."""
    lab, load = await start(3, "--decode-seconds", "0.004")
    talks = conversations(12, "s")
    await load.rounds(talks, 2)
    home = homes(load.outcomes)
    drained = busiest(home)
    mine = {session for session, engine in home.items() if engine == drained}
    clock = asyncio.get_running_loop().time

    async def edge_knows() -> bool:
        return not await drained_at_edge(lab)

    async with load.running(talks):
        await lab.admin(drained, "drain")
        since_drain = clock()
        await until(lambda: len(since(load.outcomes, since_drain)) > 60, "turns go on while it is drained", 20)
        away = since(load.outcomes, since_drain)
        await lab.admin(drained, "undrain")
        await until(edge_knows, "the edge gives it work again")
        returned = clock()
        await until(lambda: len(since(load.outcomes, returned)) > 60, "turns go on after the drain", 20)
    assert ends(load.outcomes) == {"ok": len(load.outcomes)}
    assert {one.served_by for one in away} == set(lab.engines) - {drained}
    assert {one.reason for one in away if one.session in mine} == {"drain"}
    assert all(one.served_by == home[one.session] for one in since(load.outcomes, returned))
    await until(lab.idle, "no load is left at the router")


async def test_engine_that_refuses_is_retried_elsewhere_before_the_first_byte(start: Start) -> None:
    """503 of one engine reaches no client: another engine answers, and the header says so."""
    lab, load = await start(3, "--decode-seconds", "0.004")
    talks = conversations(6, "s")
    await load.rounds(talks, 2)
    home = homes(load.outcomes)
    refusing = busiest(home)
    await lab.sim(refusing, refuse="503")
    after = await load.rounds([talk for talk in talks if home[talk.name] == refusing], 1)
    assert ends(after) == {"ok": len(after)}
    assert all(one.served_by != refusing for one in after)
    assert {one.reason for one in after} <= {"retry", "eject"}
    await until(lab.idle, "no load is left at the router")
