"""The router's parts, made from its settings and brought up to date with new ones. No sockets."""

import time

from router.account import Accounts, Journal
from router.answer import Answers
from router.config import Settings, door_settings, fleet_settings, parse_settings
from router.door import Door
from router.fleet import Fleet
from router.health import Prober, Rhythm, Target
from router.joined import Recent
from router.metrics import Exporter, Tally, registry
from router.reload import ReloadCollector, Reloader


class Parts:
    """Everything that lives as long as the process; `configure` swaps settings between two events of the loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tally = Tally(**_labels(settings))
        self.fleet = Fleet(fleet_settings(settings), time.monotonic())
        recent = Recent(settings.leases.capacity)
        self.door = Door(self.fleet, self.tally, recent, door_settings(settings), time.monotonic())
        self.journal = Journal(self.tally)
        self.accounts = Accounts(
            self.fleet,
            self.tally,
            recent,
            self.journal if settings.log.decisions else None,
            self.door,
            decider=settings.decider.index,
        )
        self.answers = Answers(
            settings=parse_settings(settings),
            backends=_backends(settings),
            fleet=self.fleet,
            tally=self.tally,
            recent=recent,
            clock=time.perf_counter,
            door=self.door,
            proxy=bool(settings.listen.proxy),
        )
        self.prober = Prober(_targets(settings), _rhythm(settings), self.fleet.probe, self.tally, time.monotonic)
        self.metrics = registry(
            Exporter(self.tally, lambda: self.fleet.snapshot(time.monotonic()), self.prober.ages, self.door),
        )

    def models(self) -> tuple[str, ...]:
        """Return the names of the models in the settings in force."""
        return tuple(model.name for model in self.settings.models)

    def watch(self, reloader: Reloader) -> None:
        """Show in the metrics what a reloader does."""
        self.metrics.register(ReloadCollector(reloader))

    def configure(self, settings: Settings) -> None:
        """Take over checked settings. What can fail is made first: then either all of it is swapped, or nothing."""
        fleet, parse, door = fleet_settings(settings), parse_settings(settings), door_settings(settings)
        labels = _labels(settings)
        backends, targets, rhythm = _backends(settings), _targets(settings), _rhythm(settings)
        self.fleet.configure(fleet)
        self.door.configure(door, time.monotonic())
        self.answers.configure(parse, backends, proxy=bool(settings.listen.proxy))
        self.prober.configure(targets, rhythm)
        self.tally.configure(**labels)
        self.settings = settings


def _labels(settings: Settings) -> dict[str, list[str]]:
    """The values that labels of metrics may have."""
    return {
        "engines": [engine.name for engine in settings.engines],
        "sources": [*settings.sessions.headers, *settings.sessions.fields, "fingerprint", "prefix"],
        "models": [model.name for model in settings.models],
        "tenants": [tenant.name for tenant in settings.tenants],
        "classes": [each.name for each in settings.admission.classes],
    }


def _backends(settings: Settings) -> dict[str, str]:
    return {model.name: model.backend for model in settings.models}


def _targets(settings: Settings) -> tuple[Target, ...]:
    return tuple(Target(engine.name, engine.url) for engine in settings.engines)


def _rhythm(settings: Settings) -> Rhythm:
    return Rhythm(settings.health.interval_seconds, settings.health.timeout_seconds)
