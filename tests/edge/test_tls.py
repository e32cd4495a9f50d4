"""TLS: what is spoken, what is redirected, and a certificate that is renewed under way."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.certificates import CertificateMetrics, Certificates
from router.edge_socket import EdgeSocket
from tests.support.certificates import self_signed, trusting
from tests.support.clients import call, head
from tests.support.processes import free_ports, wait_until
from tests.support.stack import CHAT, Stack, edge_config

BODY = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "a"}], "chunks": 10, "gap": 0.4}).encode()


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Stack]:
    """An edge with a certificate, and a plain listener that shows the way to it."""
    shutil.copy(self_signed(tmp_path, "first.test"), tmp_path / "tls.pem")
    plain, acme = free_ports(2)
    config = edge_config(
        {"tiny": 2},
        tls={"certificate": str(tmp_path / "tls.pem"), "hsts_seconds": 600},
        plain={"address": "127.0.0.1", "port": plain, "acme": f"127.0.0.1:{acme}"},
    )
    stack = Stack(tmp_path, config)
    try:
        for child in (*stack.engines.values(), stack.router, stack.edge):
            child.start()
        wait_until(lambda: fetch(stack, "/ready") == 200, "the edge is ready")
        yield stack
    finally:
        stack.stop()


def connect(stack: Stack, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    """A TLS connection to the edge."""
    with contextlib.ExitStack() as failing:
        plain = failing.enter_context(socket.create_connection(("127.0.0.1", stack.port), timeout=20))
        secured = (context or trusting()).wrap_socket(plain, server_hostname="first.test")
        failing.pop_all()
    return secured


def fetch(stack: Stack, path: str) -> int:
    """The status of a GET over TLS; 0 while nobody answers."""
    try:
        with connect(stack) as sock:
            sock.sendall(head(path, method="GET"))
            with contextlib.closing(http.client.HTTPResponse(sock)) as response:
                response.begin()
                return response.status
    except OSError:
        return 0


def certificate(stack: Stack) -> bytes:
    """What a new connection is shown."""
    with connect(stack) as sock:
        return sock.getpeercert(binary_form=True) or b""


def test_both_protocols_are_offered(secure: Stack) -> None:
    """A client that speaks HTTP/2 gets it; the other gets HTTP/1.1."""
    for protocol in ("h2", "http/1.1"):
        with connect(secure, trusting(protocol)) as sock:
            assert sock.selected_alpn_protocol() == protocol


def test_old_protocol_versions_are_refused(secure: Stack) -> None:
    """TLS 1.2 is the oldest."""
    context = trusting()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.deprecated_call():
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(secure, context)
    context = trusting()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with connect(secure, context) as sock:
        assert sock.version() == "TLSv1.2"


def test_plain_requests_are_redirected_and_not_served(secure: Stack) -> None:
    """The method is kept, as 308 asks; the certificate authority's question goes to its responder."""
    plain = secure.config["plain"]["port"]
    answer = call(plain, "POST", CHAT + "?a=1", BODY, {"host": f"edge.test:{plain}"})
    assert (answer.status, answer.headers["location"]) == (308, f"https://edge.test:{secure.port}{CHAT}?a=1")
    assert call(plain, "GET", "/.well-known/acme-challenge/x").status == 503  # no responder runs


def test_clients_are_told_to_stay_with_tls(secure: Stack) -> None:
    """Where it is asked for, and on refusals too."""
    with connect(secure) as sock:
        sock.sendall(head("/nothing", method="GET"))
        assert b"strict-transport-security: max-age=600" in sock.recv(4096)


def test_renewed_certificate_is_taken_without_dropping_a_stream(secure: Stack) -> None:
    """A new file and a reload: new connections see it, a stream that was open before ends as it would have."""
    first = certificate(secure)
    with connect(secure) as sock:
        sock.sendall(head(CHAT, f"content-length: {len(BODY)}") + BODY)
        with contextlib.closing(http.client.HTTPResponse(sock)) as response:
            response.begin()
            began = response.read(9)
            shutil.copy(self_signed(secure.folder, "second.test"), secure.folder / "tls.pem")
            assert secure.edge.process
            secure.edge.process.send_signal(signal.SIGUSR2)
            wait_until(lambda: certificate(secure) not in {first, b""}, "the new certificate is shown")
            assert (began + response.read()).count(b"data:") == 10


def test_end_of_the_certificate_in_use_can_be_asked_at_the_edge(secure: Stack) -> None:
    """The very second that the certificate says, by its file's name: an alert can come before users notice."""
    known = Certificates(EdgeSocket(secure.config["runtime_socket"]))
    asyncio.run(known.look())
    shown = subprocess.run(
        ["openssl", "x509", "-noout", "-enddate", "-in", secure.folder / "tls.pem"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert known.ends == {"tls.pem": ssl.cert_time_to_seconds(shown.strip().partition("=")[2])}
    [family] = CertificateMetrics(known).collect()
    assert [(sample.labels, sample.value) for sample in family.samples] == [
        ({"certificate": "tls.pem"}, known.ends["tls.pem"])
    ]


def test_client_that_never_finishes_its_request_is_let_go(secure: Stack) -> None:
    """Neither half a head nor a head without its body holds a connection for long."""
    for start in (b"POST /v1/chat", head(CHAT, "content-length: 10")):
        with connect(secure) as sock:
            sock.sendall(start)
            assert sock.recv(4096).startswith(b"HTTP/1.1 408")
