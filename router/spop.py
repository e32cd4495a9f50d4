"""HAProxy's Stream Processing Offload Protocol 2.0, the agent's side, without I/O.

Octets go in through `Agent.receive`, questions come out, answers go back through `Agent.acknowledge`, and what is to be
written is taken from `Agent.pending`. Nothing a peer sends makes a method raise: a bad frame ends the connection with a
DISCONNECT that carries the protocol's own status code. Memory per connection is at most one frame being received plus
one payload being put together from fragments.

Source: `doc/SPOE.txt` of HAProxy, section 3. HAProxy 2.6 to 3.0 split a NOTIFY that is larger than a frame, 3.1 and
later never do; both kinds of peer may pipeline questions on one connection.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from router.spop_wire import (
    ABORT,
    AGENT_HELLO,
    FIN,
    HAPROXY_DISCONNECT,
    HAPROXY_HELLO,
    LENGTH,
    LENGTH_OCTETS,
    NOTIFY,
    SHORTEST_FRAME,
    SMALLEST_FRAME,
    UNSET,
    VERSION,
    SpopError,
    Status,
    Value,
    read_messages,
    read_settings,
    read_varint,
    write_ack,
    write_disconnect,
    write_settings,
    write_uint32,
    write_value,
)

__all__ = ["Agent", "Limits", "Notify", "Status", "Value"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a connection may hold, in octets: one frame, and one payload put together from fragments."""

    frame: int = 131_072
    payload: int = 524_288


class Notify:
    """One question: `messages` maps a message's name to its arguments. Strings keep odd octets as surrogates."""

    __slots__ = ("frame", "messages", "stream")

    def __init__(self, stream: int, frame: int, messages: dict[str, dict[str, Value]]) -> None:
        self.stream = stream
        self.frame = frame
        self.messages = messages


