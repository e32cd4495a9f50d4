"""vLLM's metric names, labels and buckets, as its `/metrics` shows them."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from tests.engines.config import EngineConfig
from tests.engines.scheduler import Sequence

_LABELS = ("model_name", "engine")
_FIRST_TOKEN = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
    20.0,
    40.0,
    80.0,
)
_LATENCY = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0)
_BETWEEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000)


class Metrics:
    """One engine's registry. Counters are fed by the engine, gauges read it when scraped."""

    def __init__(self, config: EngineConfig) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._labels = (config.model, "0")
        self.prompt = self._counter("prompt_tokens", "Number of prefill tokens processed.")
        self.generation = self._counter("generation_tokens", "Number of generation tokens processed.")
        self.queries = self._counter(
            "prefix_cache_queries", "Prefix cache queries, in terms of number of queried tokens."
        )
        self.hits = self._counter("prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.")
        self._counter("num_preemptions", "Cumulative number of preemption from the engine.")
        self.first_token = self._histogram(
            "time_to_first_token_seconds", "Time to first token in seconds.", _FIRST_TOKEN
        )
        self.queue = self._histogram("request_queue_time_seconds", "Time spent in WAITING phase.", _LATENCY)
        self.prefill = self._histogram("request_prefill_time_seconds", "Time spent in PREFILL phase.", _LATENCY)
        self.decode = self._histogram("request_decode_time_seconds", "Time spent in DECODE phase.", _LATENCY)
        self.between = self._histogram("inter_token_latency_seconds", "Inter-token latency in seconds.", _BETWEEN)
        self.answer_size = self._histogram("request_generation_tokens", "Number of generation tokens.", _TOKENS)
        self.latency = self._histogram(
            "e2e_request_latency_seconds", "End to end request latency in seconds.", _LATENCY
        )
        self.prompt_size = self._histogram("request_prompt_tokens", "Number of prefill tokens processed.", _TOKENS)
        self._ended = Counter(
            "vllm:request_success",
            "Count of successfully processed requests.",
            (*_LABELS, "finished_reason"),
            registry=self.registry,
        )
        self._sleep_state = Gauge(
            "vllm:engine_sleep_state", "Engine sleep state.", (*_LABELS, "sleep_state"), registry=self.registry
        )
        self.sleeps(asleep=False)
        self._cache_info(config)

    def sleeps(self, *, asleep: bool) -> None:
        """Where its weights are: on the GPU, or in the host's memory."""
        for state, holds in (("awake", not asleep), ("weights_offloaded", asleep), ("discard_all", False)):
            self._sleep_state.labels(*self._labels, state).set(holds)

    def gauges(self, running: Callable[[], float], waiting: Callable[[], float], usage: Callable[[], float]) -> None:
        """Name the functions that gauges read."""
        self._gauge("num_requests_running", "Number of requests in model execution batches.", running)
        self._gauge("num_requests_waiting", "Number of requests waiting to be processed.", waiting)
        self._gauge("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", usage)

    def began(self, sequence: Sequence) -> None:
        """A sequence has its first token, or has been prefilled when it wants none."""
        self.prompt.inc(sequence.prompt_tokens)
        self.queries.inc(sequence.prompt_tokens)
        self.hits.inc(sequence.cached)
        self.prompt_size.observe(sequence.prompt_tokens)
        self.queue.observe(sequence.admitted - sequence.arrived)
        self.first_token.observe(sequence.first_token - sequence.arrived)

    def ended(self, sequence: Sequence, reason: str, now: float) -> None:
        """A sequence has ended: `stop`, `length` or `abort`."""
        self._ended.labels(*self._labels, reason).inc()
        self.latency.observe(now - sequence.arrived)
        if sequence.first_token:
            self.prefill.observe(sequence.first_token - sequence.admitted)
            self.decode.observe(now - sequence.first_token)
            self.answer_size.observe(sequence.emitted)
        if sequence.emitted > 1:
            # Once for each answer, its mean: vLLM counts every token, which would be most of what this engine does.
            self.between.observe((now - sequence.first_token) / (sequence.emitted - 1))

    def text(self) -> bytes:
        """The scrape."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"vllm:{name}", text, _LABELS, registry=self.registry).labels(*self._labels)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"vllm:{name}", text, _LABELS, registry=self.registry, buckets=buckets).labels(*self._labels)

    def _gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        Gauge(f"vllm:{name}", text, _LABELS, registry=self.registry).labels(*self._labels).set_function(read)

    def _cache_info(self, config: EngineConfig) -> None:
        info = {
            "block_size": str(config.block_tokens),
            "cache_dtype": "auto",
            "enable_prefix_caching": "True",
            "engine": "0",
            "kv_cache_size_tokens": str(config.cache_tokens),
            "num_gpu_blocks": str(config.cache_tokens // config.block_tokens),
        }
        gauge = Gauge(
            "vllm:cache_config_info", "Information of the LLMEngine CacheConfig", tuple(info), registry=self.registry
        )
        gauge.labels(**info).set(1)
