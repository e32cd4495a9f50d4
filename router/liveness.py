"""Is an engine alive? One state machine per engine, fed by probes, by requests and by time.

Three separate witnesses, because each is blind somewhere: a frozen engine may still answer its health check, an idle
engine has no requests, and tokens only advance where there is work. So requests that failed are only forgiven by a
request that worked, failed probes only by a probe that worked, and an engine that stood still only by progress.
A probe that timed out while something came from the engine tells of a busy engine, not of a dead one: it counts for
nothing.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_MAX_DOUBLINGS: Final = 16


class State(StrEnum):
    """`starting → ready → (draining | suspect → ejected → probing)`."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    SUSPECT = "suspect"
    EJECTED = "ejected"
    PROBING = "probing"


class EjectReason(StrEnum):
    """Why an engine was given up."""

    STALLED = "stalled"
    PROBES = "probes failed"
    REQUESTS = "requests failed"
    TRIAL = "trial failed"


# Looking a member up in its class costs more than the rest of a view; these are read at every decision.
_READY: Final = State.READY
_SUSPECT: Final = State.SUSPECT
_PROBING: Final = State.PROBING


@dataclass(frozen=True, slots=True)
class Limits:
    """When an engine is given up and tried again; durations in seconds."""

    probe_fail_after: int = 3
    probe_rise_after: int = 1
    eject_after: int = 3
    eject_seconds: float = 5.0
    eject_max_seconds: float = 60.0
    trial_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Probe:
    """One look at an engine; everything but `ok` is None when it was not read.

    `kv_usage`: 0…1. `epoch_hint`: something that stays the same for one life of the engine's process (its start
    time). `progress`: numbers of which some change while the engine computes. `prompt_tokens` and `first_tokens`: of
    all requests so far. `busy`: requests that it runs or that wait in it. `cache_tokens`: the size of its KV cache.
    `waited_seconds`: how long a look took that ended in nothing but a time-out. `asleep`: it was put to sleep.
    """

    ok: bool
    kv_usage: float | None = None
    epoch_hint: float | None = None
    progress: tuple[float, ...] | None = None
    prompt_tokens: float | None = None
    first_tokens: float | None = None
    busy: float | None = None
    cache_tokens: int | None = None
    waited_seconds: float | None = None
    asleep: bool | None = None


