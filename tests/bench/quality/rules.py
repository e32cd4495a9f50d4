"""Other people's rules, as they describe them, each with everything it needs to know kept exactly and for free."""

import random
from collections.abc import Callable, Mapping

import xxhash

from router.pick import rendezvous
from router.prefix import PrefixIndex
from tests.bench.quality.traffic import Traffic
from tests.bench.quality.world import Engine, Request

_BOUND = 1.25
_MATCH, _APART, _TIMES = 0.3, 64, 1.5


class Rule:
    """What all of them share: the engines, and how many requests each has."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.load: dict[str, int] = {}
        # Always the first of several would keep an idle fleet's last engines idle, and win nothing.
        self._draw = random.Random("ties")

    def choose(self, request: Request, now: float) -> str:
        """Pick, and count."""
        engine = self.pick(request)
        self.load[engine] += 1
        return engine

    def pick(self, request: Request) -> str:
        """The engine."""
        raise NotImplementedError

    def begun(self, request: Request, now: float) -> None:
        """Nothing is learnt from it."""

    def ended(self, request: Request, now: float) -> None:
        """One less."""
        if request.engine in self.load:
            self.load[request.engine] -= 1

    def tick(self, engines: dict[str, Engine], now: float) -> None:
        """Nothing is probed."""

    def resize(self, names: tuple[str, ...], now: float) -> None:
        """Other engines."""
        self.load = {name: self.load.get(name, 0) for name in names}

    def least(self) -> str:
        """The engine with the fewest requests; any of several."""
        fewest = min(self.load.values())
        return self._draw.choice([name for name, load in self.load.items() if load == fewest])


class RoundRobin(Rule):
    """One after the other."""

    _at = -1

    def pick(self, request: Request) -> str:
        """The next."""
        self._at += 1
        return list(self.load)[self._at % len(self.load)]


class LeastInFlight(Rule):
    """Where the fewest requests are."""

    def pick(self, request: Request) -> str:
        """The least loaded."""
        return self.least()


class Hash(Rule):
    """Where the session's name hashes to, whatever the load."""

    def pick(self, request: Request) -> str:
        """The first in rendezvous order."""
        return self.order(request)[0]

    def order(self, request: Request) -> list[str]:
        """Engines in the session's order."""
        return rendezvous(key_of(request), self.load)


class BoundedHash(Hash):
    """Hash, but past engines with more than 1.25 times the mean of requests."""

    def pick(self, request: Request) -> str:
        """The first in order that is under the bound."""
        bound = -(-_BOUND * (sum(self.load.values()) + 1) // len(self.load))
        return next((name for name in self.order(request) if self.load[name] + 1 <= bound), self.least())


class PrefixOnly(Rule):
    """Cache-aware as published (0.3, 64, 1.5): the longest match, least load where it is short or load is uneven.

    Its index is bounded by the engines' real caches, which is kinder than what ships.
    """

    def __init__(self, traffic: Traffic) -> None:
        super().__init__(traffic)
        self._index = PrefixIndex()

    def pick(self, request: Request) -> str:
        """Balance first, then match."""
        size = self.traffic.block_tokens
        blocks = request.blocks[: request.prompt_tokens // size]
        ends = [size * (number + 1) for number in range(len(blocks))]
        engine = self._matched(request, blocks, ends)
        self._index.insert(engine, blocks, ends)
        return engine

    def resize(self, names: tuple[str, ...], now: float) -> None:
        """Other engines; what they hold is known from now on."""
        for gone in set(self.load) - set(names):
            self._index.resize(gone, 0)
        super().resize(names, now)
        for name in names:
            self._index.resize(name, self.traffic.cache_tokens)

    def _matched(self, request: Request, blocks: tuple[int, ...], ends: list[int]) -> str:
        most, fewest = max(self.load.values()), min(self.load.values())
        if most - fewest > _APART and most > _TIMES * fewest:
            return self.least()
        held = self._index.match(blocks, ends) if blocks else {}
        best = max(held, key=held.__getitem__, default="")
        return best if held.get(best, 0) > _MATCH * request.prompt_tokens else self.least()


RULES: Mapping[str, Callable[[Traffic], Rule]] = {
    "round robin": RoundRobin,
    "least in flight": LeastInFlight,
    "hash": Hash,
    "bounded hash": BoundedHash,
    "prefix-only": PrefixOnly,
}


def key_of(request: Request) -> int:
    """The session's key: 64 bits."""
    return xxhash.xxh64_intdigest(request.session.name.encode())
