"""The router's parts, made from its settings and brought up to date with new ones. No sockets."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from router.account import Accounts, Journal
from router.answer import Answers
from router.calibrate import Calibrator
from router.certificates import CertificateMetrics, Certificates
from router.config import Settings, door_settings, fleet_settings, parse_settings, proxy_settings, watched
from router.config_sections import Engine, Model, PriorityClass, Tenant
from router.connections import mine
from router.discovery import Discovery
from router.door import Door, DoorSettings
from router.edge import EdgeKeeper
from router.edge_metrics import EdgeMetrics
from router.edge_socket import EdgeSocket
from router.fleet import EngineSnapshot, Fleet, FleetSettings, FleetSnapshot
from router.foreign import Foreign, ForeignMetrics
from router.gossip import Gossip
from router.gpu_faults import GpuFaultMetrics, GpuFaults, Watched
from router.health import Prober, Rhythm, Target
from router.joined import Recent
from router.metrics import Exporter, Tally, registry
from router.models import Catalogue, Offer
from router.parse import ParseSettings
from router.proxy import Proxy, ProxySettings
from router.reload import ReloadCollector, Reloader, Source
from router.shared import Shared

if TYPE_CHECKING:
    from router.kv_caches import Caches
    from router.trace_export import TraceExport


@dataclass(frozen=True, slots=True)
class Wanted:
    """What each part is to be told: everything that can go wrong with it goes wrong while this is made."""

    settings: Settings
    engine_key: str
    fleet: FleetSettings
    door: DoorSettings
    parse: ParseSettings
    proxy: ProxySettings
    backends: dict[str, str]
    labels: dict[str, list[str]]
    targets: tuple[Target, ...]
    rhythm: Rhythm
    offers: tuple[Offer, ...]
    engines: tuple[str, ...]
    peers: tuple[str, ...]
    watched: tuple[Watched, ...]


class Parts:
    """Everything that lives as long as the process; `configure` swaps settings between two events of the loop.

    `engine_key`: what engines want to see from us, empty for nothing.
    """

    def __init__(self, settings: Settings, engine_key: str = "") -> None:
        now, wanted = time.monotonic(), _wanted(settings, engine_key)
        self._wanted = wanted
        self.tally = Tally(**wanted.labels)
        self.caches = self._make_caches() if settings.routing.kv_events else None
        self.fleet = Fleet(wanted.fleet, now, self.caches.index if self.caches else None)
        self._recent = Recent(settings.leases.capacity)
        self.door = Door(self.fleet, self.tally, self._recent, wanted.door, now)
        self.journal = Journal(self.tally)
        self.export = self._make_export(settings) if settings.traces.endpoint else None
        self.accounts = self._make_accounts(settings)
        self.answers = self._make_answers(wanted)
        self.proxy = Proxy(wanted.proxy, self.fleet, self.tally, self.door)
        self.prober = Prober(
            wanted.targets, wanted.rhythm, self.fleet.probe, self.tally, time.monotonic, engine_key=engine_key
        )
        self.calibrator = Calibrator(
            self.engines, self.fleet.calibrated, _calibration_tokens(settings), engine_key=engine_key
        )
        created = time.time_ns() // 1_000_000_000
        self.catalogue = Catalogue(wanted.offers, self.engines, created, self.door.tenants.allows)
        self.discovery = Discovery(self.catalogue, self.engines, changed=self._learnt, engine_key=engine_key)
        self.gossip = Gossip(wanted.peers, time.monotonic)
        self.gpu_faults = GpuFaults(self.fleet, wanted.watched)
        self.foreign = self._make_foreign(wanted, now)
        self.fleet.configure(self._gated(wanted))
        self.keeper = self._make_keeper(settings.edge.runtime_socket)
        self.metrics = registry(Exporter(self.tally, self.snapshot, self.prober.ages, self.door))
        self.metrics.register(ForeignMetrics(self.foreign))
        self.metrics.register(GpuFaultMetrics(self.gpu_faults))
        self.certificates = _certificates(settings)
        if self.keeper and self.certificates:
            self.metrics.register(EdgeMetrics(self.keeper.tally))
            self.metrics.register(CertificateMetrics(self.certificates))
        if self.export:
            self.metrics.register(self.export.metrics())
        if self.caches:
            self.caches.configure(settings, engine_key)
            for collector in self.caches.collectors():
                self.metrics.register(collector)
        self._mine = mine(settings.decider.index)
        self._learnt()

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._wanted.settings

    def snapshot(self) -> FleetSnapshot:
        """Return a picture of the fleet now."""
        return self.fleet.snapshot(time.monotonic())

    def engines(self) -> tuple[EngineSnapshot, ...]:
        """Return a picture of the engines now."""
        return self.snapshot().engines

    def models(self) -> tuple[str, ...]:
        """Return the names of the models in the settings in force."""
        return tuple(model.name for model in self.settings.models)

    def hears(self, line: bytes) -> bool:
        """Return whether an access line is this decider's business: its own request, or tokens that all must count."""
        settings = self.settings
        return settings.decider.of == 1 or any(each.tokens_per_minute for each in settings.tenants) or self._mine(line)

    def watch(self, reloader: Reloader) -> None:
        """Show in the metrics what a reloader does."""
        self.metrics.register(ReloadCollector(reloader))

    def configure(self, source: Source) -> None:
        """Take over checked settings. What can fail is made first: then either all of it is swapped, or nothing."""
        now, wanted = time.monotonic(), _wanted(source.settings, source.engine_key)
        self._wanted = wanted
        self.foreign.configure(wanted.engines, wanted.peers)
        self.fleet.configure(self._gated(wanted))
        self.gpu_faults.configure(wanted.watched)
        self.door.configure(wanted.door, now)
        self.prober.configure(wanted.targets, wanted.rhythm, wanted.engine_key)
        self.calibrator.configure(_calibration_tokens(wanted.settings), wanted.engine_key)
        self.tally.configure(**wanted.labels)
        self.catalogue.configure(wanted.offers)
        self.discovery.engine_key = wanted.engine_key
        if self.caches:
            self.caches.configure(wanted.settings, wanted.engine_key)
        self._learnt()

    def _learnt(self) -> None:
        """Let requests name what the engines turned out to hold, and be as long as their tokenizers make them."""
        wanted = self._wanted
        names = {**self.catalogue.found(), **wanted.parse.names}
        parse = replace(wanted.parse, names=names, ratios=self.fleet.ratios)
        self.answers.configure(parse, wanted.backends, proxy=bool(wanted.settings.listen.proxy))
        self.proxy.configure(replace(wanted.proxy, parse=parse))

    def _gated(self, wanted: Wanted) -> FleetSettings:
        """The fleet's settings, without a gate where others of this host cannot be seen: they may fill any home."""
        if wanted.settings.decider.of == 1 or self.foreign.shared:
            return wanted.fleet
        return replace(wanted.fleet, rule=replace(wanted.fleet.rule, gate_seconds=0.0))

    def _make_accounts(self, settings: Settings) -> Accounts:
        journal = self.journal if settings.log.decisions else None
        return Accounts(
            self.fleet,
            self.tally,
            self._recent,
            journal,
            self.door,
            decider=settings.decider.index,
            ended=self.export.traces.completed if self.export else None,
        )

    def _make_answers(self, wanted: Wanted) -> Answers:
        return Answers(
            settings=wanted.parse,
            backends=wanted.backends,
            fleet=self.fleet,
            tally=self.tally,
            recent=self._recent,
            clock=time.perf_counter,
            door=self.door,
            proxy=bool(wanted.settings.listen.proxy),
            decider=wanted.settings.decider.index if wanted.settings.decider.of > 1 else None,
            learn=self.caches.learner.offer if self.caches else None,
            timed=self.export.traces.timed if self.export else None,
        )

    def _make_caches(self) -> "Caches":
        from router.kv_caches import Caches  # noqa: PLC0415  # what it needs is not loaded where nobody wants it

        return Caches(self.engines, time.monotonic)

    def _make_export(self, settings: Settings) -> "TraceExport":
        from router.trace_export import TraceExport  # noqa: PLC0415  # loaded where traces are wanted, nowhere else
        from router.traces import Traces  # noqa: PLC0415  # the same

        return TraceExport(Traces(settings.traces.capacity), settings.traces.endpoint)

    def _make_foreign(self, wanted: Wanted, now: float) -> Foreign:
        decider = wanted.settings.decider
        shared = Shared(decider.shared, decider.index) if decider.shared else None
        foreign = Foreign(self.fleet, shared, self.gossip, time.monotonic)
        foreign.configure(wanted.engines, wanted.peers)
        return foreign

    def _make_keeper(self, path: str) -> EdgeKeeper | None:
        return EdgeKeeper(self.fleet, EdgeSocket(path), self._places, time.monotonic) if path else None

    def _places(self) -> dict[str, str]:
        """Each engine's backend at the edge, now."""
        return {engine.name: self._wanted.backends[engine.model] for engine in self.settings.engines}


