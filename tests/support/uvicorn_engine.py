"""What vLLM answers with, and nothing else: uvicorn, and our middleware around an application of a few lines.

`/stream` says one event, and the other once its client has read the first and asked `/go`; `/whole` has a mebibyte;
`/nothing` has no body; on `/dies` the process is killed after uvicorn has the head of the answer and before it has a
byte of its body. Run with roles/engine/files on PYTHONPATH: `python -m tests.support.uvicorn_engine PORT PARSER`.
"""

import asyncio
import importlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
Scope = MutableMapping[str, Any]

WHOLE = b"w" * 2**20
go = asyncio.Event()


async def answers(scope: Scope, _: Receive, send: Send) -> None:
    """The application: an answer by path."""
    path = scope.get("path")
    if path == "/stream":
        go.clear()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await go.wait()
        await send({"type": "http.response.body", "body": b"second"})
        return
    if path == "/go":
        go.set()
    body = {"/whole": WHOLE, "/dies": b"late"}.get(path or "", b"")
    length = [(b"content-length", str(len(body)).encode())]
    status = {"/nothing": 204}.get(path or "", 200)
    await send({"type": "http.response.start", "status": status, "headers": [] if status == 204 else length})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serve until killed; `h11` for PARSER: as on a machine without httptools."""
    if sys.argv[2] == "h11":
        sys.modules["httptools"] = None  # type: ignore[assignment]  # how an import is made to fail
    # As vLLM does: before it makes its server.
    held = importlib.import_module("hold_headers").HoldHeaders(answers)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def last(message: Message) -> None:
            if scope["path"] == "/dies" and message["type"] == "http.response.body":
                os.kill(os.getpid(), signal.SIGKILL)
            await send(message)

        await held(scope, receive, last)

    uvicorn.run(app, port=int(sys.argv[1]), lifespan="off", log_level="warning")


if __name__ == "__main__":
    main()
