"""Work that goes on beside a test."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any


@asynccontextmanager
async def beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Go on with it while the block runs, and end it then; raises what the work did, or if it ended by itself."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        yield
    finally:
        ended = [task for task in tasks if not task.cancel()]
        for task in tasks:
            with suppress(asyncio.CancelledError):  # it was told to end
                await task
        assert not ended, f"ended by itself: {ended}"
