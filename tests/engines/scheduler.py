"""Continuous batching without a GPU: who computes what in the next step, and how long it takes. No clock, no I/O.

The rule is vLLM's: every running sequence decodes one token per step, what is left of the step's token budget goes to
prefill, first come first served, in chunks. A step therefore lasts as long as its uncached prompt tokens take at the
prefill rate, plus one decode that gets slower with the batch.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.engines.cache import Allocation, BlockCache


@dataclass(frozen=True, slots=True)
class Speed:
    """`prefill_rate`: uncached prompt tokens per second; `decode_growth`: what each further sequence adds to a step."""

    prefill_rate: float = 20_000.0
    decode_seconds: float = 0.01
    decode_growth: float = 0.02
    step_tokens: int = 2_048
    batch: int = 256

    def seconds(self, prefill_tokens: int, decodes: int) -> float:
        """Duration of one step."""
        decode = self.decode_seconds * (1 + self.decode_growth * (decodes - 1)) if decodes else 0.0
        return prefill_tokens / self.prefill_rate + decode


@dataclass(slots=True, eq=False)
class Sequence:
    """One prompt and its answer on the way. Only the scheduler changes it."""

    prompt_tokens: int
    answer_tokens: int
    chain: tuple[int, ...]
    notify: Callable[[], None]
    arrived: float = 0.0
    admitted: float = 0.0
    first_token: float = 0.0
    computed: int = 0
    cached: int = 0
    emitted: int = 0
    finished: bool = False
    allocation: Allocation | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What one step computes: prompt tokens by sequence, and the sequences that get their next token."""

    seconds: float
    prefill: tuple[tuple[Sequence, int], ...] = ()
    decode: tuple[Sequence, ...] = ()


@dataclass(slots=True)
class Scheduler:
    """The queue, the batch and the cache of one engine."""

    cache: BlockCache
    block_tokens: int
    speed: Speed = field(default_factory=Speed)
    waiting: deque[Sequence] = field(default_factory=deque)
    running: list[Sequence] = field(default_factory=list)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence, behind all that came before."""
        self.waiting.append(sequence)

    def abort(self, sequence: Sequence) -> bool:
        """Forget a sequence and free what it holds; False if it had ended already."""
        if sequence.finished:
            return False
        if sequence.allocation is None:
            self.waiting.remove(sequence)
        self._finish(sequence)
        return True

    def plan(self, now: float) -> Step | None:
        """The next step, or None when there is nothing to do."""
        self._admit(now)
        decode = tuple(one for one in self.running if one.computed >= one.prompt_tokens)
        budget = self.speed.step_tokens - len(decode)
        prefill: list[tuple[Sequence, int]] = []
        for sequence in self.running:
            share = min(budget, sequence.prompt_tokens - sequence.computed)
            if share > 0:
                prefill.append((sequence, share))
                budget -= share
        if not decode and not prefill:
            return None
        return Step(self.speed.seconds(sum(tokens for _, tokens in prefill), len(decode)), tuple(prefill), decode)

    def complete(self, step: Step, now: float) -> list[Sequence]:
        """Apply a step that has taken its time; returns the sequences that got a token."""
        advanced = []
        for sequence, tokens in step.prefill:
            if not sequence.finished and self._prefilled(sequence, tokens):
                advanced.append(sequence)
        advanced += [sequence for sequence in step.decode if not sequence.finished]
        for sequence in advanced:
            self._emit(sequence, now)
        return advanced

    def _admit(self, now: float) -> None:
        while self.waiting and len(self.running) < self.speed.batch:
            sequence = self.waiting[0]
            total = -(-(sequence.prompt_tokens + sequence.answer_tokens) // self.block_tokens)
            # The last prompt token is always computed: its output is the first token of the answer.
            usable = sequence.chain[: max(sequence.prompt_tokens - 1, 0) // self.block_tokens]
            allocation = self.cache.admit(usable, total)
            if allocation is None:
                return
            self.waiting.popleft()
            sequence.allocation, sequence.admitted = allocation, now
            sequence.cached = sequence.computed = allocation.hits * self.block_tokens
            self.running.append(sequence)

    def _prefilled(self, sequence: Sequence, tokens: int) -> bool:
        self._computed(sequence, tokens)
        return sequence.computed >= sequence.prompt_tokens

    def _computed(self, sequence: Sequence, tokens: int) -> None:
        before = sequence.computed // self.block_tokens
        sequence.computed += tokens
        for block in sequence.chain[before : sequence.computed // self.block_tokens]:
            if sequence.allocation:
                self.cache.commit(sequence.allocation, block)

    def _emit(self, sequence: Sequence, now: float) -> None:
        if sequence.answer_tokens:
            sequence.emitted += 1
            if sequence.emitted > 1:
                self._computed(sequence, 1)
        sequence.first_token = sequence.first_token or now
        if sequence.emitted >= sequence.answer_tokens:
            self._finish(sequence)
        sequence.notify()

    def _finish(self, sequence: Sequence) -> None:
        sequence.finished = True
        if sequence.allocation:
            self.cache.release(sequence.allocation)
            self.running.remove(sequence)
