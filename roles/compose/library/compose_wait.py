#!/usr/bin/python
"""Ansible module: wait until containers are healthy, and name the first error of one that is not."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: compose_wait
short_description: Wait until containers are healthy, and name the first error of one that is not
description:
  - Ends as soon as every container is healthy (or runs, when it has no health check).
  - Fails at once when a container ends, is unhealthy, or starts again and again; else at the deadline.
options:
  names: {description: Containers to wait for., type: list, elements: str, required: true}
  timeout_seconds: {description: Deadline for all of them together., type: int, required: true}
  restarts: {description: Restarts that are still taken for a slow start., type: int, default: 2}
author: Ironrack
"""

RETURN = r"""
waited_seconds: {description: How long it took., type: float, returned: success}
images: {description: What each container was made of, by its name., type: dict, returned: success}
"""

ERROR = re.compile(
    r"\b(error|exception|fatal|alert|denied|cannot|failed|killed|no such)\b|Error\b|\[ALERT\]", re.IGNORECASE
)
# Lines that only frame an error: what follows them says more.
FRAME = re.compile(r"Traceback \(most recent call last\)|^\s*File \"")
TAIL_LINES = 15
LOG_BYTES = 4_000_000


class Seen(NamedTuple):
    """One look at a container. `health` is empty without a health check; `image`: as the Compose file named it."""

    status: str
    health: str
    restarts: int
    exit_code: int
    image: str = ""


def verdict(seen: Seen | None, restarts: int) -> str:
    """`ready`, `starting`, or in words what is wrong."""
    if seen is None:
        return "there is no such container"
    if seen.restarts > restarts:
        return f"started {seen.restarts + 1} times, the last time it ended with {seen.exit_code}"
    if seen.status in {"exited", "dead"}:
        return f"ended with {seen.exit_code}"
    if seen.health == "unhealthy":
        return "runs but its health check fails"
    return "ready" if seen.status == "running" and seen.health in {"", "healthy"} else "starting"


def first_error(log: str) -> str:
    """The first line that reads like an error: later ones are mostly its echo."""
    lines = [line.strip() for line in log.splitlines()]
    return next((line for line in lines if ERROR.search(line) and not FRAME.search(line)), "")


def report(name: str, what: str, log: str) -> str:
    """What a person needs: which container, what happened, the first error, the last lines."""
    tail = "\n  ".join(log.splitlines()[-TAIL_LINES:])
    first = first_error(log)
    return (
        f"{name}: {what}"
        + (f"; first error: {first}" if first else "")
        + (f"\n  {tail}" if tail else "; it logged nothing")
    )


def parse(text: str) -> dict[str, Seen]:
    """`docker inspect` output by container name."""
    return {
        item["Name"].lstrip("/"): Seen(
            item["State"]["Status"],
            item["State"].get("Health", {}).get("Status", ""),
            item["RestartCount"],
            item["State"]["ExitCode"],
            item.get("Config", {}).get("Image", ""),
        )
        for item in json.loads(text or "[]")
    }


def inspect(names: list[str]) -> dict[str, Seen]:
    """Look at the containers; absent ones are left out."""
    # Docker prints what it found and exits 1 when one is missing.
    done = subprocess.run(["docker", "inspect", *names], capture_output=True, text=True, check=False)
    return parse(done.stdout)


def logs(name: str) -> str:
    """What a container wrote, both streams, at most a few megabytes of its beginning and end."""
    done = subprocess.run(["docker", "logs", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    text = done.stdout.decode(errors="replace")
    return text if len(text) <= LOG_BYTES else text[: LOG_BYTES // 2] + text[-LOG_BYTES // 2 :]


def wait(names: list[str], timeout_seconds: float, restarts: int) -> tuple[bool, dict[str, str]]:
    """Poll until all are ready, one is beyond hope, or time is up: (all ready, verdict by name)."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        seen = inspect(names) if names else {}
        verdicts = {name: verdict(seen.get(name), restarts) for name in names}
        hopeless = [what for what in verdicts.values() if what not in {"ready", "starting"}]
        if hopeless or all(what == "ready" for what in verdicts.values()):
            return not hopeless, verdicts
        if time.monotonic() > deadline:
            return False, verdicts
        time.sleep(0.5)


def summary(verdicts: Mapping[str, str], waited_seconds: float, log: Callable[[str], str]) -> str:
    """Every container beyond hope with its log; those that only start are named, since they may wait for the others."""
    late = [name for name, what in verdicts.items() if what == "starting"]
    bad = {name: what for name, what in verdicts.items() if what not in {"ready", "starting"}}
    if not bad:
        bad, late = dict.fromkeys(late, f"not ready after {waited_seconds:.0f} s"), []
    lines = [report(name, what, log(name)) for name, what in bad.items()]
    return "\n".join([*lines, *([f"still starting: {', '.join(late)}"] if late else [])])


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "timeout_seconds": {"type": "int", "required": True},
            "restarts": {"type": "int", "default": 2},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=False, skipped=True)
    started = time.monotonic()
    good, verdicts = wait(module.params["names"], module.params["timeout_seconds"], module.params["restarts"])
    waited = round(time.monotonic() - started, 1)
    if good:
        images = {name: seen.image for name, seen in inspect(module.params["names"]).items()}
        module.exit_json(changed=False, waited_seconds=waited, images=images)
    module.fail_json(msg=summary(verdicts, waited, logs))


if __name__ == "__main__":
    main()
