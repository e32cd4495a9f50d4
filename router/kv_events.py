"""What engines publish about their KV caches, heard: one connection for each engine, none of it in a decision's way.

A batch is numbered. Where a number is missing, the engine is asked to say again what it remembers (the last 10,000
batches by default); where that does not reach back far enough, all that was known of that engine is forgotten, the
approximate index answers for it, and what comes from then on is learnt. A number that is too small means that another
process publishes there: everything is asked for from the beginning. The same happens when the prober sees another life
of the engine. Where nothing was published for a while, asking for what comes next shows whether anybody is there.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass

import zmq
import zmq.asyncio
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.exposition import PREFIX
from router.fleet import EngineSnapshot
from router.kv_index import KvIndex
from router.kv_wire import END, Batch, read_batch, read_frames, replay_from

logger = logging.getLogger(__name__)

Frames = list[bytes]

_QUIET_SECONDS = 5.0  # without an event, until the engine is asked whether it has any
_TICK_SECONDS = 1.0
_REPLAY_SECONDS = 5.0  # until an engine begins to say again what it said
_PAUSE_SECONDS = 0.5  # between two messages of that; more, and the rest was dropped
_AGAIN_SECONDS = 2.0
_REPLAYS_AT_ONCE = 4
_MOST_WAITING = 2_000  # messages of one engine; more are lost and replayed
_MOST_OCTETS = 33_554_432  # of one message
_IN_A_ROW = 16  # messages, until others have their turn


@dataclass(frozen=True, slots=True)
class Feed:
    """Where one engine publishes. `replay` empty: it says nothing again."""

    engine: str
    model: str
    endpoint: str
    replay: str


@dataclass(slots=True)
class FeedTally:
    """One engine's counts. `heard_at`: monotonic seconds when it last said anything, or was found to have nothing."""

    heard_at: float
    events: int = 0
    gaps: int = 0
    replays: int = 0
    replays_failed: int = 0
    malformed: int = 0


