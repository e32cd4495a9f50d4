"""`router.yml` while it is in use: a change is read, checked whole, and taken over at once or not at all.

Looked at once a second and on SIGHUP, always off the request path. A bad file leaves the last good one in force, is
told once, and shows in the metrics until the file is good again. What a running router cannot change (where it
listens, who it is) is a problem like any other: then nothing of the file is applied.
"""

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.config import Settings, content, loads
from router.errors import SettingsInvalid
from router.metrics import PREFIX

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0

Stamp = tuple[int, int, int]  # of a file: when it changed, its size, its inode


@dataclass(frozen=True, slots=True)
class Source:
    """A settings file as it was read: `digest` is the SHA-256 of its bytes, in hex. `engine_key`: as its file says."""

    path: Path
    digest: str
    settings: Settings
    engine_key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Generation:
    """What is in force: the `number`-th settings since the start, loaded at the Unix time `loaded_at`.

    `problems`: why the file that lies there now is not in force, if it is not.
    """

    path: str
    digest: str
    loaded_at: float
    number: int
    problems: tuple[str, ...]


def read(path: Path) -> Source:
    """Read and check a settings file, and the key it names. SettingsInvalid carries every problem."""
    octets = content(path)
    settings = loads(octets, path.name)
    key = content(Path(settings.engine_key_file)).decode("ascii", "replace").strip() if settings.engine_key_file else ""
    if not (key.isascii() and key.isprintable()):
        found = (
            f"{path.name}: engine_key_file: found something else: allowed one line of printable ASCII; write the key"
        )
        raise SettingsInvalid((found,))
    return Source(path, _digest(octets), settings, key)


def fixed(old: Settings, new: Settings) -> Iterator[str]:
    """Say what `new` changes that a running router cannot."""
    for name, was in old.listen:
        if (now := getattr(new.listen, name)) != was:
            yield f"listen.{name}: found {now!r} where {was!r} is in use: needs a restart"
    for name in ("index", "shared"):
        if (now := getattr(new.decider, name)) != (was := getattr(old.decider, name)):
            yield f"decider.{name}: found {now!r} where {was!r} is in use: needs a restart"
    if old.log != new.log:
        logs = new.log.decisions
        yield f"log.decisions: found {logs!r} where {not logs!r} is in use: needs a restart"
    if old.traces != new.traces:
        yield f"traces: found {new.traces.endpoint!r} where {old.traces.endpoint!r} is in use: needs a restart"
    if old.routing.kv_events != new.routing.kv_events:
        heard = new.routing.kv_events
        yield f"routing.kv_events: found {heard!r} where {not heard!r} is in use: needs a restart"
    if old.edge.runtime_socket != new.edge.runtime_socket:
        found, was = new.edge.runtime_socket, old.edge.runtime_socket
        yield f"edge.runtime_socket: found {found!r} where {was!r} is in use: needs a restart"


def _wall_clock() -> float:
    return time.time_ns() / 1e9


class Reloader:
    """Keeps `apply` up to date with a file. `apply` takes over what is good and must not fail halfway."""

    def __init__(
        self, source: Source, apply: Callable[[Source], None], clock: Callable[[], float] = _wall_clock
    ) -> None:
        self._path = source.path
        self._source = source
        self._apply = apply
        self._clock = clock
        self._stamp: tuple[Stamp, ...] = ()  # the file may have changed since it was read
        self._asked = asyncio.Event()
        self.taken = self.refused = 0
        self.generation = Generation(str(source.path), source.digest, clock(), 1, ())

    def ask(self) -> None:
        """Read the file again, changed or not; for SIGHUP."""
        self._asked.set()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            asked = await self._pause()
            try:
                await self.look(asked=asked)
            except Exception:  # a disk that fails once must not end the looking
                logger.exception("settings could not be looked at: the last good ones stay")

    async def look(self, *, asked: bool = False) -> None:
        """Take over what changed, if it is good; read the file only when it was touched or `asked`."""
        stamp = await asyncio.to_thread(self._stamps)
        if stamp == self._stamp and not asked:
            return
        try:
            source: Source | None = await asyncio.to_thread(read, self._path)
            problems: tuple[str, ...] = ()
        except SettingsInvalid as error:
            source, problems = None, error.problems
        if await asyncio.to_thread(self._stamps) != stamp:
            return  # being written just now: the next look sees it whole
        self._stamp = stamp
        self._judge(source, problems, asked=asked)

    def _judge(self, source: Source | None, problems: tuple[str, ...], *, asked: bool) -> None:
        if source is not None:
            problems = tuple(
                f"{self._path.name}: {problem}" for problem in fixed(self._source.settings, source.settings)
            )
        if source is None or problems:
            self._refuse(problems, asked=asked)
        elif source != self._source or self.generation.problems or asked:
            self._take(source)

    def _stamps(self) -> tuple[Stamp, ...]:
        key = self._source.settings.engine_key_file
        return (_stamp(self._path), _stamp(Path(key))) if key else (_stamp(self._path),)

    async def _pause(self) -> bool:
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._asked.wait()
        except TimeoutError:
            return False
        self._asked.clear()
        return True

    def _take(self, source: Source) -> None:
        try:
            self._apply(source)
        except Exception as error:  # whatever it is, the last good ones are taken back
            logger.exception("settings could not be applied: the last good ones are taken over again")
            self._take_back()
            self._refuse((f"{self._path.name}: found good, but {error!r} when it was applied",), asked=True)
            return
        self._source = source
        self.taken += 1
        number = self.generation.number + 1
        self.generation = Generation(str(self._path), source.digest, self._clock(), number, ())
        logger.info("settings of %s in force (%s)", self._path, source.digest[:12])

    def _take_back(self) -> None:
        try:
            self._apply(self._source)
        except Exception:  # nothing is left to go back to: said, and served on
            logger.exception("the last good settings could not be taken over again: restart this router")

    def _refuse(self, problems: tuple[str, ...], *, asked: bool) -> None:
        if problems == self.generation.problems and not asked:
            return
        self.refused += 1
        self.generation = replace(self.generation, problems=problems)
        for problem in problems:
            logger.error("settings not taken over: %s", problem)


class ReloadCollector(Collector):
    """The reloader as Prometheus families."""

    def __init__(self, reloader: Reloader) -> None:
        self._reloader = reloader

    def describe(self) -> Iterable[Metric]:
        """Return nothing: names are known without a scrape."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Build the families."""
        now, name = self._reloader.generation, f"{PREFIX}_config"
        yield GaugeMetricFamily(
            f"{name}_reload_success", "0 when the settings file that lies there is not in force.", not now.problems
        )
        yield GaugeMetricFamily(
            f"{name}_last_success_timestamp_seconds", "When the settings in force were loaded.", now.loaded_at
        )
        family = CounterMetricFamily(f"{name}_reloads", "Settings files read while running.", labels=("result",))
        family.add_metric(("ok",), self._reloader.taken)
        family.add_metric(("failed",), self._reloader.refused)
        yield family


def _digest(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


def _stamp(path: Path) -> Stamp:
    """Zeros where there is no file."""
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)
