"""Anthropic's messages API, which vLLM serves too."""

from collections.abc import Mapping

from tests.engines import tokens
from tests.engines.ask import Answer, Ask, Json, make, messages_of
from tests.engines.dialects import frame
from tests.engines.errors import ApiError


class Messages:
    """`/v1/messages`."""

    prefix = "msg_"

    def read(self, body: Json, default: int) -> Ask:
        if body.get("max_tokens") is None:
            raise ApiError(400, "max_tokens: Field required")
        system = tokens.plain(body.get("system"))
        turns = messages_of(body.get("messages"), "messages")
        preamble = tokens.plain(body.get("tools"))
        prompt = tokens.conversation([("system", system), *turns] if system else turns, preamble)
        return make(body, prompt, body.get("max_tokens"), default)

    def whole(self, answer: Answer) -> Json:
        content: list[Json] = [{"type": "text", "text": answer.text}]
        return {**_head(answer, content), "stop_reason": _reason(answer), "usage": _usage(answer)}

    def opening(self, answer: Answer) -> bytes:
        usage = {**_usage(answer), "output_tokens": 0}
        begun = {"message": {**_head(answer, []), "stop_reason": None, "usage": usage}}
        block = {"index": 0, "content_block": {"type": "text", "text": ""}}
        return _event("message_start", begun) + _event("content_block_start", block)

    def delta(self, answer: Answer, text: str, last: bool) -> bytes:
        return _event("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": text}})

    def closing(self, answer: Answer) -> bytes:
        end = {"delta": {"stop_reason": _reason(answer), "stop_sequence": None}, "usage": _usage(answer)}
        return _event("content_block_stop", {"index": 0}) + _event("message_delta", end) + _event("message_stop", {})


def _event(kind: str, data: Mapping[str, object]) -> bytes:
    return frame({"type": kind, **data}, kind)


def _head(answer: Answer, content: list[Json]) -> Json:
    return {
        "id": answer.id,
        "type": "message",
        "role": "assistant",
        "content": content,
        "model": answer.ask.model,
        "stop_sequence": None,
    }


def _reason(answer: Answer) -> str:
    return "max_tokens" if answer.generation.reason == "length" else "end_turn"


def _usage(answer: Answer) -> Json:
    prompt, said, cached = answer.counts
    return {
        "input_tokens": prompt - cached,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
        "output_tokens": said,
    }
