"""Pages that exporters wrote elsewhere, served as if they were there now: counters grow a little with every read."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "fixtures" / "exposition"
# By job, the services whose pages stand for hardware and for features that a lab does not have.
HARDWARE = {"node": ("node-exporter",), "gpu": ("gpu-exporter",)}
FEATURES = {"engine-extras": ("engine-sim-0",), "router-extras": ("router",)}
_FILES = {
    "node-exporter": ("node-exporter.txt", "gpu-watcher.prom"),
    "gpu-exporter": ("dcgm-exporter.txt",),
    "engine-sim-0": ("vllm-extras.txt",),
    "router": ("router-extras.txt",),
}


def texts(growth: float = 0.01) -> dict[str, Callable[[], str]]:
    """Every page by the service that is said to write it. `growth` of a counter with each read, as a share."""
    return {service: _Page(growth, *names).text for service, names in _FILES.items()}


class _Page:
    """One service's page."""

    def __init__(self, growth: float, *names: str) -> None:
        self._growth = growth
        self._lines = "".join((FOLDER / name).read_text() for name in names).splitlines()
        self._counters = {line.split()[2] for line in self._lines if re.match(r"# TYPE \S+ counter", line)}
        self._reads = 0

    def text(self) -> str:
        """The page now."""
        self._reads += 1
        here = f"node_time_seconds {time.clock_gettime(time.CLOCK_REALTIME)}"
        more = [here] if any(line.startswith("node_") for line in self._lines) else []
        return "\n".join([*map(self._grown, self._lines), *more, ""])

    def _grown(self, line: str) -> str:
        name = re.split(r"[{ ]", line, maxsplit=1)[0]
        if name not in self._counters:
            return line
        sample, value = line.rsplit(" ", 1)
        return f"{sample} {float(value) * (1 + self._growth * self._reads)}"
