"""Ends one TCP connection of this host from outside, so that the program at our end gets an error at once.

Linux can do that to any local socket (`SOCKDESTROY` of the kernel's socket diagnosis, the call behind `ss -K`). HAProxy
then sees a request's connection break before the first byte, which it answers by sending the request elsewhere. Needs
CAP_NET_ADMIN and a kernel built with CONFIG_INET_DIAGDESTROY. See ADR 0015.
"""

import errno
import ipaddress
import socket
import struct
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

_SOCK_DIAG: Final = 4  # NETLINK_SOCK_DIAG
FIND: Final = 20
DESTROY: Final = 21
_ERROR: Final = 2
_REQUEST: Final = 0x01
_ACK: Final = 0x04
_ESTABLISHED: Final = 1
_ALL_STATES: Final = 0xFFFFFFFF
_HEAD: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_WHAT: Final = struct.Struct("=BBBxI")  # family, protocol, extensions, states
_WHO: Final = struct.Struct("=4s16s16sI8s")  # ports, source, destination, interface, cookie
_FOUND: Final = struct.Struct("=BBBB48sIIIII")  # family, state, timer, retransmits, who, expires, queues, uid, inode
_ANY_COOKIE: Final = b"\xff" * 8
_ANSWER_OCTETS: Final = 65_536
_NEVER: Final = frozenset(
    {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.EINVAL, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.ENOSYS}
)
_PATIENCE_SECONDS: Final = 1.0  # the kernel answers in microseconds; a bound all the same


class Pair(NamedTuple):
    """A TCP connection as our end sees it: our address and port, then theirs."""

    host: str
    port: int
    peer_host: str
    peer_port: int


class Severed(Enum):
    """What became of an attempt.

    `BUSY`: not now, an answer is arriving or the kernel is short of something. `IMPOSSIBLE`: this process may not, or
    this kernel cannot, whatever the connection.
    """

    DONE = "done"
    GONE = "gone"
    BUSY = "busy"
    IMPOSSIBLE = "impossible"


class DiagError(Exception):
    """The kernel said no; `number` is its errno."""

    def __init__(self, number: int) -> None:
        super().__init__(f"socket diagnosis: found {errno.errorcode.get(number, number)}: see ADR 0015")
        self.number = number


@dataclass(frozen=True, slots=True)
class Found:
    """A connection. `cookie` names this very socket, never a later one. `unread`: octets that wait for our end."""

    cookie: bytes
    established: bool
    unread: int


def pack(kind: int, pair: Pair, cookie: bytes = _ANY_COOKIE) -> bytes:
    """Return the netlink message of `kind` about `pair`. ValueError: not two addresses of one family."""
    ours, theirs = ipaddress.ip_address(pair.host), ipaddress.ip_address(pair.peer_host)
    if ours.version != theirs.version:
        raise ValueError(f"addresses: found {ours} and {theirs}: both of one family are allowed")
    family = socket.AF_INET if ours.version == 4 else socket.AF_INET6
    ports = struct.pack("!HH", pair.port, pair.peer_port)
    who = _WHO.pack(ports, ours.packed.ljust(16, b"\0"), theirs.packed.ljust(16, b"\0"), 0, cookie)
    body = _WHAT.pack(family, socket.IPPROTO_TCP, 0, _ALL_STATES) + who
    # One answer each: a question has its own, an order only an acknowledgement.
    flags = _REQUEST | (_ACK if kind == DESTROY else 0)
    return _HEAD.pack(_HEAD.size + len(body), kind, flags, 1, 0) + body


def unpack(answer: bytes) -> Found | None:
    """Return the connection an answer describes, None for a plain acknowledgement. DiagError: a refusal or nonsense."""
    if len(answer) < _HEAD.size + 4:
        raise DiagError(errno.EBADMSG)
    kind = _HEAD.unpack_from(answer)[1]
    if kind == _ERROR:
        number = -int(struct.unpack_from("=i", answer, _HEAD.size)[0])
        if number:
            raise DiagError(number)
        return None
    if kind != FIND or len(answer) < _HEAD.size + _FOUND.size:
        raise DiagError(errno.EBADMSG)
    _, state, _, _, who, _, unread, *_ = _FOUND.unpack_from(answer, _HEAD.size)
    return Found(who[-8:], state == _ESTABLISHED, unread)


def sever(pair: Pair) -> Severed:
    """End `pair` here, unless an answer has begun to arrive on it. Takes microseconds; never raises OSError."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as netlink:
            netlink.settimeout(_PATIENCE_SECONDS)
            found = _ask(netlink, pack(FIND, pair))
            if found is None or not found.established:
                return Severed.GONE
            if found.unread:
                return Severed.BUSY
            _ask(netlink, pack(DESTROY, pair, found.cookie))
    except DiagError as refusal:
        return _meaning(refusal.number)
    except OSError as refusal:
        return _meaning(refusal.errno)
    return Severed.DONE


def _meaning(number: int | None) -> Severed:
    if number in (errno.ENOENT, errno.ESTALE):
        return Severed.GONE
    return Severed.IMPOSSIBLE if number in _NEVER else Severed.BUSY


def _ask(netlink: socket.socket, message: bytes) -> Found | None:
    netlink.sendto(message, (0, 0))
    return unpack(netlink.recv(_ANSWER_OCTETS))
