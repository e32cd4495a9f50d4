"""Memory for whole bodies: bounded for one, bounded for all, and given back whatever happens."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from router.errors import Refused
from router.spool import Spool, read
from tests.support.until import until


class Pieces:
    """Octets that come in pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces
        self.taken = 0

    async def iter_any(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            self.taken += 1
            yield piece


async def test_body_is_read_whole() -> None:
    """Pieces become the body they were."""
    assert await read(Pieces(b"ab", b"", b"cd"), 4) == b"abcd"


async def test_longer_body_is_refused_at_the_piece_that_is_too_much() -> None:
    """Nothing is read beyond the limit."""
    pieces = Pieces(b"ab", b"cd", b"ef")
    with pytest.raises(Refused) as caught:
        await read(pieces, 3)
    assert (caught.value.status, pieces.taken) == (413, 2)


async def test_announced_length_over_the_limit_is_refused_before_anything_is_read() -> None:
    """A length is believed when it is too large."""
    spool = Spool(10, 100, 1)
    with pytest.raises(Refused) as caught:
        async with spool.room(11):
            pass
    assert (caught.value.status, spool.held) == (413, 0)


async def test_body_of_unknown_length_holds_room_for_the_longest() -> None:
    """It might become that long."""
    spool = Spool(10, 100, 1)
    async with spool.room(None) as most:
        assert (most, spool.held) == (10, 10)
    assert spool.held == 0


async def test_bodies_wait_in_turn_for_room() -> None:
    """A small body does not overtake a large one that waits."""
    spool, order = Spool(10, 10, 20), list[str]()

    async def hold(name: str, size: int) -> None:
        async with spool.room(size):
            order.append(name)

    async with asyncio.TaskGroup() as group, spool.room(9):
        group.create_task(hold("large", 5))
        await asyncio.sleep(0)
        group.create_task(hold("small", 1))
        await asyncio.sleep(0)
        assert order == []
    assert (order, spool.held) == (["large", "small"], 0)


async def test_waiting_for_room_ends() -> None:
    """Who cannot be served in time is told when to come back."""
    spool = Spool(10, 10, 0.01)
    async with spool.room(10):
        with pytest.raises(Refused) as caught:
            async with spool.room(1):
                pass
    assert (caught.value.status, caught.value.retry_after, spool.held) == (503, 1, 0)


@pytest.mark.parametrize("at_once", [True, False])
async def test_client_that_leaves_while_it_waits_holds_nothing(at_once: bool) -> None:
    """Cancelled before or in the moment that room is given: the books are balanced, and the next one gets it."""
    spool, entered = Spool(10, 10, 20), list[int]()

    async def hold(size: int) -> None:
        async with spool.room(size):
            entered.append(size)

    async with spool.room(10):
        leaving, staying = asyncio.ensure_future(hold(10)), asyncio.ensure_future(hold(1))
        await asyncio.sleep(0)
        if at_once:
            leaving.cancel()
            await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await until(staying.done, "the next one had its turn")
    assert (entered, spool.held) == ([1], 0)
