"""What engines say of their caches, wired together; made only where that is wanted."""

from collections.abc import Callable, Iterable

from prometheus_client.registry import Collector

from router.config_sections import Settings
from router.fleet import EngineSnapshot
from router.kv_events import Feed, KvEvents, KvMetrics
from router.kv_index import KvIndex
from router.kv_learn import Learner, LearnMetrics


class Caches:
    """The index of caches, who fills it from engines, and who learns prompts for it."""

    def __init__(self, engines: Callable[[], Iterable[EngineSnapshot]], clock: Callable[[], float]) -> None:
        self._urls: dict[str, str] = {}
        self.index = KvIndex()
        self.events = KvEvents(self.index, (), engines, clock)
        self.learner = Learner(self.index, lambda engine: self._urls.get(engine, ""))

    def configure(self, settings: Settings, engine_key: str) -> None:
        """Take over which engines publish where, and whose prompts are salted."""
        told = [(engine, engine.kv_events) for engine in settings.engines if engine.kv_events]
        self._urls = {engine.name: engine.url for engine, _ in told}
        self.events.configure([Feed(engine.name, engine.model, feed.endpoint, feed.replay) for engine, feed in told])
        self.learner.salted = frozenset(tenant.name for tenant in settings.tenants if tenant.salted)
        self.learner.engine_key = engine_key

    def collectors(self) -> tuple[Collector, ...]:
        """Return what shows in the metrics."""
        return KvMetrics(self.events, self.index), LearnMetrics(self.learner)
