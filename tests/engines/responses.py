"""OpenAI's responses API, with the store behind `previous_response_id` that makes it stick to one engine."""

from collections import OrderedDict

from tests.engines import tokens
from tests.engines.ask import Answer, Ask, Json, make, messages_of
from tests.engines.dialects import frame
from tests.engines.errors import ApiError

_STORED = 10_000


class Responses:
    """`/v1/responses`. Keeps the last conversations it answered; the least recently used goes first."""

    prefix = "resp_"

    def __init__(self) -> None:
        self._stored: OrderedDict[str, str] = OrderedDict()

    def read(self, body: Json, default: int) -> Ask:
        given = body.get("input")
        turns = [("user", given)] if isinstance(given, str) else messages_of(given, "input")
        instructions = body.get("instructions")
        system = [("system", instructions)] if isinstance(instructions, str) else []
        prompt = self._before(body.get("previous_response_id")) + tokens.conversation([*system, *turns])
        return make(body, prompt, body.get("max_output_tokens"), default)

    def whole(self, answer: Answer) -> Json:
        self._keep(answer)
        return self._state(answer, "incomplete" if answer.ask.limited else "completed", [_item(answer, "completed")])

    def opening(self, answer: Answer) -> bytes:
        begun = self._state(answer, "in_progress", [])
        item = {**_item(answer, "in_progress"), "content": []}
        place = _place(answer)
        return b"".join(
            (
                _event("response.created", 0, {"response": begun}),
                _event("response.in_progress", 1, {"response": begun}),
                _event("response.output_item.added", 2, {"output_index": 0, "item": item}),
                _event("response.content_part.added", 3, {**place, "part": _part("")}),
            )
        )

    def delta(self, answer: Answer, text: str, last: bool) -> bytes:
        number = 3 + answer.generation.sequence.emitted
        return _event("response.output_text.delta", number, {**_place(answer), "delta": text, "logprobs": []})

    def closing(self, answer: Answer) -> bytes:
        place, number = _place(answer), 4 + answer.generation.sequence.emitted
        whole = self.whole(answer)
        item = {"output_index": 0, "item": _item(answer, "completed")}
        return b"".join(
            (
                _event("response.output_text.done", number, {**place, "text": answer.text, "logprobs": []}),
                _event("response.content_part.done", number + 1, {**place, "part": _part(answer.text)}),
                _event("response.output_item.done", number + 2, item),
                _event(f"response.{whole['status']}", number + 3, {"response": whole}),
            )
        )

    def _before(self, previous: object) -> str:
        if previous is None:
            return ""
        if previous not in self._stored:
            raise ApiError(404, f"Response with id '{previous}' not found.")
        self._stored.move_to_end(str(previous))
        return self._stored[str(previous)]

    def _keep(self, answer: Answer) -> None:
        if not answer.ask.store:
            return
        self._stored[answer.id] = answer.ask.prompt + tokens.pad(answer.text) + tokens.END
        if len(self._stored) > _STORED:
            self._stored.popitem(last=False)

    @staticmethod
    def _state(answer: Answer, status: str, output: list[Json]) -> Json:
        prompt, said, cached = answer.counts
        usage = {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": cached},
            "output_tokens": said,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + said,
        }
        return {
            "id": answer.id,
            "object": "response",
            "created_at": answer.created,
            "status": status,
            "model": answer.ask.model,
            "output": output,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "usage": None if status == "in_progress" else usage,
        }


def _event(kind: str, number: int, data: Json) -> bytes:
    return frame({"type": kind, "sequence_number": number, **data}, kind)


def _item_id(answer: Answer) -> str:
    return f"msg_{answer.id}"


def _place(answer: Answer) -> Json:
    return {"item_id": _item_id(answer), "output_index": 0, "content_index": 0}


def _part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": None}


def _item(answer: Answer, status: str) -> Json:
    content = [_part(answer.text)]
    return {"id": _item_id(answer), "type": "message", "role": "assistant", "status": status, "content": content}
