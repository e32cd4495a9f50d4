"""`python -m tests.observe.pictures`: the figures of docs/figures, from a lab under load that a Prometheus watches.

Four simulated engines, a real router and a real edge; conversations come and go, one engine dies and comes back. The
host is this machine where node-exporter is installed, else a recorded one; GPUs are recorded.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import requests

from observe.dashboards.__main__ import FIGURES
from observe.dashboards.pictures import draw_all
from tests.observe.lab import planned, rules_of, watched
from tests.observe.recorded import HARDWARE, texts
from tests.support import lab as labs
from tests.support import load as loads
from tests.support.processes import Child, free_ports, wait_until

ENGINES = 4
_ROUND_SECONDS = 15.0
_WELL = "ironrack_gpu_expected 2\nironrack_gpu_visible 2\nironrack_driver_mismatch 0\nironrack_reboot_required 0\n"


def main() -> int:
    """Draw, and say where."""
    parser = argparse.ArgumentParser(prog="tests.observe.pictures", description=__doc__)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--folder", type=Path, default=FIGURES)
    args = parser.parse_args()
    rules = rules_of(planned(ENGINES, gpus=1))
    with (
        tempfile.TemporaryDirectory() as folder,
        _host(Path(folder)) as host,
        watched(Path(folder), rules, ENGINES, texts(growth=0.0) | host, HARDWARE) as found,
    ):
        asyncio.run(_load(found.report, args.minutes * 60))
        for path in draw_all(found.prometheus, args.minutes * 60, args.folder):
            sys.stdout.write(f"{path}\n")
    return 0


@contextlib.contextmanager
def _host(folder: Path) -> Iterator[dict[str, Callable[[], str]]]:
    """The page of this machine's own exporter, with what a GPU watcher that saw nothing writes."""
    program = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")
    if not program:
        yield {}
        return
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}/metrics"
    child = Child([program, f"--web.listen-address=127.0.0.1:{port}"], folder / "node-exporter.log")
    child.start()
    try:
        wait_until(lambda: requests.get(url, timeout=5).ok, "node-exporter answers")
        yield {"node-exporter": lambda: requests.get(url, timeout=5).text + _WELL}
    finally:
        child.stop()


async def _load(report: Mapping[str, Any], seconds: float) -> None:
    """Waves of conversations; in the third quarter of the time one engine is gone."""
    clock = asyncio.get_running_loop().time
    began, down, wave = clock(), False, 0
    victim = report["engines"][-1]["name"]
    async with loads.load(str(report["endpoint"]), str(report["model"])) as load:
        while (passed := clock() - began) < seconds:
            gone = 0.5 < passed / seconds < 0.65
            if gone != down:
                await asyncio.to_thread(labs.run, "kill" if gone else "restart", victim, "--state", report["state"])
                down = gone
            wave += 1
            talks = loads.conversations(6 + 4 * (wave % 4), f"wave{wave}", words=400)
            talks += loads.conversations(3, f"plain{wave}", header="")
            async with load.running(talks, pause=0.4):
                await asyncio.sleep(_ROUND_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
