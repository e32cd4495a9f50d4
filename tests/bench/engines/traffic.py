"""What is asked, and when: all of it follows from the settings and two seeds, and nothing is sent here.

`shape_seed` draws times and tenants, `text_seed` the words: subjects of one repeat meet the same traffic, and none
finds in a cache what another left there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from tests.bench.engines.words import text

MULTI_ROUND, NAMELESS, SHARED_PROMPT = "multi-round", "nameless", "shared-prompt"
WORKLOADS: Mapping[str, str] = {
    MULTI_ROUND: "users with a history of their own who name their session, each answer followed by a next question",
    NAMELESS: "the same, but nothing names the session",
    SHARED_PROMPT: "single questions at a given rate, below one long system prompt for each tenant; nothing is named",
}
Message = dict[str, str]
_THINK_LEAST, _THINK_MOST = 0.5, 1.5


@dataclass(frozen=True, slots=True)
class Traffic:
    """One run of one workload. Sizes are words, `answer` tokens, times seconds; `rate`: questions per second."""

    workload: str
    model: str
    shape_seed: str
    text_seed: str
    users: int = 60
    system: int = 1_000
    history: int = 6_000
    question: int = 60
    answer: int = 60
    rounds: int = 20
    think: float = 4.0
    tenants: int = 24
    prompt: int = 4_000
    rate: float = 6.0
    warm: float = 15.0
    seconds: float = 45.0

    @property
    def ends(self) -> float:
        """When the last question may be asked."""
        return self.warm + self.seconds


@dataclass(frozen=True, slots=True)
class Arrival:
    """One question of a tenant."""

    at: float
    tenant: int


class Talk:
    """One user's conversation as it grows; after its rounds another one, so that no model is asked to read too much."""

    def __init__(self, traffic: Traffic, number: int) -> None:
        self._traffic = traffic
        self._pauses = Random(f"{traffic.shape_seed}/user/{number}")
        self._words = Random(f"{traffic.text_seed}/user/{number}")
        self._number = number
        self._talks = 0
        self._begin()
        # Users come one after another: a herd at the first moment would be a workload of its own.
        self.starts = self._pauses.uniform(0.0, traffic.warm / 2)

    def ask(self) -> Sequence[Message]:
        """Everything said so far, and the next question; the first one comes below the user's history."""
        question = text(self._words, self._traffic.question)
        first = len(self._messages) == 1
        self._messages.append(said("user", f"{self._history}\n\n{question}" if first else question))
        return list(self._messages)

    def hear(self, answer: str | None) -> float:
        """Keep the answer, or forget the question that got none; returns how long the user thinks now."""
        if answer is None:
            self._messages.pop()
        else:
            self._messages.append(said("assistant", answer))
            if len(self._messages) == 1 + 2 * self._traffic.rounds:
                self._begin()
        return self._traffic.think * self._pauses.uniform(_THINK_LEAST, _THINK_MOST)

    def _begin(self) -> None:
        traffic = self._traffic
        self._messages = [said("system", text(Random(f"{traffic.text_seed}/system"), traffic.system))]
        self._history = text(self._words, traffic.history)
        named = traffic.workload == MULTI_ROUND
        self.session = f"{traffic.text_seed}/{self._number}/{self._talks}" if named else ""
        self._talks += 1


def arrivals(traffic: Traffic) -> list[Arrival]:
    """Every question of an open loop: exponential gaps, tenants by Zipf's law."""
    chance = Random(f"{traffic.shape_seed}/arrivals")
    weights = list(accumulate(1 / (place + 1) for place in range(traffic.tenants)))
    found, at = [], chance.expovariate(traffic.rate)
    while at < traffic.ends:
        found.append(Arrival(at, chance.choices(range(traffic.tenants), cum_weights=weights)[0]))
        at += chance.expovariate(traffic.rate)
    return found


def prompts(traffic: Traffic) -> list[str]:
    """The system prompt of every tenant."""
    return [text(Random(f"{traffic.text_seed}/tenant/{number}"), traffic.prompt) for number in range(traffic.tenants)]


def single(traffic: Traffic, prompt: str, number: int) -> Sequence[Message]:
    """A question without a past."""
    question = text(Random(f"{traffic.text_seed}/question/{number}"), traffic.question)
    return [said("system", prompt), said("user", question)]


def body(traffic: Traffic, messages: Sequence[Message]) -> dict[str, object]:
    """The request: a stream of exactly so many tokens."""
    length = {"max_tokens": traffic.answer, "min_tokens": traffic.answer, "ignore_eos": True}
    return {"model": traffic.model, "stream": True, "temperature": 0, **length, "messages": messages}


def said(role: str, content: str) -> Message:
    """One message."""
    return {"role": role, "content": content}
