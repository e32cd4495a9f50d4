"""Run tasks in a test host by entering its namespaces, where `docker exec` would ask Docker to do the same.

A task is a handful of commands, and asking Docker costs more processor time than most of them. What a command may do is
the same both ways: it gets the capabilities of the host's first process and no other, and joins the group of processes
whose devices are limited. Where this process cannot enter (not root, or Docker elsewhere) Docker is asked after all.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
name: entered
short_description: enter the namespaces of a container
description: [As above.]
author: Ironrack
options:
  container:
    description: The container's name.
    vars: [{name: inventory_hostname}]
  host:
    description: Number of its first process on this machine, and the container's id; whatever follows is for others.
    vars: [{name: entered_host}]
extends_documentation_fragment: [connection_pipelining]
"""

NAMESPACES = ("mount", "uts", "ipc", "net", "pid")
# Where the host's first process was told nothing else.
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
PROC = Path("/proc")
GROUPS = Path("/sys/fs/cgroup")


def capabilities(status: str) -> list[int]:
    """Numbers of the capabilities in the bounding set, from the text of /proc/PID/status."""
    found = re.search(r"^CapBnd:\s*([0-9a-f]+)", status, re.MULTILINE)
    mask = int(found[1], 16) if found else 0
    return [number for number in range(mask.bit_length()) if mask >> number & 1]


def device_group(groups: str) -> Path:
    """Folder of the group that limits devices, by /proc/PID/cgroup: of its own in version 1, else the one there is."""
    paths = {names: path for _, names, path in (line.split(":", 2) for line in groups.splitlines())}
    below = GROUPS / "devices" if "devices" in paths else GROUPS
    return below / paths.get("devices", paths.get("", "/")).lstrip("/")


def environment(block: bytes) -> dict[str, str]:
    """What Docker gives to a command in a container, by /proc/PID/environ of its first process; nothing of ours."""
    pairs = (entry.partition("=") for entry in block.decode(errors="replace").split("\0"))
    return ENVIRONMENT | {name: value for name, equals, value in pairs if name and equals}


def entering(process: int, container: str, command: str, proc: Path = PROC) -> tuple[list[str], dict[str, str]]:
    """What runs a shell command inside, and its environment; raises OSError where the process is another's."""
    seen = proc / str(process)
    groups = (seen / "cgroup").read_text()
    if not container or container not in groups:
        raise ProcessLookupError(f"process {process} is not of container {container}: its number was given away again")
    bounding = ["-all", *(f"+cap_{number}" for number in capabilities((seen / "status").read_text()))]
    inside = ["setpriv", f"--bounding-set={','.join(bounding)}", "--inh-caps=-all", "/bin/sh", "-c", command]
    enter = ["nsenter", f"--target={process}", *(f"--{name}" for name in NAMESPACES), "--", *inside]
    joined = f"echo 0 >{shlex.quote(str(device_group(groups) / 'cgroup.procs'))}; exec {shlex.join(enter)}"
    return ["/bin/sh", "-ec", joined], environment((seen / "environ").read_bytes())


class Connection(ConnectionBase):
    """Needs nothing to be opened or closed."""

    transport = "entered"
    has_pipelining = True

    def _connect(self) -> Connection:
        self._connected = True
        return self

    def close(self) -> None:
        """Nothing is held."""
        self._connected = False

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run a shell command in the host, with bytes for its standard input."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        done = self._run(cmd, input=in_data or b"")
        return done.returncode, done.stdout, done.stderr

    def put_file(self, in_path: str, out_path: str) -> None:
        """Write a file of this machine into the host."""
        super().put_file(in_path, out_path)
        with open(in_path, "rb") as file:
            self._whole(self._run(f"cat >{shlex.quote(out_path)}", stdin=file))

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Write a file of the host onto this machine."""
        super().fetch_file(in_path, out_path)
        Path(out_path).write_bytes(self._whole(self._run(f"cat {shlex.quote(in_path)}")))

    def _run(self, command: str, **standard_input: Any) -> subprocess.CompletedProcess[bytes]:
        argv, environment = self._argv(command)
        return subprocess.run(
            argv, env=environment, capture_output=True, check=False, **(standard_input or {"input": b""})
        )

    def _argv(self, command: str) -> tuple[Sequence[str], dict[str, str] | None]:
        try:
            if os.geteuid() == 0:
                process, container = str(self.get_option("host")).split()[:2]
                return entering(int(process), container, command)
        except (OSError, ValueError):
            pass  # Docker is on another machine, or the container is another: asked below
        return ["docker", "exec", "--interactive", str(self.get_option("container")), "/bin/sh", "-c", command], None

    def _whole(self, done: subprocess.CompletedProcess[bytes]) -> bytes:
        if done.returncode:
            host = self.get_option("container")
            raise AnsibleConnectionFailure(
                f"{host}: a file was not carried: {done.stderr.decode(errors='replace').strip()}"
            )
        return done.stdout
