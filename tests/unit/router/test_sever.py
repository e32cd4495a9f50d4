"""One connection is ended from outside, by the real kernel, and no other."""

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.sever import DESTROY, FIND, DiagError, Pair, Severed, pack, sever, unpack

PORTS = st.integers(0, 65_535)
ADDRESSES = st.one_of(st.tuples(*[st.ip_addresses(v=4).map(str)] * 2), st.tuples(*[st.ip_addresses(v=6).map(str)] * 2))


def _impossible() -> bool:
    """Whether this kernel or this user cannot do it at all: judged by a connection made for that."""
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as listener,
        socket.create_connection(listener.getsockname()) as it,
    ):
        return sever(_pair(it)) is Severed.IMPOSSIBLE


def _pair(client: socket.socket) -> Pair:
    return Pair(*client.getsockname()[:2], *client.getpeername()[:2])


@pytest.fixture(scope="module", autouse=True)
def _able() -> None:
    if _impossible():
        pytest.skip("needs CAP_NET_ADMIN and a kernel with CONFIG_INET_DIAG_DESTROY: runs as root on Debian 12")


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection: ours, theirs."""
    host = "127.0.0.1" if request.param is socket.AF_INET else "::1"
    with ExitStack() as stack:
        listener = stack.enter_context(closing(socket.create_server((host, 0), family=request.param)))
        client = stack.enter_context(closing(socket.create_connection(listener.getsockname()[:2], timeout=5)))
        server = stack.enter_context(closing(listener.accept()[0]))
        server.settimeout(5)
        yield client, server


def test_a_severed_connection_fails_at_once_at_our_end(ends: tuple[socket.socket, socket.socket]) -> None:
    """Our end gets an error, their end a reset; a second attempt finds nothing."""
    ours, theirs = ends
    pair = _pair(ours)
    assert sever(pair) is Severed.DONE
    with pytest.raises(ConnectionAbortedError):
        ours.recv(1)
    with pytest.raises(ConnectionResetError):
        theirs.recv(1)
    assert sever(pair) is Severed.GONE


def test_the_next_connection_of_the_same_two_is_not_touched(ends: tuple[socket.socket, socket.socket]) -> None:
    """Only the connection named is ended: another one to the same server goes on."""
    ours, _ = ends
    with ExitStack() as stack:
        listener = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
        other = stack.enter_context(closing(socket.create_connection(listener.getsockname(), timeout=5)))
        accepted = stack.enter_context(closing(listener.accept()[0]))
        assert sever(_pair(ours)) is Severed.DONE
        accepted.sendall(b"x")
        assert other.recv(1) == b"x"


def test_a_connection_whose_answer_arrives_is_left_alone(ends: tuple[socket.socket, socket.socket]) -> None:
    """Unread octets are an answer that has begun: the connection stays, and they can be read."""
    ours, theirs = ends
    theirs.sendall(b"x")
    assert sever(_pair(ours)) is Severed.BUSY
    assert ours.recv(1) == b"x"
    assert sever(_pair(ours)) is Severed.DONE


def test_a_connection_that_their_end_closed_is_gone(ends: tuple[socket.socket, socket.socket]) -> None:
    """What ends by itself is not ended again."""
    ours, theirs = ends
    theirs.close()
    assert ours.recv(1) == b""
    assert sever(_pair(ours)) is Severed.GONE


def test_a_listener_is_never_ended() -> None:
    """The kernel finds a listener for a connection that is not there; it must survive the question."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        assert sever(Pair("127.0.0.1", listener.getsockname()[1], "127.0.0.1", 1)) is Severed.GONE
        with socket.create_connection(listener.getsockname(), timeout=5):
            listener.accept()[0].close()


def test_what_may_not_be_done_is_said_to_be_impossible(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """EPERM and EOPNOTSUPP do not raise: the caller is told once and for all."""
    for number in (errno.EPERM, errno.EOPNOTSUPP):

        def refuse(_: bytes, number: int = number) -> None:
            raise DiagError(number)

        monkeypatch.setattr("router.sever.unpack", refuse)
        assert sever(_pair(ends[0])) is Severed.IMPOSSIBLE


@given(ADDRESSES, PORTS, PORTS, st.sampled_from([FIND, DESTROY]))
def test_a_message_says_its_own_length_and_whom_it_means(
    hosts: tuple[str, str], port: int, peer_port: int, kind: int
) -> None:
    """Whatever the addresses: 72 octets, ports in network order, addresses at their places."""
    octets = pack(kind, Pair(hosts[0], port, hosts[1], peer_port))
    family = socket.AF_INET6 if ":" in hosts[0] else socket.AF_INET
    assert struct.unpack_from("=IH", octets) == (len(octets), kind) == (72, kind)
    assert octets[16] == family
    assert struct.unpack_from("!HH", octets, 24) == (port, peer_port)
    width = len(socket.inet_pton(family, hosts[0]))
    assert octets[28 : 28 + width] == socket.inet_pton(family, hosts[0])
    assert octets[44 : 44 + width] == socket.inet_pton(family, hosts[1])


def test_two_families_in_one_pair_are_refused() -> None:
    """No connection has one address of each."""
    with pytest.raises(ValueError, match="one family"):
        pack(FIND, Pair("127.0.0.1", 1, "::1", 2))


@given(st.binary(max_size=200))
def test_no_answer_breaks_the_reader(octets: bytes) -> None:
    """Any octets are a connection, an acknowledgement or a DiagError."""
    with suppress(DiagError):  # one of the three
        found = unpack(octets)
        assert found is None or len(found.cookie) == 8
