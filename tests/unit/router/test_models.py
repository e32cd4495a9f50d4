"""The list of models: everything that would be served, and nothing that would not."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from router.discovery import Discovery
from router.errors import Refused
from router.fleet import EngineSettings, Fleet, FleetSettings, Outcome, Probe
from router.models import Catalogue, Learnt, Offer, read_cards
from tests.support.beside import beside
from tests.support.until import until

OFFERS = (Offer("tiny", ("gpt-4o", "default"), ("tiny-sql",)), Offer("big"))


def fleet(*ready: str, urls: dict[str, str] | None = None) -> Fleet:
    wanted = {"a": "tiny", "b": "tiny", "c": "big"}
    found = Fleet(
        FleetSettings(
            tuple(
                EngineSettings(name, (urls or {}).get(name, f"http://127.0.0.1:{at + 1}"), model)
                for at, (name, model) in enumerate(wanted.items())
            )
        ),
        0.0,
    )
    for name in ready:
        found.probe(name, Probe(ok=True), 0.0)
    return found


def catalogue(found: Fleet, **options: object) -> Catalogue:
    return Catalogue(OFFERS, lambda: found.snapshot(1.0).engines, 7, **options)  # type: ignore[arg-type]  # one option


def names(found: Catalogue, tenant: str = "-") -> list[str]:
    return [card["id"] for card in found.listed(tenant)]


def test_every_name_of_a_servable_model_is_listed() -> None:
    """The model, its aliases, its adapters, in vLLM's words."""
    cards = catalogue(fleet("a", "c")).listed("-")
    about = {"object": "model", "created": 7, "owned_by": "ironrack"}
    assert cards == [
        {"id": "tiny", **about},
        {"id": "gpt-4o", **about, "root": "tiny", "parent": None},
        {"id": "default", **about, "root": "tiny", "parent": None},
        {"id": "tiny-sql", **about, "root": "tiny-sql", "parent": "tiny"},
        {"id": "big", **about},
    ]


def test_starting_models_are_marked_and_lost_ones_are_not_listed() -> None:
    """`ready: false` says wait; no entry says that waiting does not help."""
    found = fleet("c")
    marked = {card["id"]: card.get("ready", True) for card in catalogue(found).listed("-")}
    assert marked == {"tiny": False, "gpt-4o": False, "default": False, "tiny-sql": False, "big": True}
    found.drain("c")
    assert "big" not in names(catalogue(found))


def test_model_whose_engines_were_never_ready_stays_marked_however_long_that_takes() -> None:
    """A router that has just started sees engines that load: their failures are no reason to give up."""
    found = fleet("c")
    for at in range(1, 200):
        for name in "ab":
            found.probe(name, Probe(ok=False), float(at))
            found.finished(Outcome(f"{name}{at}", name, 502, "SC"), float(at))
        found.expire(float(at))
    assert {card["id"] for card in catalogue(found).listed("-") if not card.get("ready", True)} == {
        "tiny",
        "gpt-4o",
        "default",
        "tiny-sql",
    }


def test_tenant_sees_what_it_may_use() -> None:
    """Another's models are not even named."""
    allowed = {("acme", "tiny", "tiny-sql"), ("acme", "big", "")}
    found = catalogue(fleet("a", "c"), allows=lambda *asked: asked in allowed)
    assert names(found, "acme") == ["tiny-sql", "big"]
    assert found.one("acme", "big")["id"] == "big"
    with pytest.raises(Refused) as caught:
        found.one("acme", "tiny")
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")


def test_adapter_is_offered_when_every_usable_engine_holds_it() -> None:
    """Any of them may be asked; one that cannot be asked does not count."""
    engines = fleet("a", "b", "c")
    found = catalogue(engines)
    assert found.learn("a", Learnt(frozenset({"new", "tiny-sql"}), 4096))
    assert not found.learn("a", Learnt(frozenset({"new", "tiny-sql"}), 4096))
    assert "new" not in names(found)
    found.learn("b", Learnt(frozenset({"new", "other"}), 2048))
    assert names(found).count("tiny-sql") == 1
    assert found.found() == {"new": "tiny"}
    assert found.one("-", "new")["parent"] == "tiny"
    assert found.one("-", "tiny")["max_model_len"] == 2048
    engines.drain("a")
    assert found.found() == {"new": "tiny", "other": "tiny"}
    found.keep_only({"a", "c"})
    assert found.found() == {}


def test_other_settings_take_over() -> None:
    """A reload changes what is offered."""
    found = catalogue(fleet("a", "c"))
    found.configure((Offer("big", ("large",)),))
    assert names(found) == ["big", "large"]


CARDS = {
    "object": "list",
    "data": [
        {"id": "tiny", "root": "/models/tiny", "parent": None, "max_model_len": 4096, "permission": [{}]},
        {"id": "sql", "root": "/adapters/sql", "parent": "tiny"},
        {"id": "x" * 200, "parent": "tiny"},
    ],
}


def test_cards_are_read() -> None:
    """Whatever has a parent is an adapter; names that are too long are none."""
    assert read_cards(json.dumps(CARDS).encode()) == Learnt(frozenset({"sql"}), 4096)


@given(
    st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(repr).map(str.encode)
)
def test_no_answer_raises(octets: bytes) -> None:
    """An engine may answer anything."""
    read_cards(octets)
    assert read_cards(b'{"data": ' + octets) is None


@asynccontextmanager
async def serving(cards: object) -> AsyncIterator[tuple[str, list[web.Request]]]:
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request)
        return web.json_response(cards)

    app = web.Application()
    app.router.add_get("/v1/models", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", seen
    await runner.cleanup()


async def test_engines_are_asked_again_and_again() -> None:
    """What they hold is learnt, with their key; silence of one of them changes nothing; news are told once."""
    async with serving(CARDS) as (url, seen):
        engines = fleet("a", "c", urls={"a": url})
        found, news = catalogue(engines), list[object]()
        discovery = Discovery(
            found,
            lambda: engines.snapshot(1.0).engines,
            changed=lambda: news.append(found.found()),
            engine_key="k-7",
            every=0.01,
        )
        async with beside(discovery.run()):
            await until(lambda: len(seen) > 2, "the engine was asked three times")
    assert news == [{"sql": "tiny"}]
    assert {request.headers["authorization"] for request in seen} == {"Bearer k-7"}
    assert found.one("-", "sql")["max_model_len"] == 4096


async def test_endless_list_is_not_read_to_its_end() -> None:
    """A megabyte is enough for anybody's list."""
    async with serving({"data": [{"id": "x" * 2_000_000, "parent": "tiny"}]}) as (url, seen):
        engines = fleet("a", urls={"a": url})
        found = catalogue(engines)
        async with beside(Discovery(found, lambda: engines.snapshot(1.0).engines, every=0.01).run()):
            await until(lambda: len(seen) > 1, "the engine was asked twice")
    assert found.found() == {}


async def test_engine_is_asked_at_once_when_it_comes_up_and_when_it_was_restarted() -> None:
    """Half a minute is for those that stay; adapters loaded into a process are gone with it."""
    async with serving(CARDS) as (url, seen):
        engines = fleet("c", urls={"a": url})
        async with beside(Discovery(catalogue(engines), lambda: engines.snapshot(1.0).engines).run()):
            await asyncio.sleep(0)
            engines.probe("a", Probe(ok=True, epoch_hint=1.0), 1.0)
            await until(lambda: len(seen) == 1, "it was asked when it came up")
            engines.probe("a", Probe(ok=True, epoch_hint=2.0), 2.0)
            await until(lambda: len(seen) == 2, "it was asked when it was restarted")
