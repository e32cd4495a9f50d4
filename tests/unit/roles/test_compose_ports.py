"""Ports: whoever holds one is named, ours are ours."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from roles.compose.library import compose_ports as ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def service(port: int, address: str = "127.0.0.1") -> dict[str, Any]:
    return {"name": "edge", "kind": "edge", "ports": [{"name": "http", "address": address, "port": port}]}


def test_port_held_by_another_process_is_named_with_holder_and_setting(taken: int) -> None:
    """The message says where, who, what is needed and which setting changes it."""
    (text,) = ports.problems([service(taken)], running=[])
    assert text.startswith(f"edge: 127.0.0.1:{taken} (http): already taken by ")
    assert f"(pid {os.getpid()})" in text
    assert text.endswith("change stack_edge.bind_port")


def test_port_of_our_own_running_service_is_no_problem(taken: int) -> None:
    """A second run finds the stack on its ports."""
    assert ports.problems([service(taken)], running=["edge"]) == []


def test_free_port_is_no_problem(taken: int) -> None:
    """Trying a port leaves it free."""
    free = service(taken)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free["ports"][0]["port"] = probe.getsockname()[1]
    assert ports.problems([free], running=[]) == []
    assert ports.problems([free], running=[]) == []


def test_address_of_another_host_is_named() -> None:
    """A stack_address that is not this host's would only show when the service starts."""
    (text,) = ports.problems([service(22400, address="192.0.2.1")], running=[])
    assert "this host has no such address" in text
