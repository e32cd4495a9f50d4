"""Wait for a condition instead of sleeping and hoping."""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str, seconds: float = 10.0) -> None:
    """Return as soon as `condition` holds; fail with `what` when it does not within `seconds`."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    while True:
        found = condition()
        if await found if isawaitable(found) else found:
            return
        if clock() > deadline:
            raise AssertionError(f"{what}: not so within {seconds:g} s")
        await asyncio.sleep(0.01)
