"""Wait for a condition instead of sleeping and hoping."""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable

from aiohttp import ClientError

from router.edge_socket import EdgeError
from tests.support.processes import PATIENCE

Condition = Callable[[], bool | Awaitable[bool]]
# Who is asked may be slow on a machine that does much else, or not there yet: asked again, it answers.
NOT_YET = (OSError, ClientError, EdgeError)


async def until(condition: Condition, what: str, seconds: float = 10.0) -> None:
    """Return as soon as `condition` holds, taking silence for no; fail with `what` when it never does.

    `seconds` are those of an idle machine; one that does much else gets `PATIENCE` times as many.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + PATIENCE * seconds
    while (no := await _refused(condition)) is not None:
        if clock() > deadline:
            raise AssertionError(f"{what}: not so within {PATIENCE * seconds:g} s: {no!r}")
        await asyncio.sleep(0.01)


async def _refused(condition: Condition) -> object:
    """What stands against it: False or the problem; None when it holds."""
    try:
        found = condition()
        holds = await found if isawaitable(found) else found
    except NOT_YET as problem:
        return problem
    return None if holds else False
