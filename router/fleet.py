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
7. An engine is alive while it advances: requests of ours there, no first byte, no end and no counter that moved for
   `stall_seconds` eject it, whatever its health check says. Time in which nobody looked does not count.
8. An engine at its cap is full: it gets nothing new until something there is done. Where all are full, a request is
   Saturated. An engine with nothing to do is never full, so that a prompt longer than any cap is served.
9. The edge's own count is the truth about leases: what an engine has beyond it, twice in a row, is lost.
10. An engine that comes back from an ejection or a restart is given a growing share of its work.
11. What the edge served by itself counts like what was decided here.
12. Every map has a capacity and a time to live.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from router.alone import Alone, joined
from router.bindings import Bindings, with_belief
from router.blame import Blame
from router.cached import Cached
from router.drains import OPERATOR
from router.engine import Engine, EngineSettings, EngineSnapshot, Group, by_model, kept_or_new
from router.errors import NoEngine, Saturated, UnknownEngine
from router.fleet_settings import FleetSettings, FleetSnapshot
from router.kv_index import KvIndex
from router.leases import Lease, Leases
from router.liveness import Limits, Probe, State
from router.outcome import Outcome, Verdict, verdict
from router.parse import Ask, response_key
from router.pick import Belief, Binding, Choice, Why, pick
from router.ratios import Counted, Ratios

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

_MOST_EJECTED: Final = 1000  # names that nobody has asked for yet
_UNSEEN_AFTER: Final = 2.0  # seconds without a look: a timer looks more often, unless this process did not run
_EXCUSED_FOR: Final = 0.5  # seconds: whether silence is excused is found by walking over all leases


