"""Metrics: named once, bounded by configuration, true to the fleet at the moment of the scrape."""

import dataclasses
import re

from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from router.fleet import EngineSettings, Fleet, FleetSettings, FleetSnapshot, Probe
from router.metrics import DECISION_BUCKETS, Exporter, Tally, registry
from router.parse import Ask


class Board:
    """A fleet of two engines and what is scraped of it."""

    def __init__(self) -> None:
        engines = tuple(EngineSettings(name, f"http://127.0.0.1:{at}", "tiny") for at, name in enumerate("ab", 1))
        self.fleet = Fleet(FleetSettings(engines), 0.0)
        for engine in engines:
            self.fleet.probe(engine.name, Probe(ok=True, kv_usage=0.5), 0.0)
        self.tally = Tally("ab", ["x-session-id", "fingerprint"])
        self.snapshot = self.fleet.snapshot(1.0)
        self.registry = registry(Exporter(self.tally, self.picture, lambda: {"a": 1.5, "b": 0.5, "gone": 9.0}))

    def picture(self) -> FleetSnapshot:
        return self.snapshot

    def scrape(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        text = generate_latest(self.registry).decode()
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self.scrape().get((f"ironrack_router_{name}", frozenset(labels.items())))


def test_every_name_has_the_prefix_or_is_the_processs_own() -> None:
    """Names are `ironrack_router_<noun>_<unit>`; only the runtime's own differ."""
    names = {name for name, _ in Board().scrape()}
    assert all(re.match("ironrack_router_[a-z_]+$|process_|python_", name) for name in names)


def test_decision_is_counted_by_engine_and_why() -> None:
    """One decision moves its reason, its key's source, the tokens and the affinity counters."""
    board = Board()
    board.tally.decided("a", "new", "fingerprint", 100, 100)
    board.tally.decided("a", "home", "x-session-id", 150, 50)
    board.tally.decided("b", "spill", "x-session-id", 50, 50)
    assert board.value("decisions_total", engine="a", why="home") == 1
    assert board.value("decisions_total", engine="b", why="drain") == 0
    assert board.value("key_sources_total", source="x-session-id") == 2
    assert (board.value("affinity_returning_total"), board.value("affinity_hits_total")) == (2, 1)
    assert (board.value("prompt_tokens_total"), board.value("uncached_tokens_total")) == (300, 200)


def test_label_values_are_bounded_by_configuration() -> None:
    """Names that only requests bring make no series."""
    board = Board()
    before = len(board.scrape())
    for number in range(50):
        board.tally.decided("a", "new", f"source-{number}", 1, 1)
        board.tally.ended(f"server-{number}", 200 + number, 0)
    assert board.value("key_sources_total", source="other") == 50
    assert board.value("outcomes_total", engine="none", **{"class": "2xx"}) == 50
    assert len(board.scrape()) == before + 2


def test_outcome_is_counted_by_engine_and_status_class() -> None:
    """A client asks for errors per engine; a status that never was counts as none."""
    board = Board()
    for status in (200, 404, 503, 0, -1, 999):
        board.tally.ended("a", status, 1)
    assert board.value("outcomes_total", engine="a", **{"class": "4xx"}) == 1
    assert board.value("outcomes_total", engine="a", **{"class": "none"}) == 3
    assert board.value("retries_total") == 6


def test_engine_series_show_the_fleet_now() -> None:
    """Load and state are read at the scrape, not remembered."""
    board = Board()
    choice = board.fleet.decide(Ask("one", "tiny", 7, "7", "fingerprint", "-", 100, False), 1.0)
    board.snapshot = board.fleet.snapshot(1.0)
    assert board.value("engine_in_flight", engine=choice.engine, model="tiny") == 1
    assert board.value("engine_uncached_tokens", engine=choice.engine, model="tiny") == 100
    assert board.value("engine_state", engine="a", model="tiny", state="ready") == 1
    assert board.value("engine_state", engine="a", model="tiny", state="ejected") == 0
    assert board.value("engine_kv_usage_ratio", engine="a", model="tiny") == 0.5
    assert (board.value("leases"), board.value("bindings")) == (1, 1)


def test_departed_engine_leaves_no_series() -> None:
    """An engine that is gone from the fleet is gone from the scrape, counters included."""
    board = Board()
    board.tally.decided("a", "new", "fingerprint", 1, 1)
    board.tally.ended("a", 200, 0)
    assert "a" in {dict(labels).get("engine") for _, labels in board.scrape()}
    board.snapshot = dataclasses.replace(board.snapshot, engines=board.snapshot.engines[1:])
    assert {dict(labels).get("engine") for _, labels in board.scrape()} <= {None, "b", "none"}


def test_decision_seconds_fall_into_their_buckets() -> None:
    """The histogram is cumulative, its edges belong to the lower bucket, and the sum is the sum."""
    board = Board()
    for seconds in (1e-6, DECISION_BUCKETS[0], 3e-5, 1.0):
        board.tally.took(seconds)
    assert board.value("decision_seconds_bucket", le="5e-06") == 2
    assert board.value("decision_seconds_bucket", le="5e-05") == 3
    assert board.value("decision_seconds_bucket", le="+Inf") == board.value("decision_seconds_count") == 4
    assert board.value("decision_seconds_sum") == 1.0 + 1e-6 + DECISION_BUCKETS[0] + 3e-5


def test_probe_age_shows_a_silent_prober() -> None:
    """The time since an engine's last probe is a metric of its own."""
    assert Board().value("probe_age_seconds", engine="a") == 1.5