class Liveness:
    """State of one engine. `epoch` counts the lives of its cache: it grows when the process is known to be another."""

    __slots__ = (
        "_cache_lost",
        "_ejections",
        "_hint",
        "_probe_failed",
        "_probe_successes",
        "_since",
        "_until",
        "advanced_at",
        "eject_counts",
        "eject_reason",
        "ejections",
        "epoch",
        "failures",
        "limits",
        "probe_failures",
        "returned_at",
        "stalled",
        "state",
        "trial",
    )

    def __init__(self, limits: Limits, epoch: int = 0) -> None:
        self.state = State.STARTING
        self.epoch = epoch
        self.failures = 0
        self.probe_failures = 0
        self.trial: str | None = None
        self.limits = limits
        self.advanced_at = 0.0
        self.stalled = False
        self.ejections = 0
        self.eject_counts: dict[str, int] = dict.fromkeys(map(str, EjectReason), 0)
        self.eject_reason = ""
        self.returned_at: float | None = None
        self._probe_successes = 0
        self._probe_failed = False
        self._ejections = 0
        self._cache_lost = False
        self._hint: float | None = None
        self._since = 0.0
        self._until = 0.0

    @property
    def steady(self) -> bool:
        """It serves without reserve: ready, or suspect and not given up."""
        return self.state is State.READY or self.state is State.SUSPECT

    @property
    def usable(self) -> bool:
        """It may be given the next request."""
        state = self.state
        return state is _READY or state is _SUSPECT or (state is _PROBING and self.trial is None)

    def chosen(self, request_id: str, now: float) -> None:
        """A request is on its way there; while probing, it is the trial."""
        if self.state is _PROBING:
            self.trial = request_id
            self._until = now + self.limits.trial_seconds
            self.advanced(now)  # it is judged by this request, not by what hung there before

    def ended(self, request_id: str) -> None:
        """The request is over; if it was the trial and settled nothing, another may be."""
        if self.trial == request_id:
            self.trial = None

    def advanced(self, now: float) -> None:
        """Something came from the engine, or its counters moved."""
        self.advanced_at = now
        self.stalled = False

    def stands_still(self, now: float, *, may_eject: bool) -> None:
        """It has had work and has not advanced for too long."""
        self.stalled = True
        if self.state is State.PROBING or (self.steady and may_eject):
            self._eject(now, EjectReason.STALLED)
        elif self.state is State.READY:
            self.state = State.SUSPECT

    def reprieve(self) -> None:
        """There is no other engine any more: ejected or not, it is what there is."""
        if self.state is State.EJECTED or self.state is State.PROBING:
            self.state = State.SUSPECT
            self.trial = None

    def request_worked(self, now: float) -> None:
        """An answer came."""
        if self.state is State.EJECTED:
            return  # begun before the ejection: says nothing about now
        self.failures = 0
        if self.state is not State.SUSPECT or self.probe_failures == 0:
            self._ready(now)

    def request_failed(self, now: float, *, refused: bool, may_eject: bool) -> None:
        """A transport error or a 5xx answer; `refused`: nobody listened."""
        self._cache_lost = self._cache_lost or refused
        if self.state is State.PROBING:
            self._eject(now, EjectReason.TRIAL)
        elif self.steady:
            self.failures += 1
            self.state = State.SUSPECT
            if may_eject and self.failures >= self.limits.eject_after:
                self._eject(now, EjectReason.REQUESTS)

    def probed(self, probe: Probe, now: float, *, may_eject: bool) -> None:
        """The prober looked."""
        if not probe.ok:
            self._probe_failure(now, may_eject=may_eject)
            return
        self.probe_failures = 0
        self._probe_successes += 1
        self._compare(probe.epoch_hint, now)
        if self._risen():
            self._ready(now)

    def tick(self, now: float) -> None:
        """Time passed: an ejection or a trial may be over, an old one forgotten."""
        if self.state is State.EJECTED and now >= self._until and self.probe_failures == 0 and not self._probe_failed:
            self.state = State.PROBING
            self.trial = None
        elif self.state is State.PROBING and self.trial is not None and now >= self._until:
            self.trial = None
        elif self.state is State.READY and now - self._since >= self.limits.eject_max_seconds:
            self._ejections = 0

    def _probe_failure(self, now: float, *, may_eject: bool) -> None:
        self._probe_successes = 0
        self.probe_failures += 1
        if self.state is State.READY:
            self.state = State.SUSPECT
        if self.probe_failures < self.limits.probe_fail_after:
            return
        self._cache_lost = True
        if self.state is State.EJECTED:
            self._probe_failed = True
        elif self.state is State.PROBING or (self.state is State.SUSPECT and may_eject):
            self._eject(now, EjectReason.PROBES)
            self._probe_failed = True

    def _risen(self) -> bool:
        if self.state is State.SUSPECT:
            return self.failures == 0 and not self.stalled
        enough = self._probe_successes >= self.limits.probe_rise_after
        return enough and (self.state is State.STARTING or (self.state is State.EJECTED and self._probe_failed))

    def _ready(self, now: float) -> None:
        if self._cache_lost:
            self._new_life(now)
            self._cache_lost = False
        if self.state is not State.READY:
            self._since = now
        if self.state is State.EJECTED or self.state is State.PROBING:
            self.returned_at = now
        self.state = State.READY
        self.failures = 0
        self.trial = None
        self.stalled = False
        self._probe_failed = False

    def _new_life(self, now: float) -> None:
        self.epoch += 1
        if self.state is not State.STARTING:
            self.returned_at = now

    def _eject(self, now: float, reason: EjectReason) -> None:
        doublings = min(self._ejections, _MAX_DOUBLINGS)
        self._until = now + min(self.limits.eject_seconds * 2**doublings, self.limits.eject_max_seconds)
        self._ejections += 1
        self.ejections += 1
        self.eject_counts[reason] += 1
        self.eject_reason = reason.value
        self.state = State.EJECTED
        self.failures = 0
        self.trial = None

    def _compare(self, hint: float | None, now: float) -> None:
        if hint is None:
            return
        if self._hint is not None and self._hint != hint:
            self._new_life(now)
        if self._hint is not None:
            self._cache_lost = False
        self._hint = hint
