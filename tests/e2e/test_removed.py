"""The last of the stack's tests: what brought it takes it away, and leaves nothing of it."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from demo import docker
from demo.catalogue import ENGINE
from demo.paths import LOCAL_SETTINGS, STACK_ROOT
from tests.e2e.conftest import Demo, services
from tests.support.containers import docker as asked
from tests.support.processes import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

OURS = "label=com.docker.compose.project=ironrack"
CACHES, FIREWALL = Path("/var/lib/ironrack"), Path("/etc/systemd/system/ironrack-firewall.service")


def test_down_leaves_nothing_of_the_stack(brought_up: Demo) -> None:
    """No container, volume, network, file, firewall rule or open port; Docker stays, and the images if told."""
    assert services()
    urls = [brought_up.stack.endpoint, brought_up.stack.router, brought_up.stack.prometheus]
    urls += [engine.url for engine in brought_up.stack.engines]
    # Whoever builds host containers meanwhile needs some of the images.
    down = [str(ROOT / "scripts" / "down"), "--keep-images"]
    done = subprocess.run(down, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert services() == []
    for kind in ("volume", "network"):
        assert asked(kind, "ls", "--quiet", "--filter", OURS) == ""
    assert [path for path in (STACK_ROOT, CACHES, FIREWALL, LOCAL_SETTINGS) if path.exists()] == []
    assert [url for url in urls if _open(url)] == []
    assert docker.has(ENGINE.local) or docker.has(ENGINE.production)
    # Without nft no rule was ever loaded.
    if shutil.which("nft"):
        assert (
            "ironrack"
            not in subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
        )


def _open(url: str) -> bool:
    address = urlsplit(url)
    with socket.socket() as sock:
        sock.settimeout(3)
        return sock.connect_ex((address.hostname or "", address.port or 0)) == 0
