"""`python -m tests.engines --name engine-sim-0 --port 8101 --model sim`."""

import asyncio
import signal
import sys

import uvloop

from tests.engines.config import EngineConfig, from_argv
from tests.engines.server import serve


async def _run(config: EngineConfig) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(config, stop)


def main() -> None:
    """Serve until told to stop."""
    config = from_argv(sys.argv[1:])
    try:
        uvloop.run(_run(config))
    except OSError as problem:
        sys.exit(
            f"{config.name}: {config.host}:{config.port}: {problem.strerror}: needs a free port; give another --port"
        )


if __name__ == "__main__":
    main()
