"""Virtual time: a heap of what happens next, engines that step, and clients that ask."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tests.bench.quality.traffic import Session, Traffic
from tests.engines.cache import BlockCache
from tests.engines.scheduler import Scheduler, Sequence, Step


@dataclass(slots=True, eq=False)
class Request:
    """One turn on its way. Times are virtual seconds; `cached` and the rest are known when they have happened."""

    id: str
    session: Session
    turn: int
    prompt_tokens: int
    answer_tokens: int
    blocks: tuple[int, ...]
    arrived: float
    engine: str = ""
    first_token: float = 0.0
    ended: float = 0.0
    cached: int = 0


class Policy(Protocol):
    """A routing rule with everything it remembers. The world tells it what a router would hear."""

    def choose(self, request: Request, now: float) -> str:
        """The engine that gets this request."""

    def begun(self, request: Request, now: float) -> None:
        """Its first token came."""

    def ended(self, request: Request, now: float) -> None:
        """Its last token came."""

    def tick(self, engines: "dict[str, Engine]", now: float) -> None:
        """A second passed."""

    def resize(self, names: tuple[str, ...], now: float) -> None:
        """From now on these are the engines."""


class Engine:
    """A simulated engine's scheduler and cache, stepped in virtual time."""

    def __init__(self, name: str, traffic: Traffic, world: "World") -> None:
        blocks = max(traffic.cache_tokens // traffic.block_tokens, 1)
        self.name = name
        self.scheduler = Scheduler(BlockCache(blocks), traffic.block_tokens, traffic.speed)
        self.computed = 0
        self.prompts = 0
        self.steps = 0
        self._world = world
        self._requests: dict[int, Request] = {}
        self._stepping = False

    def add(self, request: Request, now: float) -> None:
        """Queue a request."""
        sequence = Sequence(request.prompt_tokens, request.answer_tokens, request.blocks, _nobody, arrived=now)
        self._requests[id(sequence)] = request
        self.scheduler.add(sequence)
        self._step(now)

    @property
    def busy(self) -> int:
        """Requests that run or wait here."""
        return len(self._requests)

    def _step(self, now: float) -> None:
        if self._stepping:
            return
        step = self.scheduler.plan(now)
        if step is None:
            return
        self._stepping = True
        self._world.at(now + step.seconds, lambda: self._stepped(step))

    def _stepped(self, step: Step) -> None:
        now = self._world.now
        self._stepping = False
        self.steps += 1
        for sequence in self.scheduler.complete(step, now):
            if sequence.emitted == 1:
                self._began(sequence, now)
            if sequence.finished:
                self._world.ended(self._requests.pop(id(sequence)))
        self._step(now)

    def _began(self, sequence: Sequence, now: float) -> None:
        request = self._requests[id(sequence)]
        request.first_token, request.cached = now, sequence.cached
        self.computed += sequence.prompt_tokens - sequence.cached
        self.prompts += sequence.prompt_tokens
        self._world.policy.begun(request, now)


class World:
    """Runs traffic through a policy. `run` returns every request with what became of it."""

    def __init__(self, traffic: Traffic, policy: Policy) -> None:
        self.traffic = traffic
        self.policy = policy
        self.now = 0.0
        self.requests: list[Request] = []
        self.engines: dict[str, Engine] = {}
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._left = traffic.requests
        self.resize(traffic.engines)

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Do something at a moment."""
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, action))

    def resize(self, count: int) -> None:
        """Have so many engines: new ones are cold, those that leave finish what they have."""
        wanted = names(count)
        for name in wanted:
            if name not in self.engines:
                self.engines[name] = Engine(name, self.traffic, self)
        self.policy.resize(wanted, self.now)

    def run(self) -> list[Request]:
        """Until the last answer has ended."""
        for session in self.traffic.sessions:
            self._ask_at(session, 0, session.start)
        self._tick()
        while self._left:
            self.now, _, action = heapq.heappop(self._heap)
            action()
        return self.requests

    def ended(self, request: Request) -> None:
        """An answer is complete: the client thinks, and asks again."""
        request.ended = self.now
        self._left -= 1
        self.policy.ended(request, self.now)
        following = request.turn + 1
        if following < len(request.session.turns):
            self._ask_at(request.session, following, self.now + request.session.turns[following].pause)

    def _ask_at(self, session: Session, turn: int, when: float) -> None:
        self.at(when, lambda: self._ask(session, turn))

    def _ask(self, session: Session, number: int) -> None:
        turn = session.turns[number]
        whole = (turn.prompt_tokens + turn.answer_tokens) // self.traffic.block_tokens
        blocks = session.blocks[:whole]
        request = Request(
            f"{len(self.requests)}", session, number, turn.prompt_tokens, turn.answer_tokens, blocks, self.now
        )
        self.requests.append(request)
        request.engine = self.policy.choose(request, self.now)
        self.engines[request.engine].add(request, self.now)

    def _tick(self) -> None:
        self.policy.tick(self.engines, self.now)
        self.at(self.now + 1.0, self._tick)


def names(count: int) -> tuple[str, ...]:
    """So many engines' names."""
    return tuple(f"engine-{number}" for number in range(count))


def _nobody() -> None:
    pass
