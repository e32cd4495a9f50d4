"""The router's numbers, as a scrape sees them.

The request path only adds to plain numbers: no lock, no lookup of a label set. They become text when somebody scrapes.
An engine that is gone from the fleet is gone from the next scrape.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest

from router import families
from router.door import Door
from router.exposition import PREFIX, Family, written
from router.fleet import FleetSnapshot
from router.tally import DECISION_BUCKETS, Tally

__all__ = ["DECISION_BUCKETS", "PREFIX", "Exporter", "Registry", "Tally", "registry", "scrape"]


class Exporter:
    """Tally, fleet and door as families. `ages`: seconds since each engine's last probe."""

    def __init__(
        self,
        tally: Tally,
        fleet: Callable[[], FleetSnapshot],
        ages: Callable[[], Mapping[str, float]],
        door: Door | None = None,
    ) -> None:
        self._tally = tally
        self._fleet = fleet
        self._ages = ages
        self._door = door

    def families(self) -> Iterator[Family]:
        """Build every family from one picture of the fleet."""
        fleet = self._fleet()
        names = frozenset(engine.name for engine in fleet.engines)
        yield from families.decisions(self._tally, names)
        yield from families.affinity(self._tally)
        yield from families.outcomes(self._tally, names)
        if self._door is not None:
            yield from families.waiting(self._tally, self._door)
        yield from families.engines(fleet.engines)
        yield from families.probes(self._tally, self._ages(), names)
        yield from families.inside(self._tally, fleet)


class Registry(CollectorRegistry):
    """What has few series (the process, the runtime, what else registers), beside the exporter that has many."""

    def __init__(self, exporter: Exporter) -> None:
        super().__init__(auto_describe=False)
        self.exporter = exporter


def registry(exporter: Exporter) -> Registry:
    """Return a registry with the router's families and the process's own."""
    collectors = Registry(exporter)
    ProcessCollector(registry=collectors)
    PlatformCollector(registry=collectors)
    GCCollector(registry=collectors)
    return collectors


async def scrape(metrics: Registry) -> bytes:
    """Return everything in Prometheus' text format. Between two families others have their turn."""
    parts: list[bytes] = []
    for family in metrics.exporter.families():
        parts.append(written(family))
        await asyncio.sleep(0)
    parts.append(await asyncio.to_thread(generate_latest, metrics))
    return b"".join(parts)
