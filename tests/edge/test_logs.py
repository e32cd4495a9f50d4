"""One access line and one decision line for every request, joined as the reference page says."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.logs import json_lines
from tests.support.processes import ROOT, wait_until
from tests.support.stack import CHAT, Stack

Start = Callable[..., Stack]
PAGE = ROOT / "docs" / "reference" / "access-log.md"


def told_join() -> str:
    """The command that the page gives for joining the two logs."""
    blocks: list[str] = re.findall(r"```\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return next(block for block in blocks if "group_by" in block)


def joined(folder: Path) -> dict[str, dict[str, Any]]:
    """What that command prints, by request id, with Docker's logs taken from the test's files."""
    command = re.sub(r"docker logs (?:--\S+ \S+ )?(edge|router)", lambda m: f"cat {m[1]}.log", told_join())
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=True)
    return {line["id"]: line for line in map(json.loads, done.stdout.splitlines())}


def picked_of(stack: Stack, names: list[str]) -> list[dict[str, Any]]:
    """The joined lines of these requests; an empty one for what no log tells of yet."""
    lines = joined(stack.folder)
    return [lines.get(name, {}) for name in names]


def told_twice(line: dict[str, Any]) -> bool:
    """Whether a joined line has what only the edge writes, and what only the router does."""
    return {"server", "engine"} <= set(line)


def leave(stack: Stack, name: str) -> None:
    """Begin a request and hang up in the middle of its answer."""
    body = json.dumps(stack.question(chunks=1000, gap=0.01))
    headers = {"content-type": "application/json", "x-request-id": name}
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", stack.port, timeout=30)) as client:
        client.request("POST", CHAT, body, headers)
        client.getresponse().read(1)


def ask(stack: Stack, name: str, **wish: object) -> None:
    """One request under a name; whatever becomes of it."""
    with contextlib.suppress(http.client.HTTPException, OSError):  # some of them are cut or refused on purpose
        stack.post(stack.question(**wish), x_request_id=name, x_session_id="s")


def test_lines_of_every_kind_of_request_join_by_the_command_of_the_page(start: Start) -> None:
    """Served, refused by the router, retried, left by its client, broken off: one line each in both logs, joined."""
    stack = start({"tiny": 2, "org/big": 1})
    home = stack.chat("s").engine
    names = ["served", "refused", "retried", "cut", "left", "unknown-path"]
    ask(stack, "served")
    ask(stack, "refused", model="nobody")
    ask(stack, "retried", fail_on=[home], how="reset")
    ask(stack, "cut", fail_on=[stack.chat("s").engine], how="mid", chunks=10)
    leave(stack, "left")
    stack.post({}, path="/v1/nothing", x_request_id="unknown-path")
    wait_until(lambda: all(told_twice(line) for line in picked_of(stack, names)), f"both logs tell of {names}")
    lines = joined(stack.folder)

    def picked(name: str, *keys: str) -> list[Any]:
        return [lines[name].get(key) for key in keys]

    assert picked("served", "status", "why", "engine", "server") == [200, "home", home, home]
    assert lines["served"]["prompt_tokens"] > 0
    assert picked("refused", "status", "why", "engine") == [404, "refused", ""]
    assert lines["refused"].get("prompt_tokens") is None
    assert picked("retried", "status", "why", "chosen") == [200, "retry", home]
    assert (lines["retried"]["engine"] != home, lines["retried"]["cost_ms"] is not None) == (True, True)
    assert (lines["cut"]["state"][:2], lines["cut"]["status"]) == ("SD", 200)
    assert lines["left"]["state"][:1] == "C"
    assert lines["left"]["prompt_tokens"] > 0
    assert picked("unknown-path", "status", "decider", "engine") == [404, -1, ""]


def test_requests_that_share_an_id_are_told_apart(start: Start) -> None:
    """Clients may send one id for many requests: the lines pair by the edge's own name."""
    stack = start({"tiny": 1})
    for _ in range(3):
        ask(stack, "same")

    def pairs() -> set[tuple[str, int]]:
        text = [*stack.lines(), *json_lines(stack.folder / "router.log")]
        leases = [line["lease"] for line in text if line["id"] == "same"]
        return {(lease, leases.count(lease)) for lease in leases}

    wait_until(lambda: sorted(count for _, count in pairs()) == [2, 2, 2], "three pairs of lines")


def test_command_of_the_page_needs_no_quoting_tricks() -> None:
    """A person pastes it: it is one command line that a shell can read."""
    assert shlex.split(told_join(), comments=True)
