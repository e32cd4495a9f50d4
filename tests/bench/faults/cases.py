"""The cases: each breaks something while sessions go on, and mends it."""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from tests.bench.faults.stage import Stage
from tests.support.faults import Fault, stopped, stuck
from tests.support.load import conversations

_RELOADS = 5
_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Case:
    """One case: what is done, and the options of its engines."""

    play: Callable[[Stage], Awaitable[None]]
    options: tuple[str, ...] = ("--decode-seconds", "0.004")


async def router_killed(stage: Stage) -> None:
    """kill -9, a while without, and a new one."""
    async with stage.load.running(stage.talks):
        await stage.served(2)
        stage.signal("router", signal.SIGKILL)
        await stage.served()
        await stage.restart("router")
        await stage.served()


async def router_stopped(stage: Stage) -> None:
    """It is there and says nothing."""
    async with stage.load.running(stage.talks):
        await stage.served(2)
        async with stopped(stage.lab, "router"):
            await stage.served()
        await stage.served()


async def router_upgraded(stage: Stage) -> None:
    """Ended in peace and started again, twice."""
    async with stage.load.running(stage.talks):
        for _ in range(2):
            await stage.served()
            await stage.restart("router")
        await stage.served()


async def engine_killed(stage: Stage) -> None:
    """An engine's process ends under load, and comes back."""
    async with stage.load.running(stage.talks):
        await stage.served(2)
        victim = stage.home()
        await stage.lab.die(victim)
        await stage.served()
        await stage.restart(victim)
        await stage.served()


async def engine_killed_early(stage: Stage) -> None:
    """An engine's process ends while all it has are prompts that wait for their first byte."""
    for engine in stage.lab.engines:
        await stage.lab.sim(engine, freeze=True)
    victim, *others = stage.lab.engines
    async with asyncio.TaskGroup() as group:
        group.create_task(stage.load.rounds(stage.talks, 1))
        await stage.all_wait()
        await stage.lab.die(victim)
        for engine in others:
            await stage.lab.sim(engine, freeze=False)


def engine_hangs(fault: Fault) -> Callable[[Stage], Awaitable[None]]:
    """An engine hangs under load, as by a driver that does, until it is out and somewhat longer, and goes on later."""

    async def play(stage: Stage) -> None:
        async with stage.load.running(stage.talks):
            await stage.served(2)
            victim = stage.home()
            began = asyncio.get_running_loop().time()
            async with fault(stage.lab, victim):
                await stage.ejected(victim, began)
                await stage.served()
                await asyncio.sleep(10)
            await stage.served()

    return play


async def edge_reloaded(stage: Stage) -> None:
    """HAProxy takes its configuration again, five times."""
    async with stage.load.running(stage.talks):
        for _ in range(_RELOADS):
            await stage.served(4)
            await stage.reload_edge()
        await stage.served()


async def rolling_drain(stage: Stage) -> None:
    """Every engine in turn: drained until it is empty, restarted, taken back."""
    async with stage.load.running(stage.talks):
        for engine in stage.lab.engines:
            await stage.served(4)
            await stage.lab.admin(engine, "drain")
            await stage.emptied(engine)
            await stage.restart(engine)
            await stage.lab.admin(engine, "undrain")
            await stage.ready()
        await stage.served()


def pauses(low: float, high: float, seconds: float) -> Callable[[Stage], Awaitable[None]]:
    """Sessions of two turns with a pause between `low` and `high` seconds, begun for so many seconds."""

    async def play(stage: Stage) -> None:
        draw = random.Random(f"{low} {high}")
        clock = asyncio.get_running_loop().time
        until = clock() + seconds

        async def one(number: int) -> None:
            at = 0
            while clock() < until:
                (talk,) = conversations(1, f"p{number}-{at}", words=40)
                await stage.load.turn(talk)
                await asyncio.sleep(draw.uniform(low, high))
                await stage.load.turn(talk)
                at += 1

        async with asyncio.TaskGroup() as group:
            for number in range(_AT_ONCE):
                group.create_task(one(number))

    return play


def cases(pause_seconds: float) -> Mapping[str, Case]:
    """Every case by its name."""
    slow = ("--decode-seconds", "0.01")
    return {
        "router killed": Case(router_killed),
        "router stopped": Case(router_stopped),
        "router upgraded twice": Case(router_upgraded),
        "engine killed under load": Case(engine_killed, slow),
        "engine killed before any first byte": Case(engine_killed_early),
        "engine frozen under load": Case(engine_hangs(stopped), slow),
        "engine stands still and says it is well": Case(engine_hangs(stuck), slow),
        "edge reloaded five times": Case(edge_reloaded),
        "rolling drain and restart of every engine": Case(rolling_drain),
        "two turns, pauses of 4.5 to 6 s": Case(pauses(4.5, 6.0, pause_seconds)),
        "two turns, pauses of 14 to 16 s": Case(pauses(14.0, 16.0, pause_seconds)),
    }
