"""Wait for a condition instead of sleeping and hoping."""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable

from tests.support.processes import PATIENCE


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str, seconds: float = 10.0) -> None:
    """Return as soon as `condition` holds; fail with `what` when it does not within `PATIENCE` times `seconds`."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + PATIENCE * seconds
    while True:
        found = condition()
        if await found if isawaitable(found) else found:
            return
        if clock() > deadline:
            raise AssertionError(f"{what}: not so within {PATIENCE * seconds:g} s")
        await asyncio.sleep(0.01)
