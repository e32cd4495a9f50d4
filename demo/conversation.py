"""A conversation through the endpoint, as a client would hold it, and what each turn shows of the routing."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam
from prometheus_client.parser import text_string_to_metric_families

from demo.deployed import Stack
from demo.paths import ROOT

HITS, QUERIES = "vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total"
HANDBOOK = ROOT / "images" / "model" / "corpus.txt"
HANDBOOK_CHARACTERS = 3000
ANSWER_TOKENS = 32
QUESTIONS = (
    "Where does a conversation live, and why does it matter?",
    "What happens to it when its engine is upgraded?",
    "And when that engine fails in the middle of the night?",
    "Which header tells me who served a request?",
    "Which graph do I look at first, and what would worry me?",
    "Good. Sum up in one sentence what I do next.",
)


@dataclass(frozen=True)
class Turn:
    """One answer: who gave it, why there, milliseconds to the first token, tokens found in the cache of those asked."""

    served_by: str
    reason: str
    ttft_ms: float
    cached_tokens: int
    prompt_tokens: int


def hold(stack: Stack, session: str | None, salt: str, questions: Iterable[str] = QUESTIONS) -> Iterator[Turn]:
    """Ask the questions one after the other, each with everything said so far; yields a Turn for each.

    With `session` every request names it in a header; without, the router knows the conversation by its beginning.
    `salt` opens the system prompt, so that no earlier conversation has left this one in a cache.
    """
    headers = {"x-session-id": session} if session else {}
    messages: list[ChatCompletionMessageParam] = [{"role": "system", "content": _system(salt)}]
    with OpenAI(base_url=f"{stack.endpoint}/v1", api_key="none", max_retries=0, default_headers=headers) as client:
        for question in questions:
            messages.append({"role": "user", "content": question})
            before = cache_counters(stack)
            turn, answer = _ask(client, stack.model, messages)
            hits, queries = (now - then for now, then in zip(cache_counters(stack), before, strict=True))
            messages.append({"role": "assistant", "content": answer})
            yield Turn(turn.served_by, turn.reason, turn.ttft_ms, round(hits), round(queries))


def cache_counters(stack: Stack) -> tuple[float, float]:
    """Tokens found in prefix caches and tokens looked up there, over all engines that answer."""
    totals = dict.fromkeys((HITS, QUERIES), 0.0)
    for engine in stack.engines:
        for name, value in samples(f"{engine.url}/metrics"):
            if name in totals:
                totals[name] += value
    return totals[HITS], totals[QUERIES]


def samples(url: str) -> Iterator[tuple[str, float]]:
    """Name and value of every sample a metrics page shows; nothing when the page cannot be had."""
    try:
        with urllib.request.urlopen(url, timeout=5) as page:
            text = page.read().decode()
    except OSError:
        return
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.value


def hit_ratio(turns: Iterable[Turn]) -> float:
    """The share of prompt tokens that came out of vLLM's prefix caches, 0 when none was asked for."""
    turns = list(turns)
    asked = sum(turn.prompt_tokens for turn in turns)
    return sum(turn.cached_tokens for turn in turns) / asked if asked else 0.0


def _system(salt: str) -> str:
    handbook = HANDBOOK.read_text(encoding="utf-8")[:HANDBOOK_CHARACTERS]
    return f"Conversation {salt}. You are the night shift's assistant. This is your handbook.\n\n{handbook}"


def _ask(client: OpenAI, model: str, messages: list[ChatCompletionMessageParam]) -> tuple[Turn, str]:
    began = time.monotonic()
    first: float | None = None
    words: list[str] = []
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=messages, max_tokens=ANSWER_TOKENS, temperature=0, stream=True
    )
    with raw.parse() as stream:
        for chunk in stream:
            first = time.monotonic() if first is None else first
            words += [choice.delta.content or "" for choice in chunk.choices]
    ttft_ms = round(((first or time.monotonic()) - began) * 1000, 1)
    served_by, reason = raw.headers.get("x-served-by", "unknown"), raw.headers.get("x-route-reason", "unknown")
    return Turn(served_by, reason, ttft_ms, 0, 0), "".join(words)
