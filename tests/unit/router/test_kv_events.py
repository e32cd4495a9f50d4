"""What is heard of engines' caches is right again after whatever was lost, over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from router.fleet_settings import EngineSnapshot
from router.kv_events import Feed, KvEvents, KvMetrics
from router.kv_index import KvIndex
from router.kv_wire import BlockRemoved, BlockStored, Event
from router.liveness import State
from tests.support.beside import beside
from tests.support.kv_publisher import KvPublisher
from tests.support.until import until

ENGINE = EngineSnapshot(
    "e0", "http://e0", "m", State.READY, False, True, 0, 0, 1.0, 0.0, epoch=1, failures=0, probe_failures=0
)


class Heard:
    """A router's ear."""

    def __init__(self, *feeds: Feed) -> None:
        self.index = KvIndex()
        self.engines = [ENGINE]
        self.now = 0.0
        self.events = KvEvents(self.index, feeds, lambda: self.engines, lambda: self.now)

    @property
    def blocks(self) -> int:
        return self.index.blocks("e0")

    @property
    def whole(self) -> bool:
        return self.index.is_whole("e0")


def feed(publisher: KvPublisher, *, replay: bool = True) -> Feed:
    return Feed("e0", "m", publisher.endpoint, publisher.replay if replay else "")


def block(number: int) -> BlockStored:
    return BlockStored([number], None, [number, number], 2)


@asynccontextmanager
async def hearing(*feeds: Feed) -> AsyncIterator[Heard]:
    heard = Heard(*feeds)
    async with beside(heard.events.run()):
        yield heard


async def known(condition: Callable[[], bool]) -> None:
    await until(condition, "what engines told is not known", 60)


async def published_until(publisher: KvPublisher, heard: Heard, blocks: int, event: Event) -> None:
    """Publish until a first message got through: who has just connected may miss some."""
    async with asyncio.timeout(60):
        while heard.blocks < blocks:
            await publisher.publish(event)
            await asyncio.sleep(0.05)


async def test_what_was_published_before_is_known_and_what_comes_is_heard() -> None:
    async with KvPublisher() as engine:
        await engine.publish(block(1), block(2))
        async with hearing(feed(engine)) as heard:
            await known(lambda: heard.blocks == 2 and heard.whole)
            await published_until(engine, heard, 3, block(3))
            await engine.publish(BlockRemoved([1]))
            await known(lambda: heard.blocks == 2)
            assert heard.whole


async def test_an_engine_that_has_published_nothing_holds_nothing() -> None:
    async with KvPublisher() as engine, hearing(feed(engine)) as heard:
        await known(lambda: heard.whole)
        assert heard.blocks == 0


async def test_a_gap_is_filled_by_what_the_engine_says_again() -> None:
    async with KvPublisher() as engine, hearing(feed(engine)) as heard:
        await published_until(engine, heard, 1, block(1))
        await engine.publish(block(2), lost=True)
        await engine.publish(block(3))
        await known(lambda: heard.blocks == 3)
        assert heard.whole
        assert heard.events.tallies["e0"].gaps >= 1


async def test_a_gap_that_nobody_remembers_makes_the_story_begin_anew() -> None:
    async with KvPublisher(remembers=1) as engine, hearing(feed(engine)) as heard:
        await published_until(engine, heard, 1, block(1))
        await engine.publish(block(2), lost=True)
        await engine.publish(block(3))
        await known(lambda: heard.blocks == 1 and not heard.whole)
        await engine.publish(block(4))
        await known(lambda: heard.blocks == 2)


@pytest.mark.timeout(180)
async def test_without_a_memory_at_all_what_comes_is_learnt_and_nothing_is_known_to_be_missing() -> None:
    async with KvPublisher() as engine, hearing(feed(engine, replay=False)) as heard:
        await published_until(engine, heard, 1, block(1))
        await engine.publish(block(2), lost=True)
        await engine.publish(block(3))
        await known(lambda: heard.blocks == 1 and heard.events.tallies["e0"].gaps == 1)
        assert not heard.whole


async def test_another_process_at_the_same_place_is_noticed_by_its_numbers() -> None:
    async with KvPublisher() as old, hearing(feed(old)) as heard:
        for number in range(5):
            await old.publish(block(number))
        await known(lambda: heard.blocks == 5)
        endpoint, replay = old.endpoint, old.replay
        await old.__aexit__(None, None, None)
        async with KvPublisher(endpoint=endpoint, replay=replay) as new:
            while heard.blocks != 1:
                await new.publish(block(100), ts=2.0)
                await asyncio.sleep(0.05)
            assert heard.whole


async def test_another_life_of_the_cache_begins_with_what_the_engine_says_again() -> None:
    async with KvPublisher() as engine, hearing(feed(engine)) as heard:
        await published_until(engine, heard, 1, block(1))
        asked = len(engine.asked)
        heard.engines = [replace(ENGINE, epoch=2)]
        await known(lambda: len(engine.asked) > asked and heard.blocks == 1 and heard.whole)
        assert engine.asked[-1] == 0


async def test_what_the_last_message_before_a_silence_lost_is_found_by_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.kv_events._QUIET_SECONDS", 1.0)
    async with KvPublisher() as engine, hearing(feed(engine)) as heard:
        await published_until(engine, heard, 1, block(1))
        await engine.publish(block(2), lost=True)
        await known(lambda: heard.blocks == 2)


async def test_what_is_no_event_harms_nobody() -> None:
    async with KvPublisher() as engine, hearing(feed(engine)) as heard:
        await published_until(engine, heard, 1, block(1))
        await engine.publish({"type": "BlockStored", "token_ids": "no"})
        await known(lambda: heard.events.tallies["e0"].malformed > 0)
        await engine.publish(block(2))
        await known(lambda: heard.blocks >= 1)


async def test_engines_come_and_go_while_others_are_heard() -> None:
    async with KvPublisher() as engine, hearing(feed(engine)) as heard:
        await published_until(engine, heard, 1, block(1))
        heard.events.configure(())
        assert (heard.blocks, heard.events.tallies) == (0, {})
        heard.events.configure((feed(engine),))
        await known(lambda: heard.blocks == 1)


async def test_the_metrics_tell_whether_it_works() -> None:
    async with KvPublisher() as engine, hearing(feed(engine)) as heard:
        await published_until(engine, heard, 1, block(1))
        heard.now = heard.events.tallies["e0"].heard_at + 3
        registry = CollectorRegistry(auto_describe=False)
        registry.register(KvMetrics(heard.events, heard.index))
        text = generate_latest(registry).decode()
        assert 'ironrack_router_kv_blocks{engine="e0"} 1.0' in text
        assert 'ironrack_router_kv_whole{engine="e0"} 1.0' in text
        assert 'ironrack_router_kv_event_age_seconds{engine="e0"} 3.0' in text
        assert 'ironrack_router_kv_event_gaps_total{engine="e0"} 0.0' in text


async def test_a_long_story_is_heard_to_its_end_although_the_engine_drops_what_does_not_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a replay has a hole, it is asked for again from there on."""
    monkeypatch.setattr("router.kv_events._MOST_WAITING", 50)
    monkeypatch.setattr("router.kv_events._PAUSE_SECONDS", 0.2)
    async with KvPublisher(remembers=800, room=50) as engine:
        for number in range(800):
            await engine.publish(BlockStored([number], None, list(range(number, number + 512)), 512))
        async with hearing(feed(engine)) as heard:
            await known(lambda: heard.blocks == 800 and heard.whole)
            assert heard.events.tallies["e0"].gaps == 0
