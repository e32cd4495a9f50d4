"""Running one workload against one port: wrk for as much as goes through, an own client for paced streams."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.bench.errors import BenchError
from tests.bench.overhead.workloads import Workload
from tests.support.processes import ROOT

_REQUESTS = re.compile(r"(\d+) requests in")
_BAD = re.compile(
    r"Non-2xx or 3xx responses: (\d+)|Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)"
)
_LUA = """\
local requests, at = {{}}, 0
function init(args)
  local file = io.open("{body}", "rb")
  local body = file:read("*a")
  file:close()
  for session = 1, {sessions} do
    local headers = {{ ["content-type"] = "application/json" }}
    if {named} then headers["x-session-id"] = "session-" .. session end
    requests[session] = wrk.format("POST", "/v1/chat/completions", headers, body)
  end
end
function request()
  at = at % {sessions} + 1
  return requests[at]
end
"""


@dataclass(frozen=True, slots=True)
class Sent:
    """What a load run achieved."""

    requests: int
    failed: int


def wrk() -> str:
    """The load generator. Raises BenchError when it is not installed."""
    found = shutil.which("wrk")
    if not found:
        raise BenchError(
            "wrk: not on PATH: the load generator is needed; install the distribution's: apt-get install wrk"
        )
    return found


def run(workload: Workload, port: int, seconds: float, folder: Path) -> Sent:
    """Send a workload to a port for about `seconds`."""
    return _streams(workload, port, seconds) if workload.streams else _wrk(workload, port, seconds, folder)


def _wrk(workload: Workload, port: int, seconds: float, folder: Path) -> Sent:
    body, script = folder / f"{workload.name}.json", folder / f"{workload.name}.lua"
    body.write_bytes(workload.body)
    named = "true" if workload.sessions else "false"
    script.write_text(_LUA.format(body=body, sessions=max(workload.sessions, 1), named=named))
    argv = [wrk(), "-t1", f"-c{workload.connections}", f"-d{max(round(seconds), 1)}s", "--timeout", "10s"]
    done = _said([*argv, "-s", str(script), f"http://127.0.0.1:{port}/v1/chat/completions"])
    found = _REQUESTS.search(done)
    if not found:
        raise BenchError(f"wrk: said {done[:200]!r}: a line `N requests in` was expected")
    bad = sum(int(number) for groups in _BAD.findall(done) for number in groups if number)
    return Sent(int(found[1]), bad)


def _streams(workload: Workload, port: int, seconds: float) -> Sent:
    rounds = max(round(seconds / (workload.chunks * workload.pace_milliseconds / 1000)), 1)
    numbers = (port, workload.streams, rounds, workload.chunks, workload.pace_milliseconds)
    done = _said([sys.executable, "-m", "tests.bench.overhead.client", *map(str, numbers)])
    return Sent(**json.loads(done))


def _said(argv: list[str]) -> str:
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise BenchError(f"{argv[0]}: ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout
