"""The parts together: what reaches which of them when settings change."""

from pathlib import Path
from typing import Any

import pytest

from router.config import check
from router.parts import Parts
from router.reload import Source

OTHERS = b'{"decider":1,"id":"x"}'


def raw(**changes: Any) -> dict[str, Any]:
    return {
        "models": [{"name": "tiny", "backend": "model-tiny"}],
        "engines": [{"name": "a", "url": "http://127.0.0.1:9", "model": "tiny"}],
        **changes,
    }


def source(**changes: Any) -> Source:
    return Source(Path("router.yml"), "", check(raw(**changes)))


@pytest.mark.parametrize(
    ("changes", "hears"),
    [
        ({}, True),
        ({"decider": {"of": 2}}, False),
        ({"decider": {"of": 2}, "tenants": [{"name": "acme"}]}, False),
        ({"decider": {"of": 2}, "tenants": [{"name": "acme", "tokens_per_minute": 9}]}, True),
    ],
)
async def test_lines_of_other_routers_count_only_where_tenants_have_limits(changes: Any, hears: bool) -> None:
    """Alone a router reads everything; among others its own, unless every token of a tenant must be counted."""
    parts = Parts(check(raw(**changes)))
    assert parts.hears(OTHERS) is hears
    assert parts.hears(b'{"decider":0,"id":"x"}')


async def test_new_settings_reach_every_part() -> None:
    """Engines, models and their other names are the new ones everywhere after one call."""
    parts = Parts(check(raw()))
    big = {"name": "big", "backend": "model-big", "aliases": ["large"]}
    engine = {"name": "b", "url": "http://127.0.0.1:10", "model": "big"}
    parts.configure(source(models=[big], engines=[engine]))
    assert [found.name for found in parts.engines()] == ["b"]
    assert list(parts.prober.ages()) == ["b"]
    assert parts.models() == ("big",)
    assert [card["id"] for card in parts.catalogue.listed("-")] == ["big", "large"]
    assert parts.settings.models[0].aliases == ["large"]


async def test_peers_are_asked_only_where_that_is_wanted() -> None:
    """Without gossip the gate is closed between hosts, and nobody needs to know."""
    peers = ["http://127.0.0.1:9"]
    assert Parts(check(raw(peers=peers))).gossip.peers == ()
    parts = Parts(check(raw(peers=peers, routing={"gossip": True})))
    assert parts.gossip.peers == tuple(peers)
    parts.configure(source(peers=peers))
    assert parts.gossip.peers == ()


@pytest.mark.parametrize(("of", "gate"), [(1, 0.25), (2, 0.0)])
async def test_gate_is_closed_where_others_cannot_be_seen(of: int, gate: float, tmp_path: Path) -> None:
    """Several routers whose shared folder is not there must not hold on to engines that the others fill."""
    decider = {"of": of, "shared": str(tmp_path / "none")}
    parts = Parts(check(raw(decider=decider)))
    assert parts.fleet._settings.rule.gate_seconds == gate
    (tmp_path / "none").mkdir()
    parts.configure(source(decider=decider))
    assert parts.fleet._settings.rule.gate_seconds == 0.25
    parts.foreign.close()


KV = {"endpoint": "tcp://127.0.0.1:9", "replay": "tcp://127.0.0.1:10"}
TELLS = [{"name": "a", "url": "http://127.0.0.1:9", "model": "tiny", "kv_events": KV}]


async def test_engines_are_listened_to_only_where_that_is_wanted() -> None:
    """Else nothing of it is made, not even the metrics."""
    assert Parts(check(raw(engines=TELLS))).caches is None
    parts = Parts(check(raw(engines=TELLS, routing={"kv_events": True})))
    assert parts.caches is not None
    assert list(parts.caches.events.tallies) == ["a"]


async def test_engines_that_come_are_listened_to_and_those_that_go_are_not() -> None:
    """As everything else, by one call."""
    routing = {"kv_events": True}
    parts = Parts(check(raw(engines=TELLS, routing=routing)))
    other = {**TELLS[0], "name": "b", "url": "http://127.0.0.1:10"}
    parts.configure(source(engines=[other], routing=routing, tenants=[{"name": "acme", "salted": True}]))
    assert parts.caches is not None
    assert list(parts.caches.events.tallies) == ["b"]
    assert parts.caches.learner.salted == {"acme"}
