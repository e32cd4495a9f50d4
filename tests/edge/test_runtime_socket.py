"""HAProxy's runtime socket, as the router uses it: what it says, what it does, and what that does to requests."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count

import pytest

from router.drains import Drain
from router.edge import EdgeError, EdgeKeeper, EdgeSocket
from router.edge_text import ServerState
from router.fleet import EngineSettings, Fleet, FleetSettings, Probe
from router.sever import Pair, Severed, sever
from tests.support.clients import Answer
from tests.support.fleets import ask
from tests.support.processes import wait_until
from tests.support.stack import Stack

Start = Callable[..., Stack]
BACKEND = "model-tiny"


def runtime(stack: Stack) -> EdgeSocket:
    return EdgeSocket(str(stack.config["runtime_socket"]))


def seen(stack: Stack, engine: str) -> ServerState:
    return asyncio.run(runtime(stack).servers())[BACKEND, engine]


def waiting(stack: Stack, engine: str) -> int:
    return len(asyncio.run(runtime(stack).waiting(BACKEND, engine)))


def router(stack: Stack, out: str = "") -> tuple[Fleet, EdgeKeeper]:
    """Fleet and keeper of another router on the same edge; to it, engine `out` hangs."""
    engines = tuple(EngineSettings(name, f"http://127.0.0.1:{port}", "tiny") for name, port in stack.ports.items())
    fleet = Fleet(FleetSettings(engines, probe_fail_after=1), 0.0)
    for engine in engines:
        fleet.probe(engine.name, Probe(ok=True), 0.0)
    if out:
        fleet.probe(out, Probe(ok=False), 0.0)
    backends = dict.fromkeys(stack.ports, BACKEND)
    return fleet, EdgeKeeper(fleet, runtime(stack), lambda: backends, time.monotonic)


@contextmanager
def asking(stack: Stack, engine: str, count: int, **wish: object) -> Iterator[list[Future[Answer]]]:
    """So many requests of one session at `engine`, once they are there."""
    before = seen(stack, engine).sessions
    with ThreadPoolExecutor(count) as pool:
        asked = [pool.submit(partial(stack.chat, "s", **wish)) for _ in range(count)]
        wait_until(lambda: seen(stack, engine).sessions == before + count, "the requests are at their engine")
        yield asked


@pytest.fixture
def can_sever() -> None:
    """Skip where this user or kernel cannot end sockets."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        if sever_own(client) is Severed.IMPOSSIBLE:
            pytest.skip("needs CAP_NET_ADMIN and a kernel with CONFIG_INET_DIAG_DESTROY: runs as root on Debian 12")


def sever_own(client: socket.socket) -> Severed:
    """End one's own connection."""
    return sever(Pair(*client.getsockname(), *client.getpeername()))


def test_every_server_is_listed_with_its_load(start: Start) -> None:
    """All engines by backend and name, up, with the requests that are there."""
    stack = start({"tiny": 2})
    engine = stack.chat("s").engine
    with asking(stack, engine, 2, delay=0.5):
        assert seen(stack, engine) == ServerState(sessions=2, up=True)
    found = asyncio.run(runtime(stack).servers())
    assert {name for backend, name in found if backend == BACKEND} == set(stack.engines)


def test_a_drained_server_gets_nothing_new_and_finishes_what_it_has(start: Start) -> None:
    """Not even the sessions that the edge's table remembers, router or not; ready again, they come home."""
    stack = start({"tiny": 2})
    home = stack.chat("s").engine
    with asking(stack, home, 1, chunks=10, gap=0.1) as (stream,):
        asyncio.run(runtime(stack).drain(BACKEND, home))
        assert seen(stack, home).drained
        assert stack.chat("s").engine != home
        stack.router.stop()
        assert {stack.chat("s").engine for _ in range(5)} == set(stack.engines) - {home}
        assert stream.result().body.count(b"data:") == 10
    asyncio.run(runtime(stack).drain(BACKEND, home, Drain.NONE))
    wait_until(lambda: seen(stack, home).up, "the server is up")
    assert not seen(stack, home).drained


