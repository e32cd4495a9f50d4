"""What the router counts, and its names: once, here.

The request path only adds to plain numbers: no lock, no lookup of a label set. They become Prometheus families when
somebody scrapes. Every label value comes from the configuration or from a fixed set, so nothing a client sends makes a
series; an engine that is gone from the fleet is gone from the next scrape.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.door import Door
from router.fleet import EngineSnapshot, FleetSnapshot, State
from router.pick import Why
from router.tally import DECISION_BUCKETS, NO_ENGINE, Tally

__all__ = ["DECISION_BUCKETS", "Exporter", "Tally", "registry"]

PREFIX = "ironrack_router"
_RETURNING = (Why.HOME, Why.SPILL, Why.DRAIN, Why.EJECT)
_DECIDED = (*_RETURNING, Why.NEW)


class Exporter(Collector):
    """Tally and fleet as Prometheus families. `ages`: seconds since each engine's last probe."""

    def __init__(
        self,
        tally: Tally,
        fleet: Callable[[], FleetSnapshot],
        ages: Callable[[], Mapping[str, float]],
        door: Door | None = None,
    ) -> None:
        self._tally = tally
        self._door = door
        self._fleet = fleet
        self._ages = ages

    def describe(self) -> Iterable[Metric]:
        """Return nothing: names are known without a scrape."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Build every family from one picture of the fleet."""
        fleet = self._fleet()
        names = frozenset(engine.name for engine in fleet.engines)
        yield from _decisions(self._tally, names)
        yield from _affinity(self._tally)
        yield from _outcomes(self._tally, names)
        yield from _engines(fleet.engines)
        yield from _probes(self._tally, self._ages(), names)
        yield from _inside(self._tally, fleet)


def registry(exporter: Exporter) -> CollectorRegistry:
    """Return a registry with the router's families and the process's own."""
    collectors = CollectorRegistry(auto_describe=False)
    collectors.register(exporter)
    ProcessCollector(registry=collectors)
    PlatformCollector(registry=collectors)
    GCCollector(registry=collectors)
    return collectors


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"{PREFIX}_{name}", text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}_{name}", text, value=value)


def _labelled(name: str, text: str, labels: tuple[str, ...], rows: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = CounterMetricFamily(f"{PREFIX}_{name}", text, labels=labels)
    for values, value in sorted(rows):
        family.add_metric(values, value)
    return family


def _decisions(tally: Tally, names: frozenset[str]) -> Iterator[Metric]:
    rows = {(engine, str(why)): tally.decisions[engine, why] for engine in names for why in _DECIDED}
    yield _labelled("decisions", "Requests given to an engine, by engine and reason.", ("engine", "why"), rows.items())
    refused = {(str(status),): count for status, count in tally.refusals.items()}
    yield _labelled("refusals", "Requests refused, by HTTP status.", ("status",), refused.items())
    sources = {(source,): count for source, count in tally.key_sources.items()}
    yield _labelled("key_sources", "Decisions, by what the session key was taken from.", ("source",), sources.items())
    family = HistogramMetricFamily(f"{PREFIX}_decision_seconds", "From a question read to its answer written.")
    family.add_metric((), tally.seconds.buckets(), tally.seconds.total)
    yield family


def _affinity(tally: Tally) -> Iterator[Metric]:
    by_why: Counter[str] = Counter()
    for (_, why), count in tally.decisions.items():
        by_why[why] += count
    returning = sum(by_why[why] for why in _RETURNING)
    yield _counter("affinity_returning", "Decisions for a session that had a home.", returning)
    yield _counter("affinity_hits", "Decisions that kept a session at its home.", by_why[Why.HOME])
    yield _counter("prompt_tokens", "Prompt tokens of all decisions, estimated.", tally.prompt_tokens)
    yield _counter(
        "uncached_tokens", "Prompt tokens that the chosen engine was not believed to hold.", tally.uncached_tokens
    )


def _outcomes(tally: Tally, names: frozenset[str]) -> Iterator[Metric]:
    known = {*names, NO_ENGINE}
    rows = {key: count for key, count in tally.outcomes.items() if key[0] in known}
    yield _labelled("outcomes", "Completed requests, by engine and status class.", ("engine", "class"), rows.items())
    yield _counter("retries", "Tries after the first, as the edge counted them.", tally.retries)
    yield _counter("events", "Completion lines read.", tally.events)
    yield _counter("events_garbage", "Completion lines that could not be read.", tally.garbage)
    yield _counter("log_dropped", "Log lines given up because stdout did not take them.", tally.log_dropped)


def _engines(engines: Iterable[EngineSnapshot]) -> Iterator[Metric]:
    labels = ("engine", "model")
    in_flight = GaugeMetricFamily(f"{PREFIX}_engine_in_flight", "Requests at the engine.", labels=labels)
    uncached = GaugeMetricFamily(
        f"{PREFIX}_engine_uncached_tokens", "Prompt tokens sent there whose first byte has not come.", labels=labels
    )
    usage = GaugeMetricFamily(f"{PREFIX}_engine_kv_usage_ratio", "KV cache in use, 0 to 1.", labels=labels)
    available = GaugeMetricFamily(f"{PREFIX}_engine_available", "1 when it gets new work.", labels=labels)
    state = GaugeMetricFamily(f"{PREFIX}_engine_state", "1 for the state it is in.", labels=(*labels, "state"))
    for engine in engines:
        whose = (engine.name, engine.model)
        in_flight.add_metric(whose, engine.in_flight)
        uncached.add_metric(whose, engine.uncached_tokens)
        usage.add_metric(whose, engine.kv_usage)
        available.add_metric(whose, engine.available)
        for each in State:
            state.add_metric((*whose, each.value), engine.state is each)
    yield from (in_flight, uncached, usage, available, state)


def _probes(tally: Tally, ages: Mapping[str, float], names: frozenset[str]) -> Iterator[Metric]:
    age = GaugeMetricFamily(f"{PREFIX}_probe_age_seconds", "Since the last probe ended.", labels=("engine",))
    for engine, seconds in sorted(ages.items()):
        if engine in names:
            age.add_metric((engine,), seconds)
    yield age
    rows = {(name, "ok" if ok else "failed"): tally.probes[name, ok] for name in names for ok in (True, False)}
    yield _labelled("probes", "Probes, by engine and result.", ("engine", "result"), rows.items())
    restarts = {(name,): tally.prober_restarts[name] for name in names}
    yield _labelled("prober_restarts", "Times a probe loop died and was started again.", ("engine",), restarts.items())


def _inside(tally: Tally, fleet: FleetSnapshot) -> Iterator[Metric]:
    yield _gauge("leases", "Requests in flight that the router knows of.", fleet.leases)
    yield _gauge("bindings", "Sessions whose home is remembered.", fleet.bindings)
    for name, count in sorted(fleet.counts.items()):
        yield _counter(name, f"Fleet: {name.replace('_', ' ')}.", count)
    yield _counter("internal_errors", "Questions answered with nothing because of a fault here.", tally.internal_errors)
    yield _gauge("spop_connections", "Open connections from the edge.", tally.spop_connections)
    ends = {(str(status),): count for status, count in tally.spop_ends.items()}
    yield _labelled("spop_disconnects", "Connections ended with a DISCONNECT, by status.", ("status",), ends.items())
