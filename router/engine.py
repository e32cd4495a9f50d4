"""One engine as the fleet knows it: where it is, what it is doing, how it is."""

import math
from dataclasses import dataclass

from router.liveness import Limits, Liveness, Probe, State
from router.pick import EngineView


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """One configured engine; `prefill_tokens_per_second` is its calibrated prefill rate."""

    name: str
    url: str
    model: str
    prefill_tokens_per_second: float = 8000.0


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """One engine, for metrics and admins.

    `state` is `draining` for a healthy engine that is being drained. `available`: it gets new work now.
    `failures`: failed requests in a row; `probe_failures`: failed probes in a row.
    """

    name: str
    url: str
    model: str
    state: State
    draining: bool
    available: bool
    in_flight: int
    uncached_tokens: int
    prefill_tokens_per_second: float
    kv_usage: float
    epoch: int
    failures: int
    probe_failures: int


class Engine:
    """Load, cache pressure and health of one engine. Only the fleet and its leases change it."""

    __slots__ = ("_view", "draining", "health", "in_flight", "kv_usage", "settings", "uncached_tokens")

    def __init__(self, settings: EngineSettings, limits: Limits) -> None:
        self.settings = settings
        self.health = Liveness(limits)
        self.draining = False
        self.in_flight = 0
        self.uncached_tokens = 0
        self.kv_usage = 0.0
        self._view: EngineView | None = None

    def take(self, uncached_tokens: int) -> None:
        """One more request is there, with so many tokens to compute before its first byte."""
        self.in_flight += 1
        self.uncached_tokens += uncached_tokens
        self._view = None

    def prefilled(self, uncached_tokens: int) -> None:
        """So many tokens need no computing any more."""
        self.uncached_tokens -= uncached_tokens
        self._view = None

    def give_back(self) -> None:
        """One request less is there."""
        self.in_flight -= 1
        self._view = None

    def saw(self, kv_usage: float | None) -> None:
        """How full its KV cache is, if the prober could read it; nonsense is not taken over."""
        if kv_usage is not None and math.isfinite(kv_usage):
            self.kv_usage = min(max(kv_usage, 0.0), 1.0)

    def drain(self, *, draining: bool) -> None:
        """Whether an operator wants it empty."""
        self.draining = draining
        self._view = None

    def configure(self, settings: EngineSettings, limits: Limits) -> None:
        """The same engine under new settings."""
        self.settings = settings
        self.health.limits = limits
        self._view = None

    def tick(self, now: float) -> None:
        """Time passed."""
        self.health.tick(now)
        self._view = None

    def changed(self) -> None:
        """Its health may be another than the last view shows."""
        self._view = None

    def view(self) -> EngineView:
        """What a decision needs to know; built again only after a change."""
        if self._view is None:
            self._view = EngineView(
                self.settings.name,
                self.uncached_tokens,
                self.in_flight,
                self.settings.prefill_tokens_per_second,
                self.kv_usage,
                self.health.usable,
                self.draining,
                self.health.epoch,
            )
        return self._view

    def probed(self, probe: Probe, now: float, *, may_eject: bool) -> None:
        """The prober looked."""
        self.saw(probe.kv_usage)
        self.health.probed(probe, now, may_eject=may_eject)
        self._view = None

    @property
    def state(self) -> State:
        """Its health, or `draining` for one that would be ready."""
        return State.DRAINING if self.draining and self.health.state is State.READY else self.health.state

    def snapshot(self) -> EngineSnapshot:
        """A frozen picture."""
        return EngineSnapshot(
            name=self.settings.name,
            url=self.settings.url,
            model=self.settings.model,
            state=self.state,
            draining=self.draining,
            available=self.health.usable and not self.draining,
            in_flight=self.in_flight,
            uncached_tokens=self.uncached_tokens,
            prefill_tokens_per_second=self.settings.prefill_tokens_per_second,
            kv_usage=self.kv_usage,
            epoch=self.health.epoch,
            failures=self.health.failures,
            probe_failures=self.health.probe_failures,
        )
