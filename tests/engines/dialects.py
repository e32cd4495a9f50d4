"""OpenAI's chat and text completions: reading the request, writing the answer whole or as server-sent events."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from tests.engines import tokens
from tests.engines.ask import Answer, Ask, Json, make, messages_of
from tests.engines.errors import ApiError

DONE = b"data: [DONE]\n\n"


class Dialect(Protocol):
    """One API. The bytes of a stream are `opening`, one `delta` per piece of text, `closing`."""

    prefix: str

    def read(self, body: Json, default: int) -> Ask:
        """The request in common terms; `default` is the length of an answer nobody limits."""

    def whole(self, answer: Answer) -> Json:
        """The answer in one piece."""

    def opening(self, answer: Answer) -> bytes:
        """What comes with the first text."""

    def delta(self, answer: Answer, text: str, last: bool) -> bytes:
        """One piece of text."""

    def closing(self, answer: Answer) -> bytes:
        """The end of the stream."""


def frame(data: Mapping[str, object], event: str = "") -> bytes:
    """One server-sent event."""
    head = f"event: {event}\n".encode() if event else b""
    return head + b"data: " + msgspec.json.encode(data) + b"\n\n"


def _include_usage(body: Json) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


class Chat:
    """`/v1/chat/completions`."""

    prefix = "chatcmpl-"

    def read(self, body: Json, default: int) -> Ask:
        preamble = tokens.plain(body.get("tools"))
        prompt = tokens.conversation(messages_of(body.get("messages"), "messages"), preamble)
        limit = body.get("max_completion_tokens", body.get("max_tokens"))
        return make(body, prompt, limit, default, _include_usage(body))

    def whole(self, answer: Answer) -> Json:
        message: Json = {"role": "assistant", "content": answer.text, "refusal": None, "tool_calls": []}
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": answer.generation.reason,
            "stop_reason": None,
        }
        return {**_head(answer, "chat.completion"), "choices": [choice], "usage": answer.usage()}

    def opening(self, answer: Answer) -> bytes:
        return self._chunk(answer, {"role": "assistant", "content": ""}, None)

    def delta(self, answer: Answer, text: str, last: bool) -> bytes:
        return self._chunk(answer, {"content": text}, answer.generation.reason if last else None)

    def closing(self, answer: Answer) -> bytes:
        return _closing(answer, "chat.completion.chunk")

    @staticmethod
    def _chunk(answer: Answer, delta: Json, reason: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return frame({**_head(answer, "chat.completion.chunk"), "choices": [choice]})


class Completions:
    """`/v1/completions`, one prompt a request."""

    prefix = "cmpl-"

    def read(self, body: Json, default: int) -> Ask:
        return make(
            body, prompt_of(body.get("prompt"), "prompt"), body.get("max_tokens"), default, _include_usage(body)
        )

    def whole(self, answer: Answer) -> Json:
        choice = {**self._choice(answer.text, answer.generation.reason), "prompt_logprobs": None}
        return {**_head(answer, "text_completion"), "choices": [choice], "usage": answer.usage()}

    def opening(self, answer: Answer) -> bytes:
        return b""

    def delta(self, answer: Answer, text: str, last: bool) -> bytes:
        choice = self._choice(text, answer.generation.reason if last else None)
        return frame({**_head(answer, "text_completion"), "choices": [choice]})

    def closing(self, answer: Answer) -> bytes:
        return _closing(answer, "text_completion")

    @staticmethod
    def _choice(text: str, reason: str | None) -> Json:
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": reason, "stop_reason": None}


def prompt_of(value: object, where: str) -> str:
    """A prompt as text, as token ids, or as a list of one of these."""
    if isinstance(value, list) and len(value) == 1 and not isinstance(value[0], int):
        value = value[0]
    if isinstance(value, str):
        return tokens.pad(value)
    if isinstance(value, list) and value and all(isinstance(item, int) for item in value):
        return tokens.of_ids(value)
    raise ApiError(400, f"{where}: one string or one list of token ids is required.")


def _head(answer: Answer, kind: str) -> Json:
    return {"id": answer.id, "object": kind, "created": answer.created, "model": answer.ask.model}


def _closing(answer: Answer, kind: str) -> bytes:
    usage = frame({**_head(answer, kind), "choices": [], "usage": answer.usage()}) if answer.ask.include_usage else b""
    return usage + DONE
