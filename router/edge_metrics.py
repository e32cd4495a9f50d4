"""What the router did at the edge's runtime socket, as Prometheus families."""

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.edge import EdgeTally
from router.metrics import PREFIX

_GAUGES = {
    "edge_socket_up": "1 when the edge's runtime socket answered last time.",
    "edge_can_sever": "0 when requests that wait at an engine that hangs cannot be taken from it.",
}
_COUNTERS = {
    "edge_severed": "Requests taken from an engine that was out before their first byte, for another to serve.",
    "edge_drains_pushed": "Drains and ends of drains told to the edge.",
    "edge_drains_adopted": "Drains and ends of drains learnt from the edge.",
}


class EdgeMetrics(Collector):
    """The keeper's tally; no labels."""

    def __init__(self, tally: EdgeTally) -> None:
        self._tally = tally

    def describe(self) -> Iterable[Metric]:
        """Return nothing: names are known without a scrape."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Build every family."""
        tally = self._tally
        gauges = dict(zip(_GAUGES, (tally.up, tally.can_sever), strict=True))
        counts = dict(zip(_COUNTERS, (tally.severed, tally.drains_pushed, tally.drains_adopted), strict=True))
        for name, text in _GAUGES.items():
            yield GaugeMetricFamily(f"{PREFIX}_{name}", text, value=gauges[name])
        for name, text in _COUNTERS.items():
            yield CounterMetricFamily(f"{PREFIX}_{name}", text, value=counts[name])
