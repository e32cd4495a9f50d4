"""Load of routers on other hosts: it fades with age, and a silent peer costs nobody anything."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from router.fleet import EngineSettings, Fleet, FleetSettings
from router.foreign import Foreign
from router.gossip import Gossip, Heard, together
from router.shared import Shared
from tests.support.processes import free_ports
from tests.support.until import until


@given(st.lists(st.tuples(st.integers(-10, 100_000), st.floats(-1, 5)), max_size=5))
def test_what_is_heard_fades_and_is_dropped(said: list[tuple[int, float]]) -> None:
    """Nobody counts for more than it said, and nobody silent for 2 s counts at all."""
    heard = [Heard({"a": (tokens, 1)}, 10.0 - age) for tokens, age in said]
    found = together(heard, 10.0).get("a", (0, 0))
    fresh = [max(tokens, 0) for tokens, age in said if 10.0 - (10.0 - age) <= 2.0]
    assert 0 <= found[0] <= sum(fresh) + 1
    assert found[1] <= len(fresh)


def test_fresh_news_count_in_full_and_old_ones_by_half() -> None:
    """Half is left after 0.7 s."""
    assert together([Heard({"a": (1000, 10)}, 5.0)], 5.0) == {"a": (1000, 10)}
    assert together([Heard({"a": (1000, 10)}, 5.0)], 5.693) == {"a": (500, 5)}
    assert together([Heard({"a": (1000, 10)}, 5.0), Heard({"a": (1, 1)}, 5.0)], 5.0) == {"a": (1001, 11)}


class Peer:
    """Another router's HTTP side; `mood` is what it does when asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.mood = "well"

    async def load(self, _: web.Request) -> web.Response:
        self.asked += 1
        if self.mood == "hangs":
            await asyncio.sleep(3)  # longer than anybody waits
        text = {"well": '{"loads":{"a":[700,3]}}', "garbage": "{", "lists": '{"loads":{"a":"x"}}'}.get(self.mood, "")
        return web.Response(text=text, status=500 if self.mood == "fails" else 200)


@asynccontextmanager
async def running(peer: Peer, *more: str) -> AsyncIterator[tuple[Gossip, str]]:
    app = web.Application()
    app.router.add_get("/internal/load", peer.load)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    gossip = Gossip((url, *more), time.monotonic)
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(gossip.run())
        yield gossip, url
        task.cancel()
    await runner.cleanup()


async def test_peer_is_heard_beside_a_dead_one() -> None:
    """A host that is off does not keep the others from being heard."""
    [closed] = free_ports(1)
    async with running(Peer(), f"http://127.0.0.1:{closed}") as (gossip, _):
        await until(lambda: gossip.loads(time.monotonic()).get("a", (0, 0))[1] == 3, "the peer is heard", 20)
        assert gossip.up(time.monotonic()) == 1


async def test_peer_that_talks_nonsense_is_forgotten_and_heard_again() -> None:
    """Errors, garbage and silence are all the same: no load, until it answers again."""
    peer = Peer()
    async with running(peer) as (gossip, _):
        for mood in ("fails", "garbage", "lists", "hangs"):
            peer.mood = "well"
            await until(lambda: bool(gossip.loads(time.monotonic())), "it is heard", 30)
            peer.mood = mood
            await until(lambda: not gossip.loads(time.monotonic()), f"it is dropped when it {mood}", 20)


async def test_peers_come_and_go() -> None:
    """A changed list is followed at once; who is no peer any more is forgotten."""
    peer = Peer()
    async with running(peer) as (gossip, url):
        await until(lambda: bool(gossip.loads(time.monotonic())), "it is heard", 20)
        gossip.configure(())
        assert not gossip.loads(time.monotonic())
        gossip.configure((url,))
        await until(lambda: bool(gossip.loads(time.monotonic())), "it is heard again", 20)


def fleet(*engines: str) -> Fleet:
    return Fleet(FleetSettings(tuple(EngineSettings(name, f"http://{name}:1", "tiny") for name in engines)), 0.0)


def foreign_of(owner: Fleet) -> dict[str, tuple[int, int]]:
    engines = owner.snapshot(0.0).engines
    return {engine.name: (engine.foreign_uncached_tokens, engine.foreign_in_flight) for engine in engines}


def test_both_sources_add_up_and_vanish(tmp_path: str) -> None:
    """What a neighbour has and what a peer has is one load; when both are silent it is none."""
    now = [10.0]
    owner, gossip = fleet("a", "b"), Gossip((), lambda: now[0])
    foreign = Foreign(owner, Shared(str(tmp_path), 0), gossip, lambda: now[0])
    foreign.configure(("a", "b"), ())
    neighbour = Shared(str(tmp_path), 1)
    neighbour.configure(("a", "b"), now[0])
    neighbour.exchange({"a": (100, 1)}, now[0])
    gossip._heard["peer"] = Heard({"a": (1000, 2), "unknown": (1, 1)}, now[0])
    foreign.refresh()
    assert foreign_of(owner) == {"a": (1100, 3), "b": (0, 0)}
    now[0] += 3.0
    foreign.refresh()
    assert foreign_of(owner) == {"a": (0, 0), "b": (0, 0)}
    foreign.close()


def test_load_is_told_again_after_a_reload(tmp_path: str) -> None:
    """An engine that was replaced under its name learns what others have there, even if that did not change."""
    owner = fleet("a")
    foreign = Foreign(owner, Shared(str(tmp_path), 0), None, lambda: 10.0)
    foreign.configure(("a",), ())
    neighbour = Shared(str(tmp_path), 1)
    neighbour.configure(("a",), 10.0)
    neighbour.exchange({"a": (100, 1)}, 10.0)
    foreign.refresh()
    owner.configure(FleetSettings((EngineSettings("a", "http://other:1", "tiny"),)))
    foreign.configure(("a",), ())
    foreign.refresh()
    assert foreign_of(owner) == {"a": (100, 1)}
    foreign.close()
