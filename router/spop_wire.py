"""The octets of HAProxy's Stream Processing Offload Protocol 2.0: numbers, typed values, frames.

Readers take a buffer and a position and return a value and the position after it. They raise SpopError or IndexError
on anything malformed; `spop.Agent` is where both end. Source: `doc/SPOE.txt` of HAProxy, section 3.1 and 3.2.
"""

from collections.abc import Mapping
from enum import IntEnum
from functools import lru_cache
from struct import Struct
from typing import Final

Value = None | bool | int | str | bytes

VERSION: Final = "2.0"
SMALLEST_FRAME: Final = 256  # octets: no peer may ask for less
LENGTH: Final = Struct(">I")  # before every frame
LENGTH_OCTETS: Final = LENGTH.size
SHORTEST_FRAME: Final = 7  # type, four octets of flags, two short varints

FIN: Final = 1
ABORT: Final = 2
UNSET: Final = 0
HAPROXY_HELLO: Final = 1
HAPROXY_DISCONNECT: Final = 2
NOTIFY: Final = 3
AGENT_HELLO: Final = 101
AGENT_DISCONNECT: Final = 102
ACK: Final = 103
_HEADER: Final = Struct(">BI")  # type and flags
_ONE_OCTET: Final = tuple(bytes((number,)) for number in range(256))
_SET_VAR: Final = 1
_SET_VAR_ARGS: Final = 3
_SCOPE_TRANSACTION: Final = 2
_OFTEN: Final = (
    "ask admit begun id lease method path content_type session source tenant class size body server status head"
)
_NAMES: Final = {bytes((len(name),)) + name.encode(): name for name in _OFTEN.split()}  # names that need no decoding
# Variables of few values, and these as they are set.
_REPEATED: Final[dict[str, dict[str, bytes]]] = {name: {} for name in ("server", "backend", "model", "why", "source")}
_REPEATED_VALUES: Final = 4096
_ACK_HEADER: Final = _HEADER.pack(ACK, FIN)
_NULL: Final = 0
_BOOL: Final = 1
_INT32: Final = 2
_INT64: Final = 4
_UINT64: Final = 5
_IPV4: Final = 6
_STRING: Final = 8
_BINARY: Final = 9
_SIGNED: Final = (_INT32, _INT64)


class Status(IntEnum):
    """Why a connection ends, in the protocol's numbers."""

    NORMAL = 0
    TOO_BIG = 3
    INVALID = 4
    NO_VERSION = 5
    NO_FRAME_SIZE = 6
    NO_CAPABILITIES = 7
    BAD_VERSION = 8
    BAD_FRAME_SIZE = 9
    INTERLACED = 11


class SpopError(Exception):
    """A frame that breaks the protocol; ends inside `Agent.receive` as a DISCONNECT."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


# --------------------------------------------------------------------------------------------------------- reading


def read_varint(buffer: bytes, at: int) -> tuple[int, int]:
    """Return the unsigned number at `at` and the position after it; SpopError when it is longer than 64 bits."""
    number = buffer[at]
    at += 1
    if number < 240:
        return number, at
    shift = 4
    while True:
        octet = buffer[at]
        at += 1
        number += octet << shift
        if octet < 128:
            break
        shift += 7
        if shift > 63:
            raise SpopError(Status.INVALID, "a number is longer than 64 bits")
    if number >= 1 << 64:
        raise SpopError(Status.INVALID, "a number is longer than 64 bits")
    return number, at


def _read_octets(buffer: bytes, at: int) -> tuple[bytes, int]:
    """Return octets and the position after them; it may lie behind the buffer: who reads a list checks its end."""
    size = buffer[at]
    at += 1
    if size >= 240:
        size, at = read_varint(buffer, at - 1)
    end = at + size
    return buffer[at:end], end


def _text(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("utf-8", "surrogateescape")


def _read_other(head: int, buffer: bytes, at: int) -> tuple[Value, int]:
    kind = head & 0x0F
    if kind == _NULL:
        return None, at
    if kind == _BOOL:
        return bool(head & 0x10), at
    if kind > _BINARY:
        raise SpopError(Status.INVALID, f"value type {kind} does not exist")
    end = at + (4 if kind == _IPV4 else 16)
    return buffer[at:end], end


def read_value(buffer: bytes, at: int) -> tuple[Value, int]:
    """Return the typed value at `at` (addresses as their 4 or 16 octets) and the position after it."""
    head = buffer[at]
    at += 1
    kind = head & 0x0F
    if kind == _BINARY:
        return _read_octets(buffer, at)
    if _INT32 <= kind <= _UINT64:
        number, at = read_varint(buffer, at)
        return number - (1 << 64) if number >> 63 and kind in _SIGNED else number, at
    if kind == _STRING:
        octets, at = _read_octets(buffer, at)
        return _text(octets), at
    return _read_other(head, buffer, at)


def _read_pairs(buffer: bytes, at: int, count: int) -> tuple[dict[str, Value], int]:
    """Read `count` names with their values. On every request's way: what is common is read in place."""
    pairs: dict[str, Value] = {}
    value: Value
    for _ in range(count):
        end = at + 1 + buffer[at]
        name = _NAMES.get(buffer[at:end])
        if name is None:
            octets, end = _read_octets(buffer, at)
            name = _text(octets)
        head = buffer[end]
        if head == _STRING and buffer[end + 1] < 240:
            at = end + 2 + buffer[end + 1]
            try:
                value = buffer[end + 2 : at].decode()
            except UnicodeDecodeError:
                value = _text(buffer[end + 2 : at])
        elif head == _NULL:
            value, at = None, end + 1
        else:
            value, at = read_value(buffer, end)
        pairs[name] = value
    return pairs, at


