"""The fleet's truth: engines, leases and bindings, owned here and changed nowhere else.

Rules:
1. One owner, one thread. Every method takes `now` (monotonic seconds) and returns at once; no I/O.
2. Ask → Choice → Lease → Outcome. `decide` takes a lease, `begun` gives back its prefill load, `finished` the rest.
   Both events may come late, twice, in any order or never: a lease is given back exactly once, and one that
   nobody gives back expires. A question that is read after the request's end (a router that was stopped finds
   both waiting) takes no lease and binds nothing. When idle, every engine's load is 0.
3. Only transport errors and 5xx answers count against an engine; 4xx and 429 never do. A 5xx answer may be the
   request's fault: a session that two engines failed counts against none, and where no other engine is without
   failures, 5xx answers eject nobody.
4. The last usable engine of a model is never ejected: a doubtful engine beats none.
5. A draining engine gets nothing new, even if no other is left: an operator asked for that.
6. A session's home survives a detour (drain, ejection, retry); only the cost rule moves it. Where the request
   that was to settle a session is really served, there its home is.
7. Every map has a capacity and a time to live.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from router.bindings import Bindings, with_belief
from router.blame import Blame
from router.engine import Engine, EngineSettings, EngineSnapshot
from router.errors import NoEngine, UnknownEngine
from router.leases import Lease, Leases
from router.liveness import Limits, Probe, State
from router.outcome import Outcome, Verdict, verdict
from router.parse import Ask
from router.pick import Belief, Binding, Choice, Rule, pick

__all__ = [
    "EngineSettings",
    "EngineSnapshot",
    "Fleet",
    "FleetSettings",
    "FleetSnapshot",
    "Limits",
    "Outcome",
    "Probe",
    "State",
]


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """Everything the fleet needs to know, all durations in seconds."""

    engines: tuple[EngineSettings, ...]
    rule: Rule = field(default_factory=Rule)
    bindings_capacity: int = 200_000
    bindings_ttl_seconds: float = 3600.0
    leases_capacity: int = 100_000
    leases_ttl_seconds: float = 3700.0
    probe_fail_after: int = 3
    probe_rise_after: int = 1
    eject_after: int = 3
    eject_seconds: float = 5.0
    eject_max_seconds: float = 60.0
    trial_seconds: float = 60.0
    retry_after_seconds: int = 5

    @property
    def limits(self) -> Limits:
        """When an engine is given up and tried again."""
        return Limits(
            self.probe_fail_after,
            self.probe_rise_after,
            self.eject_after,
            self.eject_seconds,
            self.eject_max_seconds,
            self.trial_seconds,
        )


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """The whole fleet at one moment. `counts` only ever grow; its keys are fixed."""

    engines: tuple[EngineSnapshot, ...]
    leases: int
    bindings: int
    counts: Mapping[str, int]
    uptime_seconds: float = 0.0


class Fleet:
    """Owner of all routing state. See the module's rules."""

    def __init__(self, settings: FleetSettings, now: float) -> None:
        self._settings = settings
        self._born_at = now
        self._engines = {engine.name: Engine(engine, settings.limits) for engine in settings.engines}
        self._groups = _by_model(self._engines.values())
        self._leases = Leases(settings.leases_capacity, settings.leases_ttl_seconds)
        self._bindings = Bindings(settings.bindings_capacity, settings.bindings_ttl_seconds)
        self._blame = Blame()
        self._unknown_begun = self._unknown_finished = 0

    def decide(self, ask: Ask, now: float) -> Choice:
        """Choose an engine and take a lease there. Raises Refused: NoEngine (503)."""
        group = self._groups.get(ask.model, ())
        binding = self._bindings.get(ask.key, now)
        try:
            choice = pick(ask, [engine.view() for engine in group], binding, self._settings.rule)
        except NoEngine:
            raise NoEngine(ask.model, _seen(group), self._settings.retry_after_seconds) from None
        if self._leases.too_late(ask.id):
            return choice
        engine = self._engines[choice.engine]
        epoch = engine.health.epoch
        tokens = (ask.prompt_tokens, choice.uncached_tokens)
        self._leases.take(Lease(ask.id, ask.key, engine, engine, *tokens, now, epoch, choice.rebind))
        belief = Belief(choice.engine, epoch, ask.prompt_tokens)
        home = binding.home if binding is not None and not choice.rebind else choice.engine
        self._bindings.put(ask.key, Binding(home, with_belief(binding.beliefs if binding else (), belief)), now)
        return choice

    def begun(self, request_id: str, server: str, now: float, status: int = 200) -> None:
        """The first byte of an answer with `status` came from `server`: its prefill is done."""
        engine = self._engines.get(server)
        lease = self._leases.begin(request_id, engine)
        if lease is None:
            self._unknown_begun += 1
            return
        if engine is not None and status < 400:
            self._learn(engine, Verdict.GOOD, now)
        self._held_by(lease, engine if status < 400 else None)

    def finished(self, outcome: Outcome, now: float) -> None:
        """The request is over: give back what its lease still holds, and learn from how it went."""
        lease = self._leases.find(outcome.id)
        said = verdict(outcome)
        server = self._engines.get(outcome.server)
        chosen = self._engines.get(outcome.chosen) or (lease.chosen if lease else None)
        key = lease.key if lease else None
        if server is not None:
            self._learn(server, said, now, key)
        if chosen is not None and chosen is not server and outcome.retries > 0:
            # Whoever refused the last try like this refused the first one, too.
            self._learn(chosen, said if said is Verdict.ANSWERED else Verdict.FAULT, now, key)
        if lease is None:
            self._unknown_finished += bool(outcome.chosen)
            self._leases.ended(outcome.id)
        elif not lease.begun:
            self._held_by(lease, server if said is Verdict.GOOD else None)
        self._leases.release(outcome.id)

    def probe(self, engine: str, probe: Probe, now: float) -> None:
        """The prober's latest look at `engine`. Raises UnknownEngine."""
        found = self._engine(engine)
        found.probed(probe, now, may_eject=self._may_eject(found))

    def drain(self, name: str) -> None:
        """Give `name` no new work. Raises UnknownEngine."""
        self._engine(name).drain(draining=True)

    def undrain(self, name: str) -> None:
        """Give `name` work again. Raises UnknownEngine."""
        self._engine(name).drain(draining=False)

    def expire(self, now: float) -> None:
        """Once a second: end what is overdue (leases, bindings) and let ejected engines be tried again."""
        self._leases.expire(now)
        self._bindings.expire(now)
        for engine in self._engines.values():
            engine.tick(now)

    def configure(self, settings: FleetSettings) -> None:
        """Take over new settings; engines that stay keep their health, load and drain flag, sessions their home."""
        old = self._engines
        self._settings = settings
        self._engines = {
            wanted.name: _kept_or_new(old.get(wanted.name), wanted, settings) for wanted in settings.engines
        }
        self._groups = _by_model(self._engines.values())
        self._leases.resize(settings.leases_capacity, settings.leases_ttl_seconds)
        self._bindings.resize(settings.bindings_capacity, settings.bindings_ttl_seconds)

    def snapshot(self, now: float) -> FleetSnapshot:
        """A frozen picture of everything."""
        counts = {
            "leases_replaced": self._leases.replaced,
            "leases_evicted": self._leases.evicted,
            "leases_expired": self._leases.expired,
            "bindings_evicted": self._bindings.evicted,
            "bindings_expired": self._bindings.expired,
            "begun_unknown": self._unknown_begun,
            "finished_unknown": self._unknown_finished,
        }
        engines = tuple(engine.snapshot() for engine in self._engines.values())
        return FleetSnapshot(engines, len(self._leases), len(self._bindings), counts, now - self._born_at)

    def _engine(self, name: str) -> Engine:
        engine = self._engines.get(name)
        if engine is None:
            raise UnknownEngine(name)
        return engine

    def _learn(self, engine: Engine, said: Verdict, now: float, key: int | None = None) -> None:
        """Take over what a request of session `key` says about `engine`."""
        if said is Verdict.GOOD:
            engine.health.request_worked(now)
            if key is not None:
                self._blame.worked(key)
        elif said is Verdict.ANSWERED:
            if key is None or self._blame.failed(key, engine.settings.name):
                engine.health.request_failed(now, refused=False, may_eject=self._may_eject(engine, faultless=True))
        elif said is not Verdict.NOTHING:
            refused = said is Verdict.REFUSED
            engine.health.request_failed(now, refused=refused, may_eject=self._may_eject(engine))
        engine.changed()

    def _may_eject(self, engine: Engine, *, faultless: bool = False) -> bool:
        """Whether another engine can take its work; `faultless`: one without failed requests."""
        group = self._groups.get(engine.settings.model, ())
        return any(
            other is not engine
            and other.health.steady
            and not other.draining
            and not (faultless and other.health.failures)
            for other in group
        )

    def _held_by(self, lease: Lease, engine: Engine | None) -> None:
        """The prompt was computed on `engine` (None: nowhere), not where it was expected: believe that instead."""
        if engine is lease.chosen:
            return
        before = lease.prompt_tokens - lease.uncached_tokens
        self._bindings.believe(lease.key, Belief(lease.chosen.settings.name, lease.epoch, before))
        if engine is None:
            return
        name = engine.settings.name
        self._bindings.believe(lease.key, Belief(name, engine.health.epoch, lease.prompt_tokens))
        if lease.settles:
            self._bindings.move(lease.key, lease.chosen.settings.name, name)


def _by_model(engines: Iterable[Engine]) -> dict[str, tuple[Engine, ...]]:
    groups: dict[str, tuple[Engine, ...]] = {}
    for engine in engines:
        groups[engine.settings.model] = (*groups.get(engine.settings.model, ()), engine)
    return groups


def _kept_or_new(old: Engine | None, wanted: EngineSettings, settings: FleetSettings) -> Engine:
    if old is None or (old.settings.url, old.settings.model) != (wanted.url, wanted.model):
        return Engine(wanted, settings.limits)
    old.configure(wanted, settings.limits)
    return old


def _seen(group: tuple[Engine, ...]) -> str:
    states = Counter("draining" if engine.draining else engine.state.value for engine in group)
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none is configured"
