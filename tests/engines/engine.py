"""The running engine: the scheduler's owner, the passing of time, faults and counters."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

from tests.engines import tokens
from tests.engines.cache import BlockCache
from tests.engines.config import EngineConfig
from tests.engines.errors import ApiError
from tests.engines.faults import Faults, changed
from tests.engines.metrics import Metrics
from tests.engines.scheduler import Scheduler, Sequence


@dataclass(slots=True, eq=False)
class Generation:
    """One answer on the way: its pieces, and a signal for each step that adds one."""

    sequence: Sequence
    pieces: tuple[str, ...]
    reason: str
    signal: asyncio.Event
    taken: int = 0

    async def more(self) -> str:
        """Wait for further text; empty when the answer is complete."""
        while not self.sequence.finished and self.taken == self.sequence.emitted:
            self.signal.clear()
            await self.signal.wait()
        fresh = "".join(self.pieces[self.taken : self.sequence.emitted])
        self.taken = self.sequence.emitted
        return fresh

    async def complete(self) -> None:
        """Wait for the last token."""
        while not self.sequence.finished:
            self.signal.clear()
            await self.signal.wait()


@dataclass(slots=True)
class Counters:
    """What `GET /sim` tells beyond the metrics."""

    requests: int = 0
    completed: int = 0
    aborted: int = 0
    refused: int = 0
    prefix_hits_tokens: int = 0
    prefix_queries_tokens: int = 0


class Engine:
    """Runs sequences step by step, on one event loop."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.metrics = Metrics(config)
        self.counters = Counters()
        self.faults = Faults()
        blocks = max(config.cache_tokens // config.block_tokens, 1)
        self.scheduler = Scheduler(BlockCache(blocks), config.block_tokens, config.speed)
        self._work = asyncio.Event()
        self._thawed = asyncio.Event()
        self._thawed.set()
        self.metrics.gauges(
            lambda: len(self.scheduler.running), lambda: len(self.scheduler.waiting), lambda: self.scheduler.cache.used
        )

    async def run(self) -> None:
        """Step until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            await self._thawed.wait()
            step = self.scheduler.plan(clock())
            if step is None:
                self._work.clear()
                await self._work.wait()
                continue
            await asyncio.sleep(step.seconds * self.faults.slow)
            await self._thawed.wait()
            now = clock()
            self._account(self.scheduler.complete(step, now), now)

    def order(self, order: dict[str, object]) -> None:
        """Change the faults in force."""
        self.faults = changed(self.faults, order)
        self.metrics.sleeps(asleep=self.faults.asleep)
        if self.faults.freeze or self.faults.asleep:
            self._thawed.clear()
        else:
            self._thawed.set()

    @asynccontextmanager
    async def generate(self, prompt: str, salt: str, answer_tokens: int, reason: str) -> AsyncIterator[Generation]:
        """Queue a prompt; leaving the block before the answer is complete is the abort."""
        generation = self._generation(prompt, salt, answer_tokens, reason)
        sequence = generation.sequence
        sequence.arrived = asyncio.get_running_loop().time()
        self.counters.requests += 1
        self.scheduler.add(sequence)
        self._work.set()
        try:
            yield generation
        finally:
            self._end(sequence, reason)

    def report(self) -> dict[str, object]:
        """What `GET /sim` answers."""
        state = {"running": len(self.scheduler.running), "waiting": len(self.scheduler.waiting)}
        return {"name": self.config.name, **asdict(self.counters), **state, "faults": asdict(self.faults)}

    def _generation(self, prompt: str, salt: str, answer_tokens: int, reason: str) -> Generation:
        size = tokens.count(prompt)
        limit = self.config.max_model_len
        if size + answer_tokens > limit:
            asked = f"you requested {size} in the prompt and {answer_tokens} in the answer"
            raise ApiError(400, f"This model's maximum context length is {limit} tokens. However, {asked}.")
        pieces = tokens.answer(prompt, answer_tokens)
        chain = tokens.block_hashes(prompt + "".join(pieces), self.config.block_tokens, salt)
        signal = asyncio.Event()
        return Generation(Sequence(max(size, 1), answer_tokens, chain, signal.set), pieces, reason, signal)

    def _end(self, sequence: Sequence, reason: str) -> None:
        aborted = self.scheduler.abort(sequence)
        self.counters.aborted += aborted
        self.counters.completed += not aborted
        self.metrics.ended(sequence, "abort" if aborted else reason, asyncio.get_running_loop().time())

    def _account(self, advanced: list[Sequence], now: float) -> None:
        for sequence in advanced:
            if sequence.emitted:
                self.metrics.generation.inc()
            if sequence.first_token == now:
                self.metrics.began(sequence)
                self.counters.prefix_hits_tokens += sequence.cached
                self.counters.prefix_queries_tokens += sequence.prompt_tokens