class Fleet:
    """Owner of all routing state. See the module's rules. `told`: what engines say of their caches, if they do."""

    def __init__(self, settings: FleetSettings, now: float, told: KvIndex | None = None) -> None:
        self._settings = settings
        self._born_at = self._looked_at = now
        self._engines = {engine.name: Engine(engine, settings) for engine in settings.engines}
        self._groups = by_model(self._engines.values())
        self._leases = Leases(settings.leases_capacity, settings.leases_ttl_seconds)
        self._bindings = Bindings(settings.bindings_capacity, settings.bindings_ttl_seconds)
        self._alone = Alone(settings.bindings_capacity, settings.bindings_ttl_seconds)
        self._blame = Blame()
        self._cached = Cached(self._bindings, told)
        self._ratios = Ratios(settings.characters_per_token)
        self._ejected: deque[str] = deque(maxlen=_MOST_EJECTED)
        self._unknown_begun = self._unknown_finished = self._epochs = 0
        self._size_cached()

    # ------------------------------------------------------------------------------------------------------- a request

    def decide(self, ask: Ask, now: float) -> Choice:
        """Choose an engine and take a lease there. Raises Refused: NoEngine (503), Saturated (429)."""
        group = self._groups.get(ask.model, _NOBODY)
        binding = self._bindings.get(ask.key, now)
        if ask.previous:
            binding = self._bindings.get(ask.previous, now) or binding
        heard = self._alone.heard(ask, self._engines)
        binding = joined(binding, heard)
        held = self._cached.of(ask, binding, heard, self._engines)
        try:
            choice = pick(ask, group.look(), binding, self._settings.rule, held)
        except NoEngine:
            raise NoEngine(ask.model, group.seen(), self._settings.retry_after_seconds) from None
        except Saturated as full:
            raise Saturated(ask.model, group.room_after(self._settings.max_wait_seconds), full.engine) from None
        if self._leases.too_late(ask.id):
            return choice
        self._dispatch(ask, choice, binding, now)
        return choice

    def _dispatch(self, ask: Ask, choice: Choice, binding: Binding | None, now: float) -> None:
        """Take the lease, and believe that the chosen engine is going to hold this prompt."""
        engine = self._engines[choice.engine]
        epoch = engine.health.epoch
        settles, home = choice.rebind, choice.engine
        belief = Belief(choice.engine, epoch, ask.prompt_tokens)
        beliefs: tuple[Belief, ...] = (belief,)
        if binding is not None:
            beliefs = with_belief(binding.beliefs, belief)
            if choice.why is _SPILL and self._engines[binding.home].held_back:
                settles = False  # home is dear only because it came back a moment ago: a detour, too
            if not settles:
                home = binding.home
        self._leases.take(Lease(ask, engine, choice.uncached_tokens, now, epoch, settles=settles))
        self._bindings.put(ask.key, Binding(home, beliefs), now)
        self._alone.used(ask)
        self._cached.sent(ask, choice.engine, now)

    def begun(self, request_id: str, server: str, now: float, status: int = 200) -> None:
        """The first byte of an answer with `status` came from `server`: its prefill is done."""
        engine = self._engines.get(server)
        served = status < 400
        if engine is not None:
            engine.health.advanced(now)
        lease = self._leases.begin(request_id, engine, now, served=served)
        if lease is None:
            self._unknown_begun += 1
            return
        if engine is not None and served:
            engine.ledger.sent(lease.ask.prompt_tokens)
            self._learn(engine, _GOOD, now)
        if engine is not lease.chosen or not served:
            self._cached.computed(lease, engine if served else None)
        self._computed(self._leases.computed_before(lease))

    def computing(self, request_id: str, server: str, now: float) -> None:
        """`server` has said nothing yet but comments that keep the client there: it still computes the prompt.

        It counts as computed when a later request's answer begins there, when it must be done by the engine's rate, or
        at its end, whichever is first. Such a comment says nothing of whether the engine advances.
        """
        engine = self._engines.get(server)
        if engine is None or not self._leases.computing(request_id, engine, now):
            self._unknown_begun += 1

    def _computed(self, leases: Iterable[Lease]) -> None:
        for lease in leases:
            lease.holder.ledger.sent(lease.ask.prompt_tokens)
            self._cached.computed(lease, lease.holder)

    def stored(self, request_id: str, response_id: str, now: float) -> None:
        """The engine that answers `request_id` keeps the answer as `response_id`: what continues it must go there."""
        lease = self._leases.find(request_id)
        if lease is not None:
            belief = Belief(lease.holder.name, lease.holder.health.epoch, lease.ask.prompt_tokens)
            key = response_key(lease.ask.tenant, lease.ask.model, response_id)
            self._bindings.put(key, Binding(lease.holder.name, (belief,), strict=True), now)

    def served_alone(self, stick: str, server: str, prompt_tokens: int, now: float) -> None:
        """The edge sent a request of session `stick` to `server` by itself, which answered it."""
        engine = self._engines.get(server)
        if engine is not None:
            self._alone.served(engine.settings.model, stick, Belief(server, engine.health.epoch, prompt_tokens), now)

    def finished(self, outcome: Outcome, now: float) -> None:
        """The request is over: give back what its lease still holds, and learn from how it went."""
        lease = self._leases.release(outcome.id)
        said = verdict(outcome)
        server = self._engines.get(outcome.server)
        chosen = self._engines.get(outcome.chosen) or (lease.chosen if lease else None)
        key = lease.ask.key if lease else None
        if server is not None:
            if outcome.termination == "--":
                server.health.advanced(now)
            self._learn(server, said, now, key)
        if outcome.retries > 0 and chosen is not None and chosen is not server:
            # Whoever refused the last try like this refused the first one, too.
            self._learn(chosen, said if said is Verdict.ANSWERED else Verdict.FAULT, now, key)
        if lease is None:
            self._unknown_finished += bool(outcome.chosen)
            self._leases.ended(outcome.id)
        elif not lease.begun:
            # An answer that was there whole: nothing was said of its first byte.
            if server is not None and said is _GOOD:
                server.ledger.sent(lease.ask.prompt_tokens)
            self._cached.computed(lease, server if said is _GOOD else None)

    # ---------------------------------------------------------------------------------------------- news of the engines

    def probe(self, engine: str, probe: Probe, now: float) -> None:
        """The prober's latest look at `engine`. Raises UnknownEngine."""
        found = self._engine(engine)
        self._look(now)
        before = found.health.ejections
        found.probed(probe, now, may_eject=self._may_eject(found))
        if probe.cache_tokens:
            self.cache(engine, probe.cache_tokens)
        if probe.prompt_tokens is not None and probe.first_tokens is not None and not found.uncached_tokens:
            ratio = found.ledger.compare(Counted(probe.prompt_tokens, probe.first_tokens))
            if ratio is not None:
                self._ratios.learn(found.settings.model, ratio)
        self._watch(found, now)
        self._note(found, before)

    @property
    def ratios(self) -> Mapping[str, float]:
        """Characters per token by model, as far as they were learnt; always the same object."""
        return self._ratios.by_model

    def cache(self, engine: str, capacity_tokens: int) -> None:
        """`engine`'s KV cache has room for so many tokens."""
        found = self._engines.get(engine)
        if found is not None and capacity_tokens > 0 and found.cache_tokens != capacity_tokens:
            found.cache_tokens = capacity_tokens
            self._size_cached()

    def calibrated(self, engine: str, tokens_per_second: float) -> None:
        """A known prompt was computed at this rate."""
        found = self._engines.get(engine)
        if found is not None:
            found.calibrated(tokens_per_second)
            self._groups[found.settings.model].level()

    def take_ejected(self) -> list[str]:
        """Names of the engines that were ejected since the last call, oldest first."""
        names, self._ejected = list(self._ejected), deque(maxlen=_MOST_EJECTED)
        return names

    # ---------------------------------------------------------------------------------------- news of other bookkeepers

    def foreign(self, engine: str, uncached_tokens: int, in_flight: int) -> None:
        """What all other deciders together have at `engine` now; replaces what was said before."""
        found = self._engines.get(engine)
        if found is not None:
            found.foreign(uncached_tokens, in_flight)

    def loads(self) -> dict[str, tuple[int, int]]:
        """What this decider has at each engine: uncached tokens before their first byte, and requests."""
        return {name: (engine.uncached_tokens, engine.in_flight) for name, engine in self._engines.items()}

    def reconcile(self, engine: str, sessions: int, now: float, since: float = -math.inf) -> None:
        """The edge's process of `since` counts so many sessions at `engine`; leases over that, twice, end there."""
        found = self._engines.get(engine)
        if found is not None and found.in_flight > (most := found.edge_counts(sessions, now)):
            self._leases.reconcile(found, int(most), now, since)

    # --------------------------------------------------------------------------------------------------------- orders

    def drain(self, name: str, reason: str = OPERATOR) -> None:
        """Give `name` no new work; who has an operator's order keeps that one. Raises UnknownEngine."""
        if (found := self._engine(name)).drain_reason != OPERATOR:
            found.drain(reason=reason)

    def undrain(self, name: str, reason: str = "") -> None:
        """Give `name` work again; with a `reason`, only if it was drained for that. Raises UnknownEngine."""
        if (found := self._engine(name)).drain_reason == reason or not reason:
            found.drain(reason="")

    def drained_for(self, name: str) -> str:
        """Why it is drained; empty when it is not. Raises UnknownEngine."""
        return self._engine(name).drain_reason

    def may_drain(self, name: str) -> bool:
        """Whether another engine can take its work. Raises UnknownEngine."""
        return self._may_eject(self._engine(name))

    def expire(self, now: float) -> None:
        """Once a second: end what is overdue (leases, bindings), try ejected engines again, look for silent ones."""
        self._leases.expire(now)
        self._computed(self._leases.computed(now))
        self._bindings.expire(now)
        self._alone.expire(now)
        for engine in self._engines.values():
            engine.tick(now)
            engine.excused_until = now
        for group in self._groups.values():
            group.level()
        self.watch(now)

    def watch(self, now: float) -> None:
        """Some times a second: look for engines that have work and stand still."""
        self._look(now)
        for engine in self._engines.values():
            if now >= engine.excused_until:
                before = engine.health.ejections
                self._watch(engine, now)
                self._note(engine, before)

    def configure(self, settings: FleetSettings) -> None:
        """Take over new settings; engines that stay keep their health, load and drain flag, sessions their home."""
        old = self._engines
        self._settings = settings
        # A new engine may have an old one's name: no belief of that one may look like one about this one.
        self._epochs = max([self._epochs, *(engine.health.epoch + 1 for engine in old.values())])
        self._engines = {
            wanted.name: kept_or_new(old.get(wanted.name), wanted, settings, self._epochs)
            for wanted in settings.engines
        }
        self._groups = by_model(self._engines.values())
        for group in self._groups.values():
            group.reprieve()
        self._ratios.configure(settings.characters_per_token, frozenset(self._groups))
        self._leases.resize(settings.leases_capacity, settings.leases_ttl_seconds)
        self._bindings.resize(settings.bindings_capacity, settings.bindings_ttl_seconds)
        for name, engine in old.items():
            if self._engines.get(name) is not engine:
                self._cached.remove(name)
        self._size_cached()

    def snapshot(self, now: float) -> FleetSnapshot:
        """A frozen picture of everything."""
        counts = {
            **self._leases.counts(),
            **self._bindings.counts(),
            **self._cached.counts(),
            "begun_unknown": self._unknown_begun,
            "finished_unknown": self._unknown_finished,
        }
        engines = tuple(engine.snapshot(self._cached.tokens(name)) for name, engine in self._engines.items())
        sizes = len(self._leases), len(self._bindings)
        return FleetSnapshot(engines, *sizes, counts, now - self._born_at, len(self._cached))

    # ---------------------------------------------------------------------------------------------------------- inside

    def _engine(self, name: str) -> Engine:
        engine = self._engines.get(name)
        if engine is None:
            raise UnknownEngine(name)
        return engine

    def _size_cached(self) -> None:
        self._cached.size(self._engines.values(), enabled=self._settings.index_enabled)

    def _learn(self, engine: Engine, said: Verdict, now: float, key: int | None = None) -> None:
        """Take over what a request of session `key` says about `engine`."""
        health = engine.health
        before = health.ejections
        if said is _GOOD:
            if key is not None:
                self._blame.worked(key)
            if health.state is _READY:
                return  # nothing to forgive
            health.request_worked(now)
        elif said is Verdict.ANSWERED:
            if key is None or self._blame.failed(key, engine.name):
                health.request_failed(now, refused=False, may_eject=self._may_eject(engine, faultless=True))
        elif said is not Verdict.NOTHING:
            health.request_failed(now, refused=said is Verdict.REFUSED, may_eject=self._may_eject(engine))
        engine.judged(now)
        self._note(engine, before)

    def _watch(self, engine: Engine, now: float) -> None:
        """Eject an engine that has work and stands still."""
        if not engine.silent(now):
            return
        if engine.health.stalled or not engine.excused(now, *self._leases.waiting(engine)):
            engine.health.stands_still(now, may_eject=self._may_eject(engine))
            engine.changed()
        else:
            engine.excused_until = now + _EXCUSED_FOR

    def _look(self, now: float) -> None:
        """Whoever has not looked for a while (stopped, on a machine that slept) has not seen anybody stand still."""
        unseen, self._looked_at = now - self._looked_at, now
        if unseen > _UNSEEN_AFTER:
            for engine in self._engines.values():
                engine.health.advanced_at = min(engine.health.advanced_at + unseen, now)

    def _note(self, engine: Engine, ejections: int) -> None:
        """Tell of a new ejection; forget what the cache of an engine held that lost it."""
        if engine.health.ejections != ejections:
            self._ejected.append(engine.name)
        if engine.health.epoch != engine.epoch_seen:
            engine.epoch_seen = engine.health.epoch
            self._cached.lost(engine.name)

    def _may_eject(self, engine: Engine, *, faultless: bool = False) -> bool:
        """Whether another engine can take its work; `faultless`: one without failed requests."""
        return any(
            other is not engine
            and other.health.steady
            and not other.draining
            and not other.asleep
            and not (faultless and other.health.failures)
            for other in self._groups.get(engine.settings.model, _NOBODY).engines
        )


_GOOD: Final = Verdict.GOOD
_READY: Final = State.READY
_SPILL: Final = Why.SPILL
_NOBODY: Final = Group()
