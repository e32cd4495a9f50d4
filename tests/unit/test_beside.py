"""What goes on beside a test cannot fail unseen."""

import asyncio

import pytest

from tests.support.beside import beside


async def _fails() -> None:
    raise ValueError("seen")


async def _ends() -> None:
    await asyncio.sleep(0)


async def test_work_is_ended_with_the_block() -> None:
    """However long it would have gone on."""
    left = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    async with beside(work()):
        await asyncio.sleep(0)
    assert left.is_set()


async def test_what_the_work_raised_is_raised() -> None:
    """A test that passes although its router crashed has shown nothing."""
    with pytest.raises(ValueError, match="seen"):
        async with beside(_fails()):
            await asyncio.sleep(0)


async def test_work_that_ends_by_itself_is_told() -> None:
    """Whatever runs beside a test is made to go on."""
    with pytest.raises(AssertionError, match="ended by itself"):
        async with beside(_ends()):
            await asyncio.sleep(0.01)
