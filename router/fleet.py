"""The fleet's truth: engines, leases and bindings, owned here and changed nowhere else.

Rules:
1. One owner, one thread. Every method takes `now` (monotonic seconds) and returns at once; no I/O.
2. Ask → Choice → Lease → Outcome. `decide` takes a lease, `begun` gives back its prefill load, `finished` the rest.
   Both events may come late, twice, in any order or never: a lease is released exactly once, and one that
   nobody releases expires. When idle, every engine's load is 0.
3. Only transport errors and 5xx answers count against an engine; 4xx and 429 never do.
4. The last usable engine of a model is never ejected.
5. Every map has a capacity and a time to live.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from router.parse import Ask
from router.pick import Choice, Rule


class State(StrEnum):
    """`starting → ready → (draining | suspect → ejected → probing)`."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    SUSPECT = "suspect"
    EJECTED = "ejected"
    PROBING = "probing"


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """One configured engine; `prefill_tokens_per_second` is its calibrated prefill rate."""

    name: str
    url: str
    model: str
    prefill_tokens_per_second: float = 8000.0


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
    retry_after_seconds: int = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one request ended, from the edge's access line.

    `server`: who served it, empty or unknown when nobody did. `chosen`: who was to. `status`: what the
    client got. `termination`: HAProxy's two letters (`--` is a clean end). `retries`: tries after the first.
    """

    id: str
    server: str
    status: int
    termination: str = "--"
    retries: int = 0
    chosen: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """One look at an engine.

    `kv_usage`: 0…1, None when it was not read. `epoch_hint`: something that stays the same for one life of
    the engine's process (its start time), None when unknown.
    """

    ok: bool
    kv_usage: float | None = None
    epoch_hint: float | None = None


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """One engine, for metrics and admins. `state` is `draining` for a healthy engine that is being drained."""

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


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """The whole fleet at one moment. `counts` only ever grow; its keys are fixed."""

    engines: tuple[EngineSnapshot, ...]
    leases: int
    bindings: int
    counts: Mapping[str, int]


class Fleet:
    """Owner of all routing state. See the module's rules."""

    def __init__(self, settings: FleetSettings, now: float) -> None:
        self._settings = settings
        self._now = now

    def decide(self, ask: Ask, now: float) -> Choice:
        """Choose an engine and take a lease there. Raises Refused: NoEngine (503)."""
        raise NotImplementedError

    def begun(self, request_id: str, server: str, now: float, status: int = 200) -> None:
        """The first byte of the answer came from `server`: its prefill is done."""
        raise NotImplementedError

    def finished(self, outcome: Outcome, now: float) -> None:
        """The request is over: give back what its lease still holds, and learn from how it went."""
        raise NotImplementedError

    def probe(self, engine: str, probe: Probe, now: float) -> None:
        """The prober's latest look at `engine`. Raises UnknownEngine."""
        raise NotImplementedError

    def drain(self, name: str) -> None:
        """Give `name` no new work. Raises UnknownEngine."""
        raise NotImplementedError

    def undrain(self, name: str) -> None:
        """Give `name` work again. Raises UnknownEngine."""
        raise NotImplementedError

    def expire(self, now: float) -> None:
        """Once a second: end what is overdue (leases, bindings) and let ejected engines be tried again."""
        raise NotImplementedError

    def snapshot(self, now: float) -> FleetSnapshot:
        """A frozen picture of everything."""
        raise NotImplementedError
