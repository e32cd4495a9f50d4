"""The command line: `python -m router --config FILE`, or `--check-config FILE` to read it and stop.

SIGHUP reads FILE again; a change of it is noticed anyway.

Exit codes: 0 stopped as asked, or the settings are good; 1 could not run; 2 the settings or the command line are wrong.
"""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from router.app import Addresses, Router
from router.config import load
from router.errors import SettingsInvalid
from router.reload import Source, read
from router.tidy import tame

logger = logging.getLogger("router")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = _options(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        if options.check_config:
            return _checked(options.check_config)
        source = read(options.config)
    except SettingsInvalid as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return 2
    try:
        uvloop.run(_serve(source))
    except OSError as error:
        print(f"router: {error}: allowed addresses that are free on this host; see `listen`", file=sys.stderr)
        return 1
    return 0


def _checked(path: Path) -> int:
    """Check the settings alone: the key that they name may be elsewhere. SettingsInvalid carries every problem."""
    settings = load(path)
    print(f"{path}: {len(settings.engines)} engines, {len(settings.models)} models: good")
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="router", description="Decides which engine serves a request.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="router.yml")
    parser.add_argument("--check-config", type=Path, metavar="FILE", nargs="?", const=Path(), help="check it, and stop")
    options = parser.parse_args(argv)
    if options.check_config == Path():
        options.check_config = options.config
    if not (options.config or options.check_config):
        parser.error("found neither --config FILE nor --check-config FILE: one is needed")
    return options


async def _serve(source: Source) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    router = Router(source.settings, source)
    loop.add_signal_handler(signal.SIGHUP, router.reload)
    tame()
    await router.serve(stop, _say)
    logger.info("stopped")


def _say(addresses: Addresses) -> None:
    logger.info("questions on %s, events on %s, HTTP on %s", addresses.spop, addresses.events, addresses.http)


if __name__ == "__main__":
    sys.exit(main())