class Agent:
    """One connection from HAProxy. `closing` says that nothing more is read: write `pending`, then close."""

    def __init__(self, limits: Limits) -> None:
        self.closing = False
        self.status: Status | None = None  # why the connection ended, None while it is open
        self._limits = limits
        self._frame_limit = limits.frame
        self._greeted = False
        self._received: list[bytes] = []  # pieces of a frame that is not complete yet
        self._waiting = 0  # octets in them
        self._needed = 0  # octets that complete it
        self._out: list[bytes] = []
        self._questions: list[Notify] = []
        self._whose: tuple[int, int] | None = None  # the question whose fragments are being collected
        self._fragments = bytearray()

    def receive(self, data: bytes) -> list[Notify]:
        """Take octets as they came, return the questions that are complete by now. Never raises."""
        if self.closing:
            return []
        if self._received:
            self._received.append(data)
            self._waiting += len(data)
            if self._waiting < self._needed:
                return []
            data = b"".join(self._received)
            self._received.clear()
        try:
            rest = self._frames(data)
        except SpopError as error:
            self._end(error.status, str(error))
        except IndexError:
            self._end(Status.INVALID, "a value ends after its frame")
        else:
            if rest < len(data):
                self._received.append(data[rest:] if rest else data)
                self._waiting = len(data) - rest
        questions, self._questions = self._questions, []
        return questions

    def acknowledge(self, question: Notify, variables: Mapping[str, Value]) -> None:
        """Answer one question. An answer larger than a frame is sent empty: HAProxy then uses its own fallback."""
        if self.closing:
            return
        answer = write_ack(question.stream, question.frame, variables)
        if len(answer) - LENGTH_OCTETS > self._frame_limit:
            answer = write_ack(question.stream, question.frame, {})
        self._out.append(answer)

    def pending(self) -> bytes:
        """Take what is to be written now."""
        octets = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        return octets

    def finish(self) -> None:
        """End the connection from our side, in peace."""
        if not self.closing:
            self._end(Status.NORMAL, "the agent is going away")

    def _end(self, status: Status, message: str) -> None:
        self.closing, self.status = True, status
        self._received.clear()
        self._fragments = bytearray()
        self._out.append(write_disconnect(status, message))

    def _frames(self, data: bytes) -> int:
        at, size = 0, len(data)
        while size - at >= LENGTH_OCTETS and not self.closing:
            length = LENGTH.unpack_from(data, at)[0]
            if length > self._frame_limit:
                raise SpopError(Status.TOO_BIG, f"a frame of {length} octets: at most {self._frame_limit}")
            if length < SHORTEST_FRAME:
                raise SpopError(Status.INVALID, f"a frame of {length} octets: at least {SHORTEST_FRAME}")
            start, end = at + LENGTH_OCTETS, at + LENGTH_OCTETS + length
            if end > size:
                break
            self._frame(data, start, end)
            at = end
        self._needed = LENGTH_OCTETS if size - at < LENGTH_OCTETS else LENGTH_OCTETS + LENGTH.unpack_from(data, at)[0]
        return at

    def _frame(self, data: bytes, at: int, end: int) -> None:
        kind, flags = data[at], data[at + 4]
        stream, at = read_varint(data, at + 5)
        frame = data[at]
        at += 1
        if frame >= 240:
            frame, at = read_varint(data, at - 1)
        if at > end:
            raise SpopError(Status.INVALID, "a frame ends inside its header")
        if kind == NOTIFY and flags == FIN and self._greeted and self._whose is None:
            self._questions.append(Notify(stream, frame, read_messages(data, at, end)))
        elif not self._greeted:
            self._hello(kind, flags, data, at, end)
        elif kind == NOTIFY:
            self._notify((stream, frame), flags, data, at, end)
        elif kind == UNSET:
            self._fragment((stream, frame), flags, data, at, end)
        elif kind == HAPROXY_DISCONNECT:
            self._end(Status.NORMAL, "goodbye")
        elif kind == HAPROXY_HELLO:
            raise SpopError(Status.INVALID, "a second HELLO")
        # Kinds that nobody knows yet are skipped, as the protocol allows.

    def _hello(self, kind: int, flags: int, data: bytes, at: int, end: int) -> None:
        if kind != HAPROXY_HELLO or not flags & FIN:
            raise SpopError(Status.INVALID, f"frame type {kind} before a whole HELLO")
        settings = read_settings(data, at, end)
        self._frame_limit = _agreed_frame_size(settings, self._limits.frame)
        pipelining = _agreed_pipelining(settings)
        self._greeted = True
        self._out.append(
            write_settings(
                AGENT_HELLO,
                {
                    "version": write_value(VERSION),
                    "max-frame-size": write_uint32(self._frame_limit),
                    "capabilities": write_value("fragmentation,pipelining" if pipelining else "fragmentation"),
                },
            )
        )
        self.closing = settings.get("healthcheck") is True

    def _notify(self, whose: tuple[int, int], flags: int, data: bytes, at: int, end: int) -> None:
        if self._whose is not None:
            raise SpopError(Status.INTERLACED, "a question inside the fragments of another")
        if flags & ABORT:
            return
        if flags & FIN:
            self._questions.append(Notify(*whose, read_messages(data, at, end)))
            return
        self._whose = whose
        self._collect(data, at, end)

    def _fragment(self, whose: tuple[int, int], flags: int, data: bytes, at: int, end: int) -> None:
        if self._whose is None:
            raise SpopError(Status.INVALID, "a fragment of nothing")
        if whose != self._whose:
            raise SpopError(Status.INTERLACED, "a fragment of another question")
        self._collect(data, at, end)
        if not flags & FIN:
            return
        payload = bytes(self._fragments)
        self._whose, self._fragments = None, bytearray()
        if not flags & ABORT:
            self._questions.append(Notify(*whose, read_messages(payload, 0, len(payload))))

    def _collect(self, data: bytes, at: int, end: int) -> None:
        if len(self._fragments) + end - at > self._limits.payload:
            raise SpopError(Status.TOO_BIG, f"fragments of more than {self._limits.payload} octets")
        self._fragments += data[at:end]


def _agreed_frame_size(settings: Mapping[str, Value], ours: int) -> int:
    theirs = settings.get("max-frame-size")
    if not isinstance(theirs, int):
        raise SpopError(Status.NO_FRAME_SIZE, "max-frame-size is missing")
    if theirs < SMALLEST_FRAME:
        raise SpopError(Status.BAD_FRAME_SIZE, f"max-frame-size {theirs}: at least {SMALLEST_FRAME}")
    return min(theirs, ours)


def _agreed_pipelining(settings: Mapping[str, Value]) -> bool:
    versions, capabilities = settings.get("supported-versions"), settings.get("capabilities")
    if not isinstance(versions, str):
        raise SpopError(Status.NO_VERSION, "supported-versions is missing")
    if not isinstance(capabilities, str):
        raise SpopError(Status.NO_CAPABILITIES, "capabilities is missing")
    if not any(version.strip().startswith("2.") for version in versions.split(",")):
        raise SpopError(Status.BAD_VERSION, f"versions {versions}: {VERSION} is spoken here")
    return "pipelining" in {capability.strip() for capability in capabilities.split(",")}
