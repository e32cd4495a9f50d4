"""What an edge says about sessions, over the router's own sockets: questions, first bytes, completion lines."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from router.spop import Value
from router.spop_wire import (
    ACK,
    HAPROXY_HELLO,
    LENGTH,
    NOTIFY,
    read_value,
    read_varint,
    write_frame,
    write_settings,
    write_text,
    write_uint32,
    write_value,
)

_PATH = "/v1/chat/completions"
_SERVER = b"\x06server"
_FRAME_OCTETS = 65_536
_HELLO = {
    "supported-versions": write_value("2.0"),
    "max-frame-size": write_uint32(_FRAME_OCTETS),
    "capabilities": write_value("pipelining"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One session's one request."""

    number: int
    model: str

    @property
    def name(self) -> str:
        """Its request id and its session's name: both unlike any other's."""
        return f"s{self.number:08x}"

    @property
    def silent(self) -> bool:
        """Half the clients send no session header: what they say names them."""
        return self.number % 2 == 1


class Feed:
    """One SPOP connection and one event connection."""

    def __init__(self, spop: "Stream", events: "Stream") -> None:
        self._spop = spop
        self._events = events
        self._waiting: dict[int, Asked] = {}
        self._received = b""

    async def ask(self, batch: Sequence[Asked]) -> dict[int, str]:
        """Ask about all of a batch at once; the engine each was given, empty where it was refused."""
        frames = (notify(one.number, "ask", question(one)) for one in batch)
        answers = await self._exchange(b"".join(frames), len(batch))
        return {number: engine_of(frame) for number, frame in answers}

    async def begun(self, batch: Sequence[tuple[Asked, str]]) -> None:
        """The first bytes came from these engines."""
        frames = (
            notify(one.number, "begun", {"id": one.name, "lease": one.name, "server": engine, "status": 200})
            for one, engine in batch
        )
        await self._exchange(b"".join(frames), len(batch))

    async def ended(self, lines: Sequence[bytes]) -> None:
        """Completion lines, each with its length in front."""
        self._events.writer.write(b"".join(b"%d %s" % (len(line), line) for line in lines))
        await self._events.writer.drain()

    async def _exchange(self, octets: bytes, answers: int) -> list[tuple[int, bytes]]:
        self._spop.writer.write(octets)
        await self._spop.writer.drain()
        found: list[tuple[int, bytes]] = []
        while len(found) < answers:
            data = await self._spop.reader.read(1 << 20)
            if not data:
                raise ConnectionError("the router closed the connection")
            self._received += data
            found += self._taken()
        return found

    def _taken(self) -> Iterator[tuple[int, bytes]]:
        at, data = 0, self._received
        while len(data) - at >= LENGTH.size:
            end = at + LENGTH.size + LENGTH.unpack_from(data, at)[0]
            if end > len(data):
                break
            if data[at + LENGTH.size] == ACK:
                yield read_varint(data, at + LENGTH.size + 5)[0], data[at + LENGTH.size : end]
            at = end
        self._received = data[at:]


@dataclass(frozen=True, slots=True)
class Stream:
    """Both ends of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@asynccontextmanager
async def connected(spop: int, events: int) -> AsyncIterator[Feed]:
    """A feed for the router on these ports, greeted."""
    asks = Stream(*await asyncio.open_connection("127.0.0.1", spop))
    tells = Stream(*await asyncio.open_connection("127.0.0.1", events))
    asks.writer.write(write_settings(HAPROXY_HELLO, _HELLO))
    length = LENGTH.unpack(await asks.reader.readexactly(LENGTH.size))[0]
    await asks.reader.readexactly(length)
    try:
        yield Feed(asks, tells)
    finally:
        asks.writer.close()
        tells.writer.close()


def question(one: Asked) -> dict[str, Value]:
    """The arguments of `ask`."""
    system = {"role": "system", "content": "You are a patient assistant. " * 12}
    user = {"role": "user", "content": f"{one.name} wants to know. " * 16}
    body = json.dumps({"model": one.model, "messages": [system, user], "stream": True}).encode()
    return {
        "id": one.name,
        "lease": one.name,
        "method": "POST",
        "path": _PATH,
        "content_type": "application/json",
        "session": "" if one.silent else one.name,
        "source": "" if one.silent else "x-session-id",
        "tenant": "-",
        "size": len(body),
        "body": body,
    }


def line(one: Asked, chosen: str, server: str, status: int, state: str) -> bytes:
    """One completion line; `server` is another than `chosen` after a retry."""
    event = {
        "ts": 1_700_000_000.0,
        "id": one.name,
        "lease": one.name,
        "client": "10.0.0.1",
        "method": "POST",
        "path": _PATH,
        "status": status,
        "backend": f"model-{one.model}",
        "server": server,
        "chosen": chosen,
        "state": state,
        "why": "new",
        "model": one.model,
        "source": "fingerprint" if one.silent else "x-session-id",
        "retries": "+1" if server != chosen else "0",
        "queued_ms": 0,
        "connect_ms": 0,
        "headers_ms": 20,
        "total_ms": 400,
        "bytes_in": 1_000,
        "bytes_out": 4_000,
        "tenant": "-",
        "class": "",
        "decider": 0,
    }
    return json.dumps(event).encode()


def notify(number: int, name: str, arguments: dict[str, Value]) -> bytes:
    """One question as HAProxy frames it."""
    pairs = b"".join(write_text(key) + write_value(value) for key, value in arguments.items())
    return write_frame(NOTIFY, number, 1, write_text(name) + bytes((len(arguments),)) + pairs)


def engine_of(frame: bytes) -> str:
    """The engine that an answer names; empty when it names none."""
    at = frame.find(_SERVER)
    value = read_value(frame, at + len(_SERVER))[0] if at >= 0 else ""
    return value if isinstance(value, str) else ""
