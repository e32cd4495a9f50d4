"""What engines counted, read from the text of their `/metrics`."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from tests.bench.figures import ratio

QUERIES, HITS, PROMPT = "vllm:prefix_cache_queries", "vllm:prefix_cache_hits", "vllm:prompt_tokens"
_RUNNING, _WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"


@dataclass(frozen=True, slots=True)
class Counters:
    """Tokens of one engine: looked up in its cache, found there, and of all prompts."""

    queries: float
    hits: float
    prompt: float

    def since(self, before: "Counters") -> "Counters":
        """What came on top."""
        return Counters(*(now - then for now, then in zip(_values(self), _values(before), strict=True)))


def read(metrics: str) -> Counters:
    """The counters of one engine, over all its ranks. Raises KeyError with the name of one that is not there."""
    return Counters(_counted(metrics, QUERIES), _counted(metrics, HITS), _counted(metrics, PROMPT))


def idle(metrics: str) -> bool:
    """Whether the engine has nothing to do."""
    return not sum(_found(metrics, _RUNNING)) and not sum(_found(metrics, _WAITING))


def hit_ratio(engines: Sequence[Counters]) -> float:
    """The share of the prompts that lay in the caches."""
    return ratio(sum(one.hits for one in engines), sum(one.queries for one in engines))


def imbalance(engines: Sequence[Counters]) -> float:
    """The prompts of the most loaded engine ÷ those of the mean one: 1 is even."""
    loads = [one.prompt for one in engines]
    return ratio(max(loads), sum(loads) / len(loads))


def _values(counters: Counters) -> list[float]:
    return list(asdict(counters).values())


def _counted(metrics: str, name: str) -> float:
    """Older engines name a counter without its suffix."""
    found = list(_found(metrics, f"{name}_total")) or list(_found(metrics, name))
    if not found:
        raise KeyError(f"{name}_total")
    return sum(found)


def _found(metrics: str, name: str) -> Iterator[float]:
    for line in metrics.splitlines():
        if line.startswith((f"{name} ", f"{name}{{")):
            yield float(line.rpartition("}")[2].split()[0 if "}" in line else 1])