def _wanted(settings: Settings, engine_key: str) -> Wanted:
    heard = settings.routing.kv_events or settings.routing.gossip
    return Wanted(
        settings=settings,
        engine_key=engine_key,
        fleet=fleet_settings(settings),
        door=door_settings(settings),
        parse=parse_settings(settings),
        proxy=proxy_settings(settings, engine_key),
        backends={model.name: model.backend for model in settings.models},
        labels=_labels(settings),
        targets=tuple(Target(engine.name, engine.url) for engine in settings.engines),
        rhythm=Rhythm(settings.health.interval_seconds, settings.health.timeout_seconds),
        offers=tuple(Offer(each.name, tuple(each.aliases), tuple(each.adapters)) for each in settings.models),
        engines=tuple(engine.name for engine in settings.engines),
        peers=tuple(settings.peers) if heard else (),
        watched=watched(settings),
    )


def _certificates(settings: Settings) -> Certificates | None:
    path = settings.edge.runtime_socket
    return Certificates(EdgeSocket(path)) if path else None


def _calibration_tokens(settings: Settings) -> int:
    return settings.calibrate.tokens if settings.calibrate.enabled else 0


def _labels(settings: Settings) -> dict[str, list[str]]:
    """The values that labels of metrics may have."""
    return {
        "engines": _names(settings.engines),
        "sources": [*settings.sessions.headers, *settings.sessions.fields, "fingerprint", "prefix"],
        "models": _names(settings.models),
        "tenants": _names(settings.tenants),
        "classes": _names(settings.admission.classes),
    }


def _names(sections: Iterable[Engine | Model | PriorityClass | Tenant]) -> list[str]:
    return [each.name for each in sections]
