"""The router gets another configuration, a broken one, or is replaced, under load: no request notices."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chaos.conftest import Start
from tests.support.lab import Lab, put
from tests.support.load import at_home, conversations, ends, homes, since
from tests.support.until import until

pytestmark = pytest.mark.lab


def _edit(lab: Lab, change: Callable[[dict[str, Any]], object]) -> None:
    settings = yaml.safe_load(_file(lab).read_text())
    change(settings)
    put(_file(lab), yaml.safe_dump(settings))


def _file(lab: Lab) -> Path:
    return lab.state / "router.yml"


async def test_reload_good_and_bad_under_load_fails_nothing_and_keeps_sessions_home(start: Start) -> None:
    """A good file is taken, a broken one is not and says so; bindings and counts outlive both."""
    lab, load = await start(3, "--decode-seconds", "0.004")
    talks = conversations(18, "s")
    await load.rounds(talks, 2)
    home = homes(load.outcomes)
    began = asyncio.get_running_loop().time()

    async def counted(result: str, wanted: float) -> bool:
        return await lab.metric("ironrack_router_config_reloads_total", result=result) >= wanted

    async with load.running(talks):
        await load.go_on(48)
        _edit(lab, lambda settings: settings["routing"].update(gate_seconds=0.5))
        await until(lambda: counted("ok", 1), "the good file is in force")
        good = _file(lab).read_text()
        put(_file(lab), "engines: [")
        await until(lambda: counted("failed", 1), "the broken file is refused")
        assert await lab.metric("ironrack_router_config_reload_success") == 0.0
        await load.go_on(48)
        put(_file(lab), good)
        lab.signal("router", signal.SIGHUP)
        await until(lambda: counted("ok", 2), "the good file is in force again")
        await load.go_on(48)
    assert ends(load.outcomes) == {"ok": len(load.outcomes)}
    assert "fallback" not in {one.reason for one in since(load.outcomes, began)}
    assert at_home(since(load.outcomes, began), home) == 1.0
    await until(lab.idle, "no load is left at the router")


async def test_engine_taken_from_the_configuration_under_load_fails_nothing(start: Start) -> None:
    """Until the edge has lost it too, sessions may still be at home there; put back, it serves new ones."""
    lab, load = await start(3, "--decode-seconds", "0.004")
    talks = conversations(18, "s")
    gone = list(lab.engines)[-1]
    whole = _file(lab).read_text()

    async def known(count: int) -> bool:
        return len(await lab.fleet()) == count

    async with load.running(talks):
        await load.go_on(48)
        _edit(lab, lambda settings: settings.update(engines=settings["engines"][:-1]))
        lab.signal("router", signal.SIGHUP)
        await until(lambda: known(2), "the router has taken it out")
        await load.go_on(48)
        put(_file(lab), whole)
        lab.signal("router", signal.SIGHUP)
        await until(lambda: known(3), "the router has it back")
        await until(lab.all_ready, "it is ready", 20)
        new = await load.rounds(conversations(24, "n"), 1)
    assert gone in {one.served_by for one in new}
    assert ends(load.outcomes) == {"ok": len(load.outcomes)}
    await until(lab.idle, "no load is left at the router")


async def test_router_replaced_under_load_fails_nothing(start: Start) -> None:
    """Stopped as an upgrade stops it, another one started: no turn fails, at least 95 % of sessions stay home."""
    lab, load = await start(3, "--decode-seconds", "0.004")
    talks = conversations(24, "s")
    await load.rounds(talks, 2)
    home = homes(load.outcomes)
    began = asyncio.get_running_loop().time()
    async with load.running(talks):
        for _ in range(2):
            await load.go_on(48)
            await asyncio.to_thread(lab.restart, "router")
        await load.go_on(48)
    assert ends(load.outcomes) == {"ok": len(load.outcomes)}
    assert at_home(since(load.outcomes, began), home) >= 0.95
    await until(lab.idle, "no load is left at the router")
