"""What the fleet is told, and what it shows: frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from router.liveness import Limits, State
from router.pick import Rule


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """One configured engine.

    `prefill_tokens_per_second`: its prefill rate until it was measured. `max_requests`: its own cap, 0 for the fleet's.
    """

    name: str
    url: str
    model: str
    prefill_tokens_per_second: float = 8000.0
    max_requests: int = 0


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """Everything the fleet needs to know, all durations in seconds.

    `max_wait_seconds`: an engine with more prefill work than that is full; `max_requests`: and one with so many
    requests; 0 is no cap. `stall_seconds`: work and no sign of progress for so long eject an engine, 0 is never.
    `slow_start_seconds`: how long an engine that came back takes to its full share, 0 is at once. `index_enabled`:
    believe that an engine holds what other sessions' prompts began with. `characters_per_token`: until it is learnt.
    """

    engines: tuple[EngineSettings, ...]
    rule: Rule = field(default_factory=Rule)
    bindings_capacity: int = 170_000  # a few more, and the table under it takes twice the memory
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
    max_wait_seconds: float = 0.0
    max_requests: int = 0
    stall_seconds: float = 4.0
    slow_start_seconds: float = 30.0
    index_enabled: bool = True
    characters_per_token: float = 4.0

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
class EngineSnapshot:
    """One engine, for metrics and admins.

    `state` is `draining` for a healthy engine that is being drained. `available`: it gets new work now; `full`: not
    now, because it has enough. `in_flight` and `uncached_tokens` are this decider's own, the `foreign` ones what other
    deciders put there. `prefill_tokens_per_second`: its own rate, which prices level with those that are about the
    same; `calibrated` the measured one it is tracked from. `slow_start_share`: below 1 while it warms up. `failures`:
    failed requests in a row; `probe_failures`: failed probes in a row. `stalled`: it has work and does not advance.
    `ejections`: how often it was ejected, `eject_reason`: why the last time, `eject_counts`: how often for which
    reason. `cache_tokens`: what its KV cache holds, `index_tokens`: what it is believed to hold of other sessions'
    prompts. `drain_reason`: `operator` or `gpu` while it is drained. `asleep`: somebody put it to sleep, it gets
    nothing until it is awake.
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
    full: bool = False
    foreign_in_flight: int = 0
    foreign_uncached_tokens: int = 0
    calibrated_tokens_per_second: float = 0.0
    slow_start_share: float = 1.0
    stalled: bool = False
    ejections: int = 0
    eject_reason: str = ""
    eject_counts: Mapping[str, int] = field(default_factory=dict)
    cache_tokens: int = 0
    index_tokens: int = 0
    drain_reason: str = ""
    asleep: bool = False


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """The whole fleet at one moment. `counts` only ever grow; its keys are fixed."""

    engines: tuple[EngineSnapshot, ...]
    leases: int
    bindings: int
    counts: Mapping[str, int]
    uptime_seconds: float = 0.0
    index_entries: int = 0
