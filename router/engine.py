"""One engine as the fleet knows it: where it is, what it is doing, how it is; and the engines of one model."""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Final

from router.fleet_settings import EngineSettings, EngineSnapshot, FleetSettings
from router.liveness import Liveness, Probe, State
from router.pick import EngineView
from router.rate import PrefillRate, alike
from router.ratios import Ledger

DEFAULT_CACHE_TOKENS: Final = 100_000
_EDGE_COUNTS_FOR: Final = 3.0  # seconds
_LONGEST_WAIT: Final = 60  # seconds
_SLOWEST_START: Final = 0.2  # of the work

__all__ = ["DEFAULT_CACHE_TOKENS", "Engine", "EngineSettings", "EngineSnapshot", "Group", "by_model", "kept_or_new"]


class Engine:
    """Load, cache pressure, rate and health of one engine. Only the fleet and its leases change it."""

    __slots__ = (
        "_busy",
        "_capped",
        "_edge_counted",
        "_group",
        "_progress",
        "_share",
        "_stale",
        "asleep",
        "cache_tokens",
        "drain_reason",
        "draining",
        "epoch_seen",
        "excused_until",
        "foreign_in_flight",
        "foreign_uncached",
        "health",
        "in_flight",
        "kv_usage",
        "ledger",
        "name",
        "pace",
        "rate",
        "settings",
        "slot",
        "uncached_tokens",
        "wants",
    )

    def __init__(self, settings: EngineSettings, wants: FleetSettings, epoch: int = 0) -> None:
        self.settings = settings
        self.wants = wants
        self.name = settings.name
        self.health = Liveness(wants.limits, epoch)
        self.rate = PrefillRate(settings.prefill_tokens_per_second)
        self.pace = self.rate.value  # as prices count it: see Group.level
        self.ledger = Ledger()
        self.draining, self.drain_reason = False, ""
        self.asleep = False
        self.in_flight = self.uncached_tokens = 0
        self.foreign_in_flight = self.foreign_uncached = 0
        self.kv_usage = 0.0
        self.cache_tokens = DEFAULT_CACHE_TOKENS
        self._edge_counted = (math.inf, -math.inf)  # requests, and when
        self.epoch_seen = epoch
        self.excused_until = -math.inf
        self.slot = 0
        self._busy: float | None = None
        self._progress: tuple[float, ...] | None = None
        self._capped = bool(self._most_requests() or wants.max_wait_seconds)
        self._share = 1.0
        self._group: Group | None = None
        self._stale = True

    # ------------------------------------------------------------------------------------------------------------ load

    def take(self, uncached_tokens: int, now: float) -> None:
        """One more request is there, with so many tokens to compute before its first byte."""
        if uncached_tokens and not self.uncached_tokens and not self.foreign_uncached:
            self.rate.works(now)
        if not self.in_flight:
            self.health.advanced_at = now
        self.in_flight += 1
        self.uncached_tokens += uncached_tokens
        if not self._stale:
            self.changed()

    def prefilled(self, uncached_tokens: int, now: float) -> None:
        """So many tokens are computed."""
        self.uncached_tokens -= uncached_tokens
        if not self.foreign_uncached:
            self.rate.done(uncached_tokens, now, idle=not self.uncached_tokens)
        if not self._stale:
            self.changed()

    def spared(self, uncached_tokens: int) -> None:
        """So many tokens need no computing here any more, and were not computed, or not all."""
        self.uncached_tokens -= uncached_tokens
        self.rate.void()
        if not self._stale:
            self.changed()

    def give_back(self) -> None:
        """One request less is there."""
        self.in_flight -= 1
        if not self._stale:
            self.changed()

    def foreign(self, uncached_tokens: int, in_flight: int) -> None:
        """What other deciders have there now; another rate than theirs and ours together cannot be seen from here."""
        before = self.foreign_uncached, self.foreign_in_flight
        self.foreign_uncached, self.foreign_in_flight = max(uncached_tokens, 0), max(in_flight, 0)
        if before == (self.foreign_uncached, self.foreign_in_flight):
            return
        if self.foreign_uncached:
            self.rate.void()
        self.changed()

    # ---------------------------------------------------------------------------------------------------------- orders

    def drain(self, *, reason: str) -> None:
        """Who wants it empty; nobody: an empty text."""
        self.draining, self.drain_reason = bool(reason), reason
        self.changed()

    def configure(self, settings: EngineSettings, wants: FleetSettings) -> None:
        """The same engine under new settings; a rate that was measured stays unless another is configured now."""
        if settings.prefill_tokens_per_second != self.settings.prefill_tokens_per_second:
            self.rate.configure(settings.prefill_tokens_per_second)
        self.settings, self.wants = settings, wants
        self._capped = bool(self._most_requests() or wants.max_wait_seconds)
        self.health.limits = wants.limits
        self.changed()

    def calibrated(self, tokens_per_second: float) -> None:
        """A known prompt was computed at this rate."""
        self.rate.calibrate(tokens_per_second)
        self.ledger.void()
        self.changed()

    # ------------------------------------------------------------------------------------------------------------ news

    def probed(self, probe: Probe, now: float, *, may_eject: bool) -> None:
        """The prober looked."""
        if probe.kv_usage is not None and math.isfinite(probe.kv_usage):
            self.kv_usage = min(max(probe.kv_usage, 0.0), 1.0)
        if probe.progress is not None and probe.progress != self._progress:
            self._progress = probe.progress
            self.health.advanced(now)
        self._busy = probe.busy
        if probe.asleep is not None:
            self.asleep = probe.asleep
        if probe.waited_seconds is None or self.health.advanced_at <= now - probe.waited_seconds / 2:
            self.health.probed(probe, now, may_eject=may_eject)
        self.judged(now)

    def tick(self, now: float) -> None:
        """Time passed."""
        self.health.tick(now)
        self.rate.refresh()
        self.judged(now)

    def judged(self, now: float) -> None:
        """Its health may be another now."""
        self._share = self._ramp(now)
        self.changed()

    def silent(self, now: float) -> bool:
        """Whether it has work and no sign of progress came for too long, as far as this engine lets that be seen."""
        health, limit = self.health, self.wants.stall_seconds
        if not (limit and self.in_flight) or now - health.advanced_at < limit or not self._edge_count(now):
            return False
        witnessed = self._progress is not None or health.probe_failures > 0
        return witnessed and (health.steady or health.trial is not None)

    def edge_counts(self, sessions: int, now: float) -> float:
        """How many the edge has there; return the most of this count and the one before, which is endless if old."""
        most = max(self._edge_count(now), sessions)
        self._edge_counted = (sessions, now)
        return most

    def _edge_count(self, now: float) -> float:
        """How many the edge had there a moment ago; a count that stopped coming says nothing."""
        sessions, when = self._edge_counted
        return sessions if now - when < _EDGE_COUNTS_FOR else math.inf

    @property
    def idle(self) -> bool:
        """Whether it says that it has nothing to do."""
        return self._busy == 0

    def excused(self, now: float, waiting: int, heaviest: int) -> bool:
        """Whether the silence may be no fault.

        `waiting`: requests without a first byte; `heaviest`: the most tokens that one of them needs computed, which
        some engines count only when the last of them is done. Without any, an engine that says it has nothing to do
        is right: the end of those requests was lost.
        """
        idle = not waiting and self._busy == 0
        return idle or now - self.health.advanced_at < 2 * heaviest / self.rate.value

    def changed(self) -> None:
        """Its next view is another than the last."""
        if not self._stale and self._group is not None:
            self._stale = True
            self._group.stale.append(self)

    # ---------------------------------------------------------------------------------------------------------- looked

    def join(self, group: "Group", slot: int) -> None:
        """Be the engine at `slot` of a group's views from now on."""
        self._group, self.slot, self._stale = group, slot, True

    def view(self) -> EngineView:
        """What a decision needs to know, as it is now."""
        self._stale = False
        health = self.health
        in_flight = self.in_flight + self.foreign_in_flight
        uncached = self.uncached_tokens + self.foreign_uncached
        if self._share < 1.0:
            uncached = round(uncached / self._share)
        return EngineView(
            self.name,
            uncached,
            in_flight,
            self.pace,
            self.kv_usage,
            health.usable and not self.asleep,
            self.draining,
            health.epoch,
            self._capped and self._full(in_flight, uncached, self.rate.value),
        )

    @property
    def held_back(self) -> bool:
        """Whether it is dearer than its work makes it, because it came back a moment ago."""
        return self._share < 1.0 and self.uncached_tokens + self.foreign_uncached > 0

    @property
    def state(self) -> State:
        """Its health, or `draining` for one that would be ready."""
        return State.DRAINING if self.draining and self.health.state is State.READY else self.health.state

    def told(self) -> str:
        """The same for a person, who is to know also of one that sleeps."""
        return "draining" if self.draining else "asleep" if self.asleep else self.health.state.value

    def snapshot(self, index_tokens: int = 0) -> EngineSnapshot:
        """A frozen picture."""
        health, stale = self.health, self._stale
        view = self.view()
        self._stale = stale
        return EngineSnapshot(
            name=self.name,
            url=self.settings.url,
            model=self.settings.model,
            state=self.state,
            draining=self.draining,
            available=view.available and not self.draining,
            in_flight=self.in_flight,
            uncached_tokens=self.uncached_tokens,
            prefill_tokens_per_second=self.rate.value,
            kv_usage=self.kv_usage,
            epoch=health.epoch,
            failures=health.failures,
            probe_failures=health.probe_failures,
            full=view.full,
            foreign_in_flight=self.foreign_in_flight,
            foreign_uncached_tokens=self.foreign_uncached,
            calibrated_tokens_per_second=self.rate.calibrated,
            slow_start_share=self._share,
            stalled=health.stalled,
            ejections=health.ejections,
            eject_reason=health.eject_reason,
            eject_counts=dict(health.eject_counts),
            cache_tokens=self.cache_tokens,
            index_tokens=index_tokens,
            drain_reason=self.drain_reason,
            asleep=self.asleep,
        )

    def _full(self, in_flight: int, uncached: int, rate: float) -> bool:
        """At its cap; an engine with nothing to do never is, so that a prompt longer than the cap is served, too."""
        if not in_flight:
            return False
        most, wait = self._most_requests(), self.wants.max_wait_seconds
        return bool(most and in_flight >= most) or bool(wait and uncached > rate * wait)

    def _most_requests(self) -> int:
        return self.settings.max_requests or self.wants.max_requests

    def _ramp(self, now: float) -> float:
        """The share of its work that an engine which came back is given: it warms up under less than the whole.

        What waits there counts for that much more, so it fills up sooner. An empty engine costs what it always does:
        sessions whose home it is come home, but not all in one moment.
        """
        since, over = self.health.returned_at, self.wants.slow_start_seconds
        if since is None or over <= 0 or now >= since + over:
            return 1.0
        return _SLOWEST_START + (1.0 - _SLOWEST_START) * max(now - since, 0.0) / over


