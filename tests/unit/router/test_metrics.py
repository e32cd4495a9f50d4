"""Metrics: named once, bounded by configuration, true to the fleet at the moment of the scrape."""

import asyncio
import dataclasses
import re
from itertools import pairwise

import pytest
from prometheus_client.parser import text_string_to_metric_families

from router.admission import PriorityClass, RoomSettings
from router.door import Door, DoorSettings
from router.fleet import EngineSettings, Fleet, FleetSettings, FleetSnapshot, Probe
from router.joined import Recent
from router.liveness import EjectReason
from router.metrics import DECISION_BUCKETS, Exporter, Tally, registry, scrape
from router.parse import Ask
from router.spop import Status
from router.tally import FIRST_BUCKETS, REASONS
from router.tenants import TenantSettings

LABELS = {
    "sources": ["x-session-id", "fingerprint"],
    "models": ["tiny"],
    "tenants": ["acme"],
    "classes": ["normal", "urgent"],
}


class Board:
    """A fleet of two engines and what is scraped of it."""

    def __init__(self) -> None:
        engines = tuple(EngineSettings(name, f"http://127.0.0.1:{at}", "tiny") for at, name in enumerate("ab", 1))
        self.fleet = Fleet(FleetSettings(engines), 0.0)
        for engine in engines:
            self.fleet.probe(engine.name, Probe(ok=True, kv_usage=0.5), 0.0)
        self.tally = Tally("ab", **LABELS)
        self.snapshot = self.fleet.snapshot(1.0)
        classes = (PriorityClass("normal"), PriorityClass("urgent", 8))
        settings = DoorSettings(RoomSettings(10, 5.0, classes), (TenantSettings("acme", tokens_per_minute=600),))
        self.door = Door(self.fleet, self.tally, Recent(10), settings, 0.0)
        self.exporter = Exporter(self.tally, self.picture, lambda: {"a": 1.5, "b": 0.5, "gone": 9.0}, self.door)
        self.registry = registry(self.exporter)

    def picture(self) -> FleetSnapshot:
        return self.snapshot

    def scrape(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        text = asyncio.run(scrape(self.registry)).decode()
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        found = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
        assert len(found) == len(samples), "a series comes twice"
        return found

    def value(self, name: str, **labels: str) -> float | None:
        return self.scrape().get((f"ironrack_router_{name}", frozenset(labels.items())))

    def inert(self) -> list[float | None]:
        return [self.value("affinity_inert", reason=reason) for reason in ("never_repeat", "unnamed")]


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
        board.tally.refused(429, f"code-{number}")
        board.tally.used(f"tenant-{number}", f"model-{number}", 1, 1)
    assert board.value("key_sources_total", source="other") == 50
    assert board.value("outcomes_total", engine="none", **{"class": "2xx"}) == 50
    assert board.value("tokens_total", tenant="other", model="other", kind="prompt") == 50
    assert board.value("rejections_total", reason="invalid") == 50
    assert len(board.scrape()) == before + 7


def test_refusals_are_told_by_model_so_that_a_model_without_engines_shows() -> None:
    """A model of ours keeps its name; what clients invent is one series."""
    board = Board()
    model = LABELS["models"][0]
    for number in range(9):
        board.tally.refused(404, "model_not_found", f"invented-{number}")
    board.tally.refused(503, "no_engine", model)
    assert board.value("model_refusals_total", model=model, status="503") == 1
    assert board.value("model_refusals_total", model="", status="404") == 9


def test_tenants_see_how_their_requests_ended_and_fallbacks_are_counted() -> None:
    """By configured tenant, by `-` where no key was shown, and one series for all others."""
    board = Board()
    tenant = LABELS["tenants"][0]
    board.tally.told(tenant, 200, "home")
    board.tally.told(tenant, 429, "refused")
    board.tally.told("-", 401, "")
    board.tally.told("-", 200, "fallback")
    for number in range(9):
        board.tally.told(f"nobody-{number}", 200, "home")
    assert board.value("tenant_outcomes_total", tenant=tenant, **{"class": "4xx"}) == 1
    assert board.value("tenant_outcomes_total", tenant="-", **{"class": "4xx"}) == 1
    assert board.value("tenant_outcomes_total", tenant="other", **{"class": "2xx"}) == 9
    assert board.value("fallback_total") == 1


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


def test_ejections_are_counted_by_reason() -> None:
    """Every reason has a series from the start, so that the first ejection is an increase."""
    board = Board()
    wrong = {"engine": "a", "model": "tiny"}
    board.snapshot = board.fleet.snapshot(1.0)
    assert {board.value("engine_ejections_total", reason=reason.value, **wrong) for reason in EjectReason} == {0}
    for _ in range(3):
        board.fleet.probe("a", Probe(ok=False), 1.0)
    board.snapshot = board.fleet.snapshot(1.0)
    assert board.value("engine_ejections_total", reason="probes failed", **wrong) == 1
    assert board.value("engine_ejections_total", reason="requests failed", **wrong) == 0
    assert board.value("engine_eject_reason", reason="probes failed", **wrong) == 1


def test_departed_engine_leaves_no_series() -> None:
    """An engine that is gone from the fleet is gone from the scrape, counters included."""
    board = Board()
    board.tally.decided("a", "new", "fingerprint", 1, 1)
    board.tally.ended("a", 200, 0)
    board.tally.ended("a", 200, 0, "SD")
    board.tally.ended("a", 200, 0, "CD")
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


def test_label_values_that_left_with_a_reload_leave_no_series() -> None:
    """What left the configuration with a reload is forgotten, and does not come back with old counts."""
    board = Board()
    board.tally.timed("tiny", "home", 0.1, 1.0)
    board.tally.used("acme", "tiny", 10, 5)
    board.tally.waited("urgent", 0.5)
    board.tally.ended("a", 200, 0)
    gone = {"tiny", "acme", "urgent"}
    assert gone <= {value for _, labels in board.scrape() for _, value in labels}
    board.tally.configure(["b"], ["fingerprint"], ["large"], [], ["normal"])
    board.door.configure(DoorSettings(RoomSettings(10, 5.0, (PriorityClass("normal"),))), 1.0)
    counted = {
        value
        for name, labels in board.scrape()
        if not name.startswith("ironrack_router_engine_")
        for _, value in labels
    }
    assert not gone & counted
    board.tally.configure("ab", **LABELS)
    assert board.value("outcomes_total", engine="a", **{"class": "2xx"}) is None


def test_first_byte_and_duration_are_told_by_model_and_reason() -> None:
    """Each has its own buckets; a reason of nobody's is `other`."""
    board = Board()
    board.tally.timed("tiny", "home", FIRST_BUCKETS[0], 1.0)
    board.tally.timed("tiny", "nonsense", 2.0, 9.0)
    low = {"model": "tiny", "why": "home", "le": "0.01"}
    assert board.value("first_byte_seconds_bucket", **low) == 1
    assert board.value("first_byte_seconds_sum", model="tiny", why="other") == 2.0
    assert board.value("request_seconds_count", model="tiny") == 2
    assert board.value("request_seconds_bucket", model="tiny", le="2.5") == 1


def test_queue_shows_who_waits_and_who_gave_up() -> None:
    """Depth by class is read at the scrape; who left is counted."""
    board = Board()
    ask = Ask("one", "tiny", 7, "7", "fingerprint", "-", 100, False)
    board.door.room.announce(ask, "urgent", 1.0)
    board.door.room.enter("one", lambda _, __: None, 1.0)
    assert board.value("queue_requests", **{"class": "urgent"}) == 1
    assert board.value("queue_requests", **{"class": "normal"}) == 0
    board.door.ended("one", "", 2.0)
    assert (board.value("queue_requests", **{"class": "urgent"}), board.value("queue_abandoned_total")) == (0, 1)


def test_streams_cut_by_engine_and_by_client_are_told_apart() -> None:
    """`S…D` is a truncated stream, `C…` a client that left; a clean end is neither."""
    board = Board()
    for state in ("SD", "SH", "CD", "cD", "--"):
        board.tally.ended("a", 200, 0, state)
    assert board.value("truncated_streams_total", engine="a") == 1
    assert board.value("aborted_total", engine="a") == 2


def test_refusals_are_told_by_a_fixed_set_of_reasons() -> None:
    """The code of an error is its reason; what only says that the request is bad is `invalid`."""
    board = Board()
    for code in ("queue_full", "tokens_per_minute", None, "made up"):
        board.tally.refused(429, code)
    assert board.value("rejections_total", reason="queue_full") == 1
    assert board.value("rejections_total", reason="invalid") == 2
    assert "queue_timeout" in REASONS


@pytest.mark.parametrize(
    ("source", "why", "reasons"),
    [
        ("x-session-id", "home", [0, 0]),
        ("x-session-id", "new", [1, 0]),
        ("fingerprint", "home", [0, 1]),
        ("fingerprint", "new", [1, 1]),
    ],
)
def test_affinity_that_does_nothing_shows(source: str, why: str, reasons: list[int]) -> None:
    """After 200 decisions without a single return, or mostly without a key; and it goes when that changes."""
    board = Board()
    for _ in range(199):
        board.tally.decided("a", why, source, 1, 1)
    assert board.inert() == [0, 0]
    board.tally.decided("a", why, source, 1, 1)
    assert board.inert() == reasons
    for _ in range(200):
        board.tally.decided("a", "home", "x-session-id", 1, 1)
    assert board.inert() == [0, 0]


async def test_scrape_lets_others_have_their_turn() -> None:
    """However many engines there are, between two families whoever is ready runs: nobody waits for a whole scrape."""
    board, turns = Board(), 0
    scraping = asyncio.ensure_future(scrape(board.registry))
    while not scraping.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns >= len(list(board.exporter.families()))


async def test_counts_that_change_under_a_scrape_harm_nothing() -> None:
    """Requests go on while a scrape is being written: new label values appear between two of its families."""
    board = Board()
    written = asyncio.ensure_future(scrape(board.registry))
    for number in range(200):
        board.tally.decided("b", "spill", "x-session-id", 1, 1)
        board.tally.ended("a", 200 + number % 400, 1, "SD")
        board.tally.timed("tiny", "home" if number % 2 else "new", 0.1, 0.2)
        board.tally.spop_ends[Status.NORMAL] += 1
        await asyncio.sleep(0)
    assert (await written).endswith(b"\n")


def test_histograms_are_cumulative() -> None:
    """Buckets never fall, and the last is the count."""
    board = Board()
    for at in range(50):
        board.tally.timed("tiny", "home", 0.03 * at, 0.5 * at)
    buckets = [
        (float(dict(labels)["le"]), value)
        for (name, labels), value in board.scrape().items()
        if name == "ironrack_router_first_byte_seconds_bucket"
    ]
    assert all(low <= high for (_, low), (_, high) in pairwise(sorted(buckets)))
    assert max(value for _, value in buckets) == 50