class KvEvents:
    """Follows all engines for ever. `engines` tells their lives and how large their caches are."""

    def __init__(
        self,
        index: KvIndex,
        feeds: Sequence[Feed],
        engines: Callable[[], Iterable[EngineSnapshot]],
        clock: Callable[[], float],
    ) -> None:
        self._index = index
        self._engines = engines
        self._clock = clock
        self._feeds: dict[str, Feed] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._lives: dict[str, int] = {}
        self._start: Callable[[Feed], asyncio.Task[None]] | None = None
        self._replaying = asyncio.Semaphore(_REPLAYS_AT_ONCE)
        self.tallies: dict[str, FeedTally] = {}
        self.configure(feeds)

    def configure(self, feeds: Sequence[Feed]) -> None:
        """Follow these from now on; those that stay are followed on."""
        wanted = {feed.engine: feed for feed in feeds}
        for name, feed in tuple(self._feeds.items()):
            if wanted.get(name) != feed:
                self._leave(name)
        for name, feed in wanted.items():
            if name not in self._feeds:
                self._index.follow(name, feed.model)
                self.tallies[name] = FeedTally(self._clock())
        self._feeds = wanted
        self._start_tasks()

    async def run(self) -> None:
        """Follow until cancelled."""
        with zmq.asyncio.Context() as context:
            try:
                async with asyncio.TaskGroup() as group:
                    self._start = lambda feed: group.create_task(
                        self._keep_following(context, feed), name=f"kv events of {feed.engine}"
                    )
                    self._start_tasks()
                    while True:
                        self._look()
                        await asyncio.sleep(_TICK_SECONDS)
            finally:
                self._start = None
                self._tasks.clear()
                context.destroy(linger=0)

    def _start_tasks(self) -> None:
        if self._start is not None:
            for name, feed in self._feeds.items():
                if name not in self._tasks:
                    self._tasks[name] = self._start(feed)

    def _leave(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
        self._index.leave(name)
        self.tallies.pop(name, None)
        self._lives.pop(name, None)

    def _look(self) -> None:
        for engine in self._engines():
            if engine.name in self._feeds:
                self._lives[engine.name] = engine.epoch
                self._index.resize(engine.name, engine.cache_tokens)
        self._index.expire(self._clock())

    async def _keep_following(self, context: "zmq.asyncio.Context", feed: Feed) -> None:
        while True:
            try:
                with _socket(context, zmq.SUB, feed.endpoint) as socket:
                    await _Follower(self, context, feed, socket).follow()
            except Exception:  # one broken feed must not end the others
                logger.exception("events of %s could not be followed: starting again", feed.engine)
            self._index.begin(feed.engine, whole=False)
            await asyncio.sleep(_AGAIN_SECONDS)

    def life(self, engine: str) -> int:
        """Which life of its cache `engine` is in."""
        return self._lives.get(engine, 0)

    def heard(self, engine: str) -> FeedTally:
        """Return the engine's tally; it has said something."""
        tally = self.tallies[engine]
        tally.heard_at = self._clock()
        return tally

    def ages(self) -> dict[str, float]:
        """Return seconds since each engine was last heard of."""
        now = self._clock()
        return {name: now - tally.heard_at for name, tally in self.tallies.items()}

    def take(self, engine: str, batch: Batch) -> None:
        """Take over what happened at `engine`."""
        self.heard(engine).events += len(batch.events)
        self._index.apply(engine, batch.events)

    def begin(self, engine: str, *, whole: bool) -> None:
        """`engine`'s story begins anew."""
        self._index.begin(engine, whole=whole)

    def replaying(self) -> asyncio.Semaphore:
        """What bounds how many engines are asked to repeat themselves at a time."""
        return self._replaying


class _Follower:
    """One engine, while one connection to it lasts."""

    def __init__(
        self, owner: KvEvents, context: "zmq.asyncio.Context", feed: Feed, socket: "zmq.asyncio.Socket"
    ) -> None:
        self._owner = owner
        self._context = context
        self._feed = feed
        self._socket = socket
        self._next: int | None = None  # the number that is due; None: whatever comes
        self._last_ts = 0.0
        self._life = owner.life(feed.engine)

    async def follow(self) -> None:
        """Take over what comes, until the connection fails."""
        await self._begin_anew()
        quiet = 0.0
        while True:
            if await self._socket.poll(int(_TICK_SECONDS * 1000)):
                await self._drain()
                quiet = 0.0
            else:
                quiet += _TICK_SECONDS
            if self._life != self._owner.life(self._feed.engine):
                await self._begin_anew()
            elif quiet >= _QUIET_SECONDS:
                quiet = 0.0
                await self._fill(None)

    async def _drain(self) -> None:
        raw: zmq.Socket[bytes] = zmq.Socket.shadow(self._socket)
        with suppress(zmq.Again):  # nothing more is there now
            while True:
                for _ in range(_IN_A_ROW):
                    await self._live(raw.recv_multipart(zmq.NOBLOCK))
                await asyncio.sleep(0)

    async def _live(self, frames: Frames) -> None:
        read = self._read(frames)
        if read is None:
            return
        sequence, batch = read
        if self._next is not None and sequence < self._next:
            if batch.ts > self._last_ts:  # not one that was replayed already: another process counts from 0
                await self._begin_anew()
        elif self._next is not None and sequence > self._next:
            self._owner.tallies[self._feed.engine].gaps += 1
            await self._fill(sequence)
            if self._next == sequence:
                self._take(sequence, batch)
        else:
            self._take(sequence, batch)

    def _read(self, frames: Frames) -> tuple[int, Batch] | None:
        """None where it is no message of an engine: its number stays due, and so it is asked for again."""
        try:
            sequence, payload = read_frames(frames)
            return sequence, read_batch(payload)
        except (ValueError, RecursionError) as error:
            tally = self._owner.heard(self._feed.engine)
            tally.malformed += 1
            if tally.malformed == 1:
                logger.error("events of %s: found %s: allowed vLLM's batches of KV events", self._feed.engine, error)
            return None

    def _take(self, sequence: int, batch: Batch) -> None:
        try:
            self._owner.take(self._feed.engine, batch)
        except ValueError:
            self._owner.tallies[self._feed.engine].malformed += 1
        self._next = sequence + 1
        self._last_ts = max(self._last_ts, batch.ts)

    async def _fill(self, before: int | None) -> None:
        """Get what was missed; `before`: the number of a message that is here. Begin anew where some of it is gone."""
        due = self._next
        if due is None:
            await self._begin_anew()
            return
        self._owner.tallies[self._feed.engine].replays += before is not None  # else it was only asked for news
        first = await self._replay(due)
        missed = first is not None and first != due if before is None else self._next is None or self._next < before
        if missed:
            await self._begin_anew()
        if before is not None and (self._next is None or self._next < before):
            # Nobody can say it again: what is here goes on behind a hole.
            self._owner.begin(self._feed.engine, whole=False)
            self._next = before

    async def _begin_anew(self) -> None:
        """Forget everything, and hear all that the engine still remembers; it is whole if it begins with the first."""
        name = self._feed.engine
        self._life = self._owner.life(name)
        self._next, self._last_ts = None, 0.0
        self._owner.begin(name, whole=False)
        self._owner.tallies[name].replays += bool(self._feed.replay)
        await self._replay(0, anew=True)

    async def _replay(self, since: int, *, anew: bool = False) -> int | None:
        """Take over what the engine says again from `since` on. Return the first number; None: there was none."""
        name, tally = self._feed.engine, self._owner.tallies[self._feed.engine]
        if not self._feed.replay:
            return None
        first, due = None, since
        async with self._owner.replaying():
            while True:
                found, done = await self._replay_once(due, anew=anew and first is None)
                first = found if first is None else first
                if done or found is None or self._next is None:
                    break
                due = self._next  # the engine's socket was full, and it drops what does not fit
        if not done:
            tally.replays_failed += 1
            return first
        if first is None and anew:
            self._owner.begin(name, whole=True)  # it has published nothing: it holds nothing
            self._next = 0
        self._owner.heard(name)
        return first

    async def _replay_once(self, since: int, *, anew: bool) -> tuple[int | None, bool]:
        """Return the first number, and whether the engine has nothing to add."""
        first = None
        async with aclosing(self._replayed(since)) as messages:
            async for sequence, batch in messages:
                if batch is None:
                    return first, True
                if first is None and anew:
                    self._owner.begin(self._feed.engine, whole=sequence == 0)
                elif sequence != (since if first is None else self._next):
                    return (sequence, True) if first is None else (first, False)
                first = sequence if first is None else first
                self._take(sequence, batch)
        return first, False

    async def _replayed(self, since: int) -> AsyncGenerator[tuple[int, Batch | None], None]:
        """The messages of a replay, and one without a batch when it was complete."""
        with _socket(self._context, zmq.DEALER, self._feed.replay) as socket:
            await socket.send_multipart(replay_from(since))
            patience = _REPLAY_SECONDS
            while await socket.poll(int(patience * 1000)):
                patience = _PAUSE_SECONDS
                frames = await socket.recv_multipart()
                if frames[-2:-1] == [END.to_bytes(8, "big", signed=True)]:
                    yield END, None
                    return
                read = self._read(frames)
                if read is None:
                    return
                yield read
                await asyncio.sleep(0)  # what is there already would come without a pause


def _socket(context: "zmq.asyncio.Context", kind: int, endpoint: str) -> "zmq.asyncio.Socket":
    socket = context.socket(kind)
    for option, value in (
        (zmq.LINGER, 0),
        (zmq.RCVHWM, _MOST_WAITING),
        (zmq.MAXMSGSIZE, _MOST_OCTETS),
        (zmq.RECONNECT_IVL, 100),
        (zmq.RECONNECT_IVL_MAX, 2000),
        (zmq.HEARTBEAT_IVL, 2000),  # a connection whose other end vanished is made again
        (zmq.HEARTBEAT_TIMEOUT, 6000),
        (zmq.IPV6, 1),
    ):
        socket.setsockopt(option, value)
    if kind == zmq.SUB:
        socket.setsockopt(zmq.SUBSCRIBE, b"")
    socket.connect(endpoint)
    return socket


_COUNTERS = {
    "events": "KV events that an engine published and the router took over.",
    "gaps": "Times that numbers were missing in an engine's KV events.",
    "replays": "Times that an engine was asked to say its KV events again.",
    "replays_failed": "Times that it did not answer that to the end.",
    "malformed": "Messages that are no KV events.",
}


class KvMetrics(Collector):
    """What is heard of caches, as Prometheus families."""

    def __init__(self, events: KvEvents, index: KvIndex) -> None:
        self._events = events
        self._index = index

    def describe(self) -> Iterable[Metric]:
        """Return nothing: names are known without a scrape."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Build the families."""
        index, tallies = self._index, dict(self._events.tallies)
        for name, text in _COUNTERS.items():
            label = name if name == "events" else f"event_{name}"
            counter = CounterMetricFamily(f"{PREFIX}_kv_{label}", text, labels=("engine",))
            for engine, tally in tallies.items():
                counter.add_metric((engine,), getattr(tally, name))
            yield counter
        yield _gauge("kv_event_age_seconds", "Since an engine's KV events were last heard.", self._events.ages())
        held = {engine: float(index.blocks(engine)) for engine in tallies}
        yield _gauge("kv_blocks", "KV cache blocks that an engine is known to hold.", held)
        whole = {engine: float(index.is_whole(engine)) for engine in tallies}
        yield _gauge("kv_whole", "1 when all that an engine's KV cache holds is known.", whole)
        yield GaugeMetricFamily(f"{PREFIX}_kv_prompt_blocks", "Parts of prompts known by their tokens.", len(index))
        yield CounterMetricFamily(f"{PREFIX}_kv_orphans", "KV blocks told without what is before them.", index.orphans)


def _gauge(name: str, text: str, values: dict[str, float]) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=("engine",))
    for engine, value in values.items():
        gauge.add_metric((engine,), value)
    return gauge
