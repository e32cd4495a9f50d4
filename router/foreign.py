"""What other routers have sent to the engines, told to the fleet: those of this host, and those of others."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.fleet import Fleet
from router.gossip import Gossip
from router.metrics import PREFIX
from router.shared import Load, Shared

_NONE: Load = (0, 0)
_NOBODY: Mapping[str, Load] = {}


class Foreign:
    """Gathers the load of others, from either source or both, and hands it on where it changed."""

    def __init__(self, fleet: Fleet, shared: Shared | None, gossip: Gossip | None, clock: Callable[[], float]) -> None:
        self._fleet = fleet
        self._shared = shared
        self._gossip = gossip
        self._clock = clock
        self._told: dict[str, Load] = {}
        self._seen: Mapping[str, Load] | None = None

    def configure(self, engines: Sequence[str], peers: Sequence[str]) -> None:
        """Gather for these engines, from these peers, from now on."""
        self._told.clear()
        self._seen = None
        if self._shared is not None:
            self._shared.configure(engines, self._clock())
        if self._gossip is not None:
            self._gossip.configure(peers)

    def refresh(self) -> None:
        """Exchange once; a few microseconds while nothing changes."""
        now = self._clock()
        near = self._shared.exchange(self._fleet.loads(), now) if self._shared is not None else _NOBODY
        far = self._gossip.loads(now) if self._gossip is not None else _NOBODY
        if far or near is not self._seen:
            self._tell(_sum(near, far))
            # What is heard of other hosts fades by itself: then there is always news.
            self._seen = None if far else near

    def _tell(self, found: dict[str, Load]) -> None:
        for engine in self._told.keys() - found.keys():
            found[engine] = _NONE
        for engine, load in found.items():
            if self._told.get(engine, _NONE) != load:
                self._fleet.foreign(engine, *load)
        self._told = {engine: load for engine, load in found.items() if load != _NONE}

    @property
    def shared(self) -> bool:
        """Whether load is shared with the other routers of this host."""
        return self._shared is not None and self._shared.up

    @property
    def peers(self) -> int:
        """How many routers of other hosts were heard of lately."""
        return self._gossip.up(self._clock()) if self._gossip is not None else 0

    def close(self) -> None:
        """Let go of what is shared."""
        if self._shared is not None:
            self._shared.close()


def _sum(near: Mapping[str, Load], far: Mapping[str, Load]) -> dict[str, Load]:
    found = dict(near)
    for engine, (tokens, requests) in far.items():
        here = found.get(engine, _NONE)
        found[engine] = (here[0] + tokens, here[1] + requests)
    return found


class ForeignMetrics(Collector):
    """Whether others are heard, as Prometheus families."""

    def __init__(self, foreign: Foreign) -> None:
        self._foreign = foreign

    def describe(self) -> Iterable[Metric]:
        """Return nothing: names are known without a scrape."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Build the families."""
        shared, peers = self._foreign.shared, self._foreign.peers
        yield GaugeMetricFamily(f"{PREFIX}_load_shared", "1 when load is shared with this host's routers.", shared)
        yield GaugeMetricFamily(f"{PREFIX}_peers_heard", "Routers of other hosts whose load is known.", peers)
