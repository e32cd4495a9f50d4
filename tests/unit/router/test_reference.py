"""The reference pages tell of what is there, of all of it, and of nothing else."""

import re
from pathlib import Path

import msgspec

from router.account import Event
from router.admission import RoomSettings
from router.door import Door, DoorSettings
from router.edge import EdgeTally
from router.edge_metrics import EdgeMetrics
from router.exposition import PREFIX
from router.fleet import EngineSettings, Fleet, FleetSettings
from router.joined import Recent
from router.kv_caches import Caches
from router.metrics import Exporter, Tally
from router.tally import REASONS

REFERENCE = Path(__file__).resolve().parents[3] / "docs" / "reference"
# Small change: the fleet's own counters are told by their help texts.
UNTOLD = {
    f"{PREFIX}_{name}_total" for name in Fleet(FleetSettings((EngineSettings("a", "", "m"),)), 0.0).snapshot(0.0).counts
}
OTHERS = {  # of the router, but not of the exporter's own
    f"{PREFIX}_config_reload_success",
    f"{PREFIX}_config_last_success_timestamp_seconds",
    f"{PREFIX}_config_reloads_total",
    f"{PREFIX}_load_shared",
    f"{PREFIX}_peers_heard",
    f"{PREFIX}_engine_gpu_fault",
    f"{PREFIX}_gpu_watchers_silent",
    f"{PREFIX}_edge_certificate_expiry_timestamp_seconds",
    f"{PREFIX}_spans_total",
    f"{PREFIX}_traces_queued",
    f"{PREFIX}_traces_dropped_total",
}


def named(page: str) -> set[str]:
    """The metrics that a page names; `…_x` stands for the prefix and `_x`."""
    found = re.findall(rf"`({PREFIX}|…)_([a-z_]+)`", (REFERENCE / page).read_text())
    return {f"{PREFIX}_{name}" for _, name in found}


def exported() -> set[str]:
    """The metrics that a scrape has."""
    fleet = Fleet(FleetSettings((EngineSettings("a", "http://127.0.0.1:1", "m"),)), 0.0)
    tally = Tally("a", ())
    door = Door(fleet, tally, Recent(1), DoorSettings(RoomSettings()), 0.0)
    families = Exporter(tally, lambda: fleet.snapshot(0.0), dict, door).families()
    return {f"{PREFIX}_{each.name}{'_total' if each.kind == 'counter' else ''}" for each in families}


def edge() -> set[str]:
    """The metrics of the edge's keeper."""
    return {sample.name for family in EdgeMetrics(EdgeTally()).collect() for sample in family.samples}


def caches() -> set[str]:
    """The metrics about what engines say of their caches."""
    collectors = Caches(tuple, lambda: 0.0).collectors()
    found = {(family.name, family.type) for collector in collectors for family in collector.collect()}
    return {f"{name}_total" if kind == "counter" else name for name, kind in found}


def test_every_metric_is_told_and_none_that_is_not() -> None:
    """A page that is complete is looked at; one that lies is not looked at again."""
    told = named("metrics.md")
    assert exported() - UNTOLD - told == set()
    assert edge() - told == set()
    assert caches() - told == set()
    assert told - exported() - edge() - caches() - OTHERS == set()


def test_every_reason_of_a_429_or_403_is_told() -> None:
    """Who is refused for what is nobody's fault but the load's finds the word on the page."""
    text = (REFERENCE / "errors.md").read_text()
    limits = {"queue_full", "queue_timeout", "saturated", "tokens_per_minute", "model_not_allowed"}
    assert limits <= REASONS
    assert not [code for code in limits if f"`{code}`" not in text]


def test_every_key_of_the_access_line_is_told() -> None:
    """What the router reads of the line stands on the page."""
    text = (REFERENCE / "access-log.md").read_text()
    keys = {field.encode_name for field in msgspec.structs.fields(Event)}
    assert not [key for key in sorted(keys) if f"`{key}`" not in text]
