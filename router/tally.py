"""What the router counts: plain numbers, nothing else. The request path only adds to them.

Every label value comes from the configuration or from a fixed set, so nothing a client sends makes a series; what has
left the configuration is forgotten with the next `configure`.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from itertools import accumulate
from logging import Logger
from typing import Any, Final, TypeVar

from router.inert import Inert
from router.pick import Why

DECISION_BUCKETS: Final = (5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 5e-2)  # seconds
WAIT_BUCKETS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
FIRST_BUCKETS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 60.0)
DURATION_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
STATUS_CLASSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx", "none")
REASONS: Final = frozenset(
    {
        "missing_model",
        "model_not_found",
        "model_not_seen",
        "model_not_allowed",
        "unknown_path",
        "method_not_allowed",
        "no_engine",
        "saturated",
        "queue_full",
        "queue_timeout",
        "tokens_per_minute",
    }
)
NO_ENGINE: Final = "none"
NO_TENANT: Final = "-"
OTHER: Final = "other"
_WHYS: Final = frozenset(Why)
_Key = TypeVar("_Key")


class Histogram:
    """How often a value fell into which bucket; a bound belongs to the bucket below it."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Return the cumulative counts by upper bound, as Prometheus wants them."""
        names = [*(str(bound) for bound in self.bounds), "+Inf"]
        return list(zip(names, accumulate(self.counts), strict=True))


# What can become of a request that the router itself carries to an engine; `retried` is a try, not an end.
CARRIED: Final = ("answered", "refused", "retried", "left")


