"""What every API's request has in common once its own shape is read."""

from dataclasses import dataclass

from tests.engines.engine import Generation
from tests.engines.errors import ApiError
from tests.engines.tokens import plain

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for one answer. `limited`: the client's own limit ends it, so the reason is `length`."""

    prompt: str
    model: str
    salt: str
    answer_tokens: int
    limited: bool
    stream: bool
    include_usage: bool = False
    store: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer on the way: its identity and what the engine has made of it."""

    id: str
    created: int
    ask: Ask
    generation: Generation

    @property
    def text(self) -> str:
        """All that has been said so far."""
        return "".join(self.generation.pieces[: self.generation.sequence.emitted])

    @property
    def counts(self) -> tuple[int, int, int]:
        """Tokens of prompt, answer, and prompt found in the cache."""
        sequence = self.generation.sequence
        return sequence.prompt_tokens, sequence.emitted, sequence.cached

    def usage(self) -> Json:
        """OpenAI's usage object."""
        prompt, said, cached = self.counts
        return {
            "prompt_tokens": prompt,
            "completion_tokens": said,
            "total_tokens": prompt + said,
            "prompt_tokens_details": {"cached_tokens": cached},
        }


def make(body: Json, prompt: str, limit: object, default: int, include_usage: bool = False) -> Ask:
    """The parts every API shares. `limit` is the client's own limit of the answer, if it gave one."""
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise ApiError(400, f"max_tokens must be at least 1, got {limit!r}.")
    exact = isinstance(limit, int) and (body.get("ignore_eos") is True or limit == body.get("min_tokens"))
    tokens = limit if exact and isinstance(limit, int) else min(default, limit if isinstance(limit, int) else default)
    return Ask(
        prompt=prompt,
        model=str(body.get("model")),
        salt=str(body.get("cache_salt") or ""),
        answer_tokens=tokens,
        limited=limit == tokens,
        stream=body.get("stream") is True,
        include_usage=include_usage,
        store=body.get("store") is not False,
    )


def messages_of(value: object, where: str) -> list[tuple[str, str]]:
    """Role and text of each message of a chat-shaped list."""
    if not isinstance(value, list) or not value:
        raise ApiError(400, f"{where}: Field required, a list of messages.")
    found = []
    for number, item in enumerate(value):
        if not isinstance(item, dict) or not isinstance(item.get("role"), str):
            raise ApiError(400, f"{where}[{number}]: a message needs a role.")
        found.append((item["role"], plain(item.get("content")) + plain(item.get("tool_calls"))))
    return found
