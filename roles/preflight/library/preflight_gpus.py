#!/usr/bin/python
"""Ansible module: let the GPUs of each engine compute and reduce inside the engine's own image."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: preflight_gpus
short_description: Let the GPUs of each engine compute and reduce inside the engine's own image
description:
  - Runs a container for each group of GPUs and removes it. Nothing is pulled, nothing stays.
  - A group is left out, with the reason, where its image is not on the host or an engine uses its GPUs now.
options:
  groups:
    description: C(engine), C(image), C(gpus), C(ipc), C(shm_size) and C(ulimits) of each engine.
    type: list
    elements: dict
    required: true
  probe: {description: Text of the program to run., type: str, required: true}
  injection: {description: "How containers get GPUs: C(cdi) or C(runtime).", type: str, required: true}
  running: {description: Names of engines that run now., type: list, elements: str, default: []}
  timeout_seconds: {description: How long one group may take., type: int, required: true}
author: Ironrack
"""

RETURN = r"""
probes: {description: What each group answered, or why it was not asked., type: list, returned: always}
"""

START_SECONDS = 120  # a large image's first start reads gigabytes from disk
NAME = "ironrack-preflight"

Run = Callable[[Sequence[str], float], "tuple[int, str, str]"]


def run(argv: Sequence[str], timeout: float) -> tuple[int, str, str]:
    """Return code, output and errors; 124 when it took too long."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=timeout)
    except subprocess.TimeoutExpired:
        return 124, "", f"no answer within {timeout:g} s"
    except OSError as error:
        return 127, "", str(error)
    return done.returncode, done.stdout, done.stderr


def argv(group: Mapping[str, Any], probe: str, injection: str, seconds: int) -> list[str]:
    """The command that asks one group, with what its engine will have: memory, limits, GPUs, network."""
    gpus = [str(gpu) for gpu in group["gpus"]]
    limits = [f"--ulimit={name}={value}" for name, value in (group.get("ulimits") or {}).items()]
    shared = [f"--ipc={group['ipc']}"] if group.get("ipc") else []
    shared += [f"--shm-size={group['shm_size']}"] if group.get("shm_size") else []
    given = (
        [f"--device=nvidia.com/gpu={gpu}" for gpu in gpus]
        if injection == "cdi"
        else ["--runtime=nvidia", f"--env=NVIDIA_VISIBLE_DEVICES={','.join(gpus)}"]
    )
    # The program becomes a file inside the container, since each rank starts it again.
    start = "import os,sys; p='/tmp/gpu_probe.py'; open(p,'w').write(sys.argv[2]); "
    start += "os.execv(sys.executable,[sys.executable,p,sys.argv[1]])"
    return [
        *("docker", "run", "--rm", "--pull=never", "--network=host", f"--name={NAME}-{'-'.join(gpus)}"),
        *(*limits, *shared, *given, "--entrypoint=python3", group["image"], "-c", start, str(seconds), probe),
    ]


def ask(group: Mapping[str, Any], command: Sequence[str], seconds: int, runner: Run) -> dict[str, Any]:
    """One group's answer."""
    found = {"engine": group["engine"], "gpus": group["gpus"], "skipped": "", "error": "", "answer": None}
    code, out, err = runner(command, START_SECONDS + seconds)
    if code == 124:
        runner(["docker", "rm", "--force", next(word[7:] for word in command if word.startswith("--name="))], 30)
    try:
        return {**found, "answer": json.loads(out.strip().splitlines()[-1])}
    except (ValueError, IndexError):
        return {**found, "error": (err or out).strip()[-600:] or f"exit code {code}"}


def probes(values: Mapping[str, Any], runner: Run) -> list[dict[str, Any]]:
    """Every group, one after the other: two at once would share links and memory."""
    found, busy = [], {gpu for each in values["groups"] if each["engine"] in values["running"] for gpu in each["gpus"]}
    for group in values["groups"]:
        blank = {"engine": group["engine"], "gpus": group["gpus"], "error": "", "answer": None}
        if busy & set(group["gpus"]):
            found.append({**blank, "skipped": "an engine uses these GPUs now"})
        elif runner(["docker", "image", "inspect", "--format", "{{.Id}}", group["image"]], 60)[0]:
            found.append({**blank, "skipped": "the engine image is not on this host yet, and a check pulls nothing"})
        else:
            command = argv(group, values["probe"], values["injection"], values["timeout_seconds"])
            found.append(ask(group, command, values["timeout_seconds"], runner))
    return found


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "groups": {"type": "list", "elements": "dict", "required": True},
            "probe": {"type": "str", "required": True},
            "injection": {"type": "str", "required": True},
            "running": {"type": "list", "elements": "str", "default": []},
            "timeout_seconds": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, probes=probes(module.params, run))


if __name__ == "__main__":
    main()