class Tally:
    """Everything that is counted outside the fleet. The arguments are the label values there may be."""

    def __init__(
        self,
        engines: Iterable[str],
        sources: Iterable[str],
        models: Iterable[str] = (),
        tenants: Iterable[str] = (),
        classes: Iterable[str] = (),
    ) -> None:
        # Of every request, so no Counters: setting an item of one goes through Python.
        self.decisions: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.key_sources: defaultdict[str, int] = defaultdict(int)
        self.outcomes: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.tenant_outcomes: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.tokens: defaultdict[tuple[str, str, str], int] = defaultdict(int)  # by tenant, model and kind
        self.refusals: Counter[int] = Counter()
        self.rejections: Counter[str] = Counter()
        self.model_refusals: Counter[tuple[str, int]] = Counter()
        self.truncated: Counter[str] = Counter()
        self.aborted: Counter[str] = Counter()
        self.probes: Counter[tuple[str, bool]] = Counter()
        self.prober_restarts: Counter[str] = Counter()
        self.spop_ends: Counter[int] = Counter()
        self.prompt_tokens = self.uncached_tokens = 0
        self.retries = self.events = self.garbage = self.log_dropped = self.internal_errors = 0
        self.spop_connections = self.proxied = self.fallbacks = 0
        self.carried = Counter(dict.fromkeys(CARRIED, 0))
        self.seconds = Histogram(DECISION_BUCKETS)
        self.first_bytes: dict[tuple[str, str], Histogram] = {}
        self.durations: dict[str, Histogram] = {}
        self.waits: dict[str, Histogram] = {}
        self.inert = Inert()
        self.configure(engines, sources, models, tenants, classes)

    def configure(
        self,
        engines: Iterable[str],
        sources: Iterable[str],
        models: Iterable[str] = (),
        tenants: Iterable[str] = (),
        classes: Iterable[str] = (),
    ) -> None:
        """Take over other label values; what was counted under those that are gone is forgotten."""
        self._engines, self._sources = frozenset(engines), frozenset(sources)
        self._models, self._tenants, self._classes = frozenset(models), frozenset(tenants), frozenset(classes)
        served, known = self._engines | {NO_ENGINE}, self._models | {OTHER}
        _keep(self.decisions, lambda key: key[0] in served)
        _keep(self.outcomes, lambda key: key[0] in served)
        _keep(self.probes, lambda key: key[0] in served)
        for by_engine in (self.prober_restarts, self.truncated, self.aborted):
            _keep(by_engine, served.__contains__)
        _keep(self.tokens, lambda key: key[0] in self._tenants | {OTHER} and key[1] in known)
        _keep(self.tenant_outcomes, lambda key: key[0] in self._tenants | {OTHER, NO_TENANT})
        _keep(self.model_refusals, lambda key: key[0] in self._models | {""})
        _keep(self.first_bytes, lambda key: key[0] in known)
        _keep(self.durations, known.__contains__)
        _keep(self.waits, self._classes.__contains__)

    def decided(self, engine: str, why: str, source: str, prompt_tokens: int, uncached_tokens: int) -> None:
        """Count one decision."""
        self.decisions[engine, why] += 1
        self.key_sources[source if source in self._sources else OTHER] += 1
        self.prompt_tokens += prompt_tokens
        self.uncached_tokens += uncached_tokens
        self.inert.decided(source, returning=why != "new")

    def took(self, seconds: float) -> None:
        """Count how long one answer to the edge took, decision or refusal."""
        self.seconds.add(seconds)

    def refused(self, status: int, code: str | None, model: str = "") -> None:
        """Count one request that was turned away, and why; `model`: which one it was for, where that is known."""
        self.refusals[status] += 1
        self.model_refusals[model if model in self._models else "", status] += 1
        self.rejections[code if code in REASONS else "invalid"] += 1

    def waited(self, priority_class: str, seconds: float) -> None:
        """Count how long one request waited before an engine had room."""
        name = priority_class if priority_class in self._classes else OTHER
        self.waits.setdefault(name, Histogram(WAIT_BUCKETS)).add(seconds)

    def ended(self, server: str, status: int, retries: int, state: str = "--") -> None:
        """Count one completed request; `state`: HAProxy's termination state."""
        engine = server if server in self._engines else NO_ENGINE
        self.outcomes[engine, _class_of(status)] += 1
        self.retries += retries
        if state[:1] in {"C", "c"}:
            self.aborted[engine] += 1
        elif state[:1] in {"S", "s"} and state[1:2] == "D":
            self.truncated[engine] += 1

    def told(self, tenant: str, status: int, why: str) -> None:
        """Count one access line: whose request it was, how it ended, and whether the edge decided by itself."""
        whose = tenant if tenant in self._tenants or tenant == NO_TENANT else OTHER
        self.tenant_outcomes[whose, _class_of(status)] += 1
        self.fallbacks += why == Why.FALLBACK

    def timed(self, model: str, why: str, first_seconds: float, total_seconds: float) -> None:
        """Count when a served request's answer began, and when it was over, in seconds since it came."""
        known = model if model in self._models else OTHER
        key = (known, why if why in _WHYS else OTHER)
        if key not in self.first_bytes:
            self.first_bytes[key] = Histogram(FIRST_BUCKETS)
            self.durations.setdefault(known, Histogram(DURATION_BUCKETS))
        self.first_bytes[key].add(first_seconds)
        self.durations[known].add(total_seconds)

    def used(self, tenant: str, model: str, prompt: int, completion: int) -> None:
        """Count the tokens of one request."""
        whose = tenant if tenant in self._tenants else OTHER
        known = model if model in self._models else OTHER
        self.tokens[whose, known, "prompt"] += prompt
        self.tokens[whose, known, "completion"] += completion

    def fault(self, log: Logger, what: str) -> None:
        """Count a fault of ours; tell of the 1st, 2nd, 4th, 8th …, or a fault in all requests would log for each."""
        self.internal_errors += 1
        if self.internal_errors & (self.internal_errors - 1) == 0:
            log.exception("%s (fault %d)", what, self.internal_errors)


def _class_of(status: int) -> str:
    return STATUS_CLASSES[status // 100 - 1] if 100 <= status < 600 else STATUS_CLASSES[-1]


def _keep(counts: dict[_Key, Any], wanted: Callable[[_Key], bool]) -> None:
    for key in [key for key in counts if not wanted(key)]:
        del counts[key]
