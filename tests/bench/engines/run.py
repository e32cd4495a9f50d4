"""Every workload on every subject, each started anew for each repeat, in random order."""

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.engines import remote
from tests.bench.engines.measured import Measurement, measured
from tests.bench.engines.subjects import prepare, started
from tests.bench.engines.tables import report
from tests.bench.engines.traffic import WORKLOADS, Traffic
from tests.bench.errors import BenchError
from tests.bench.overhead.subjects import Bench, Subject, ran
from tests.bench.overhead.subjects import Wanted as Started
from tests.bench.progress import Bar, progress
from tests.bench.report import Report
from tests.lab.launch import haproxy
from tests.lab.processes import ROOT

_GRACE_SECONDS = 120.0
_URL = "http://127.0.0.1:{port}/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to measure. `traffic`: fields of `Traffic` for every workload; `started`: how subjects are.

    `key_file`: holds the engines' API key, where they want one.
    """

    engines: Sequence[str]
    model: str | None = None
    subjects: Sequence[str] = ()
    workloads: Sequence[str] = tuple(WORKLOADS)
    traffic: Mapping[str, Any] = field(default_factory=dict)
    repeats: int = 2
    seed: int = 1
    started: Started = field(default_factory=Started)
    key_file: Path | None = None


@dataclass(slots=True)
class _Run:
    """A benchmark under way. `missed`: what could not be measured, and why; `empty`: whether caches may be emptied.

    `calibrated`: whether our router has measured every engine before each load.
    """

    wanted: Wanted
    model: str
    bases: Sequence[str]
    bench: Bench
    key: str = field(default="", repr=False)
    found: list[Measurement] = field(default_factory=list)
    missed: list[tuple[str, str]] = field(default_factory=list)
    empty: bool = True
    calibrated: bool = True

    def subject(self, subject: Subject, repeat: int, bar: Bar) -> None:
        """Every workload on one subject."""
        with self._noted(f"start of {subject.name}"), started(self.bench, subject) as calibrated:
            self.calibrated &= calibrated
            for workload in self.wanted.workloads:
                bar.say(f"{subject.name} {workload}")
                with self._noted(f"{subject.name}, {workload}"):
                    self._once(subject, workload, repeat)
                bar.step(subject.name)

    def _once(self, subject: Subject, workload: str, repeat: int) -> None:
        remote.settle(self.bases)
        self.empty &= remote.reset(self.bases)
        traffic = self._traffic(subject.name, workload, repeat)
        self.found.append(measured(subject.name, traffic, repeat, self._load(traffic, subject.port)))

    def _load(self, traffic: Traffic, port: int) -> dict[str, Any]:
        return _load({"url": _URL.format(port=port), "engines": self.bases, "key": self.key}, traffic)

    @contextmanager
    def _noted(self, what: str) -> Iterator[None]:
        """One that cannot be measured does not cost what was measured of the others."""
        try:
            yield
        except BenchError as problem:
            self.missed.append((what, str(problem)))

    def _traffic(self, subject: str, workload: str, repeat: int) -> Traffic:
        shape = f"{self.wanted.seed}/{repeat}/{workload}"
        return Traffic(workload, self.model, shape, f"{shape}/{subject}", **self.wanted.traffic)


def run(wanted: Wanted) -> Report:
    """Measure and report. Raises BenchError."""
    _check(wanted)
    engines = remote.addresses(wanted.engines)
    bases = [f"http://{one}" for one in engines]
    key = remote.key(wanted.key_file)
    model = remote.model(bases, wanted.model, key)
    remote.check_counters(bases)
    with tempfile.TemporaryDirectory() as folder:
        bench = prepare(wanted.started, model, engines, wanted.subjects, Path(folder), key=wanted.key_file)
        going = _Run(wanted, model, bases, bench, key)
        _all(going)
    if not going.found:
        raise BenchError("; ".join(f"{what}: {why}" for what, why in going.missed))
    names = [one.name for one in bench.subjects]
    raw = [asdict(one) for one in going.found]
    return report(going.found, names, _settings(going), raw, going.missed)


def _all(going: _Run) -> None:
    wanted, every = going.wanted, list(going.bench.subjects)
    order = random.Random(wanted.seed)
    with progress("engines", wanted.repeats * len(every) * len(wanted.workloads)) as bar:
        for repeat in range(wanted.repeats):
            for subject in order.sample(every, len(every)):
                going.subject(subject, repeat, bar)


def _check(wanted: Wanted) -> None:
    unknown = [name for name in wanted.workloads if name not in WORKLOADS]
    if unknown or not wanted.workloads:
        raise BenchError(f"--workloads {', '.join(unknown) or 'none'}: {', '.join(WORKLOADS)} are allowed; name these")
    for name, value in {**wanted.traffic, "repeats": wanted.repeats}.items():
        least = 0 if name in {"system", "history", "think", "warm"} else 1 if isinstance(value, int) else 0.001
        if value < least:
            raise BenchError(f"--{name} {value}: at least {least} is allowed; give more")


def _load(settings: Mapping[str, Any], traffic: Traffic) -> dict[str, Any]:
    asked = json.dumps({**settings, "traffic": asdict(traffic)})
    argv = [sys.executable, "-m", "tests.bench.engines.client"]
    limit = traffic.ends + _GRACE_SECONDS
    try:
        done = subprocess.run(argv, cwd=ROOT, input=asked, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired as problem:
        raise BenchError(f"client: not over after {limit:g} s: see whether the engines still answer") from problem
    if done.returncode:
        raise BenchError(f"client: ended with {done.returncode}: {done.stderr.strip()[-500:]}: see the engines")
    return dict(json.loads(done.stdout))


def _settings(going: _Run) -> dict[str, Any]:
    wanted = going.wanted
    return {
        "engines": len(going.bases),
        "model": going.model,
        "caches": "emptied before each measurement" if going.empty else "not emptied, as engines do not allow it",
        **wanted.traffic,
        "repeats": wanted.repeats,
        "seed": wanted.seed,
        "haproxy": haproxy(wanted.started.haproxy)[1],
        "router": ran(wanted.started.compiled),
        "engines' prefill": "measured by the router" if going.calibrated else "not everywhere measured by the router",
    }