def test_only_what_waits_for_its_first_byte_and_can_be_sent_again_is_found(start: Start) -> None:
    """Neither a stream that has begun, nor a body that the edge could not keep whole, nor another engine's request."""
    stack = start({"tiny": 2})
    engine = stack.chat("s").engine
    other = next(name for name in stack.engines if name != engine)
    stack.router.stop()
    with asking(stack, engine, 1, chunks=2, gap=1), asking(stack, engine, 1, delay=1, pad="x" * 300_000):
        wait_until(lambda: waiting(stack, engine) == 0, "the stream has begun")
        with ExitStack() as asked, stack.engines[engine].frozen():
            asked.enter_context(asking(stack, engine, 2, delay=0))
            assert waiting(stack, engine) == 2
            assert waiting(stack, other) == 0
    assert waiting(stack, engine) == 0


@pytest.mark.usefixtures("can_sever")
def test_requests_that_wait_at_a_frozen_engine_are_served_by_another(start: Start) -> None:
    """A stream that had begun there goes on when the engine does; the edge sends nothing back to it meanwhile."""
    stack = start({"tiny": 3})
    frozen = stack.chat("s").engine
    with asking(stack, frozen, 1, chunks=10, gap=0.1) as (stream,):
        wait_until(lambda: waiting(stack, frozen) == 0, "the stream has begun")
        with stack.engines[frozen].frozen(), asking(stack, frozen, 4, delay=0.1) as asked:
            _, relieving = router(stack, out=frozen)
            asyncio.run(relieving.step())
            answers = [one.result(10) for one in asked]
        assert stream.result().body.count(b"data:") == 10
    assert {(one.status, one.why) for one in answers} == {(200, "retry")}
    assert frozen not in {one.engine for one in answers}
    assert relieving.tally.severed == 4


@pytest.mark.usefixtures("can_sever")
def test_without_another_engine_requests_keep_waiting(start: Start) -> None:
    """The last engine may come back to life: better late than never."""
    stack = start({"tiny": 1})
    (only,) = stack.engines
    with asking(stack, only, 1, delay=1) as (waits,):
        assert waiting(stack, only) == 1
        asyncio.run(router(stack, out=only)[1].step())
        assert waits.result().status == 200


def test_drains_pass_between_routers_and_over_a_reload_of_the_edge(start: Start) -> None:
    """Two routers share one edge; what one drains the other finds drained, and a reloaded edge is told again."""
    stack = start({"tiny": 2})
    victim = stack.chat("s").engine
    (fleet, one), (other, two) = router(stack), router(stack)
    fleet.drain(victim)
    asyncio.run(one.step())
    asyncio.run(two.step())
    assert [engine.name for engine in other.snapshot(0.0).engines if engine.draining] == [victim]
    assert stack.edge.process is not None
    stack.edge.process.send_signal(signal.SIGUSR2)
    wait_until(lambda: not seen(stack, victim).drained, "the new process has forgotten")
    wait_until(lambda: asyncio.run(two.step()) is None and seen(stack, victim).drained, "it is told again")


def test_leases_beyond_what_the_edge_counts_at_a_busy_engine_are_given_back(start: Start) -> None:
    """Of three requests that a router knows of, two ended unheard: the edge has one there, for longer than all this."""
    stack = start({"tiny": 1})
    engine = stack.chat("s").engine
    fleet, _ = router(stack)
    keeper = EdgeKeeper(fleet, runtime(stack), lambda: {engine: BACKEND}, count(70.0, 0.3).__next__)
    for number in range(3):
        fleet.decide(ask(f"r{number}", number, model="tiny"), 0.0)
    with asking(stack, engine, 1, delay=5) as (asked,):
        wait_until(lambda: _kept(keeper, fleet) == 1, "one lease is left")
        for _ in range(3):
            assert _kept(keeper, fleet) == 1
        assert not asked.done()


def _kept(keeper: EdgeKeeper, fleet: Fleet) -> int:
    asyncio.run(keeper.step())
    return fleet.snapshot(0.0).leases


def test_a_socket_where_nobody_is_is_an_error_that_says_so(shared: Stack) -> None:
    """Nobody there, or an order that HAProxy refuses."""
    with pytest.raises(EdgeError, match="is the edge up"):
        asyncio.run(EdgeSocket(str(shared.folder / "nobody.sock")).servers())
    with pytest.raises(EdgeError, match="No such server"):
        asyncio.run(runtime(shared).drain(BACKEND, "nobody"))