class Group:
    """The engines of one model, and their views: only those that changed are built again."""

    __slots__ = ("engines", "stale", "views")

    def __init__(self, engines: tuple[Engine, ...] = ()) -> None:
        self.engines = engines
        self.stale: list[Engine] = list(engines)
        self.views: list[EngineView] = []
        for slot, engine in enumerate(engines):
            engine.join(self, slot)
            self.views.append(engine.view())
        self.stale.clear()
        self.level()

    def level(self) -> None:
        """Count engines that are about equally fast as equally fast: measurements differ, by a few percent at least.

        Else the one that came out fastest would get every new session for as long as there is little to do.
        """
        for engine, pace in zip(self.engines, alike([engine.rate.value for engine in self.engines]), strict=True):
            if pace != engine.pace:
                engine.pace = pace
                engine.changed()

    def reprieve(self) -> None:
        """Where others left and no engine is sound any more, those that were ejected beat none."""
        if not any(engine.health.steady for engine in self.engines):
            for engine in self.engines:
                engine.health.reprieve()
                engine.changed()

    def room_after(self, max_wait_seconds: float) -> int:
        """Whole seconds, 1 to 60, until one of these full engines should be below its cap of prefill work."""
        able = (view for view in self.look() if view.available and not view.draining)
        waits = (view.uncached_in_flight / view.prefill_tokens_per_second - max_wait_seconds for view in able)
        return min(max(math.ceil(min(waits, default=1.0)), 1), _LONGEST_WAIT)

    def seen(self) -> str:
        """How many are in which state, for a person."""
        states = Counter(engine.told() for engine in self.engines)
        return ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none is configured"

    def look(self) -> list[EngineView]:
        """Every engine's view as of now. The list is the group's own: read it before anything changes."""
        if self.stale:
            for engine in self.stale:
                self.views[engine.slot] = engine.view()
            self.stale.clear()
        return self.views


def by_model(engines: Iterable[Engine]) -> dict[str, Group]:
    """The engines of each model."""
    members: dict[str, list[Engine]] = {}
    for engine in engines:
        members.setdefault(engine.settings.model, []).append(engine)
    return {model: Group(tuple(found)) for model, found in members.items()}


def kept_or_new(old: Engine | None, wanted: EngineSettings, settings: FleetSettings, epoch: int) -> Engine:
    """The engine under new settings: the old one, if it is the same."""
    if old is None or (old.settings.url, old.settings.model) != (wanted.url, wanted.model):
        return Engine(wanted, settings, epoch)
    old.configure(wanted, settings)
    return old
