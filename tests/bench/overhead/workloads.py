"""The five workloads: what is sent, and how many at once."""

import json
from dataclasses import dataclass

_PATH = "/v1/chat/completions"
MODEL = "bench"


@dataclass(frozen=True, slots=True)
class Workload:
    """One workload. `chunks`: of each answer, 0 for one that is not streamed; `sessions`: how many names there are."""

    name: str
    title: str
    body: bytes
    connections: int = 64
    chunks: int = 0
    pace_milliseconds: int = 0
    sessions: int = 0
    streams: int = 0

    @property
    def unit(self) -> str:
        """What its CPU time is divided by."""
        return "chunk" if self.chunks else "request"


def plain_body(octets: int) -> bytes:
    """A chat request of about so many octets."""
    return _body(octets, model_last=False)


def large_body(octets: int) -> bytes:
    """The same with `model` behind the messages, where a reader must look at everything before it."""
    return _body(octets, model_last=True)


def stream_body(chunks: int, pace: int) -> bytes:
    """1 KB that asks for a stream of `chunks`, `pace` milliseconds apart."""
    return _body(1_000, model_last=False, stream=True, max_tokens=chunks, seed=pace)


def request(body: bytes, session: str = "") -> bytes:
    """The whole request as it goes over the wire."""
    named = f"x-session-id: {session}\r\n" if session else ""
    head = f"POST {_PATH} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n{named}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def _body(octets: int, *, model_last: bool, **more: object) -> bytes:
    system = {"role": "system", "content": "You are a helpful assistant who answers briefly."}
    model = {"model": MODEL}
    empty = {**more, "messages": [system, {"role": "user", "content": ""}], **model}
    words = "The quick brown fox jumps over the lazy dog. "
    room = max(octets - len(json.dumps(empty)), 1)
    text = (words * (room // len(words) + 1))[:room]
    talk = {"messages": [system, {"role": "user", "content": text}]}
    return json.dumps({**more, **talk, **model} if model_last else {**model, **more, **talk}).encode()


WORKLOADS = (
    Workload("W1", "1 KB, whole answer, 64 connections", plain_body(1_000)),
    Workload("W2", "stream of 128 chunks, no delay, 64 connections", stream_body(128, 0), chunks=128),
    Workload(
        "W3",
        "1,000 streams of 64 chunks, 25 ms apart",
        stream_body(64, 25),
        chunks=64,
        pace_milliseconds=25,
        streams=1_000,
    ),
    Workload("W4", "100 KB, `model` last, 16 connections", large_body(100_000), connections=16),
    Workload("W5", "as W1, 64 sessions", plain_body(1_000), sessions=64),
)