def read_messages(buffer: bytes, at: int, end: int) -> dict[str, dict[str, Value]]:
    """Read a NOTIFY payload, `buffer[at:end]`: message name → argument name → value."""
    messages: dict[str, dict[str, Value]] = {}
    while at < end:
        name, at = _read_octets(buffer, at)
        messages[_text(name)], at = _read_pairs(buffer, at + 1, buffer[at])
    if at != end:
        raise SpopError(Status.INVALID, "a value ends after its frame")
    return messages


def read_settings(buffer: bytes, at: int, end: int) -> dict[str, Value]:
    """Read the pairs of a HELLO or DISCONNECT, `buffer[at:end]`."""
    settings: dict[str, Value] = {}
    while at < end:
        pair, at = _read_pairs(buffer, at, 1)
        settings |= pair
    if at != end:
        raise SpopError(Status.INVALID, "a value ends after its frame")
    return settings


# --------------------------------------------------------------------------------------------------------- writing


def write_varint(number: int) -> bytes:
    """Encode an unsigned number below 2**64."""
    if number < 240:
        return _ONE_OCTET[number]
    octets = _ONE_OCTET[(number & 0x0F) | 0xF0]
    number = (number - 240) >> 4
    while number >= 128:
        octets += _ONE_OCTET[(number & 0x7F) | 0x80]
        number = (number - 128) >> 7
    return octets + _ONE_OCTET[number]


def write_text(text: str) -> bytes:
    """Encode a name or string with its length, without a type; what UTF-8 cannot say becomes a question mark."""
    octets = text.encode("utf-8", "replace")
    return write_varint(len(octets)) + octets


def write_value(value: Value) -> bytes:
    """Encode one typed value; numbers travel as signed 64 bits, which is what HAProxy computes with."""
    if isinstance(value, str):
        octets = value.encode("utf-8", "replace")
        return b"\x08" + write_varint(len(octets)) + octets
    if value is None:
        return b"\x00"
    if isinstance(value, bool):
        return b"\x11" if value else b"\x01"
    if isinstance(value, int):
        return b"\x04" + write_varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    return b"\x09" + write_varint(len(value)) + value


def write_frame(kind: int, stream: int, frame: int, payload: bytes, flags: int = FIN) -> bytes:
    """Encode one frame with its length in front."""
    body = _HEADER.pack(kind, flags) + write_varint(stream) + write_varint(frame) + payload
    return LENGTH.pack(len(body)) + body


def write_ack(stream: int, frame: int, variables: Mapping[str, Value]) -> bytes:
    """Encode the answer to one question: every variable is set in the transaction's scope."""
    body = _ACK_HEADER + write_varint(stream) + write_varint(frame)
    if variables:
        body += b"".join([_set(name, value) for name, value in variables.items()])
    return LENGTH.pack(len(body)) + body


def _set(name: str, value: Value) -> bytes:
    known = _REPEATED.get(name)
    if known is None or not isinstance(value, str):
        return _setter(name) + write_value(value)
    octets = known.get(value)
    if octets is None:
        if len(known) >= _REPEATED_VALUES:
            known.clear()
        octets = known[value] = _setter(name) + write_value(value)
    return octets


@lru_cache(maxsize=64)
def _setter(name: str) -> bytes:
    return bytes((_SET_VAR, _SET_VAR_ARGS, _SCOPE_TRANSACTION)) + write_text(name)


def write_settings(kind: int, settings: Mapping[str, bytes]) -> bytes:
    """Encode a HELLO or DISCONNECT from settings whose values are encoded already."""
    return write_frame(kind, 0, 0, b"".join(write_text(name) + value for name, value in settings.items()))


def write_uint32(number: int) -> bytes:
    """Encode a number that the protocol wants as unsigned 32 bits."""
    return b"\x03" + write_varint(number)


def write_disconnect(status: Status, message: str) -> bytes:
    """Encode the last frame of a connection: why it ends, for machine and person."""
    return write_settings(AGENT_DISCONNECT, {"status-code": write_uint32(status), "message": write_value(message)})
