"""Every workload on every subject, repeats interleaved so that a busy moment of the machine hits all alike."""

import random
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.bench.errors import BenchError
from tests.bench.machine import cpu_seconds
from tests.bench.overhead import load
from tests.bench.overhead.measured import Measurement
from tests.bench.overhead.subjects import Bench, Running, Wanted, engines_up, prepare, ran, started
from tests.bench.overhead.tables import report
from tests.bench.overhead.workloads import WORKLOADS, Workload
from tests.bench.progress import progress
from tests.bench.report import Report
from tests.lab.launch import haproxy

_WARM_SECONDS = 1.0
_SHUFFLE_SEED = 7


def run(wanted: Wanted, names: Sequence[str], seconds: float, repeats: int) -> Report:
    """Measure and report. Raises BenchError."""
    load.wrk()
    workloads = [one for one in WORKLOADS if one.name in names]
    order = random.Random(_SHUFFLE_SEED)
    found: list[Measurement] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = prepare(wanted, Path(folder))
        total = repeats * len(bench.subjects) * len(workloads)
        with progress("overhead", total) as bar:
            for repeat in range(repeats):
                for subject in order.sample(list(bench.subjects), len(bench.subjects)):
                    # New engines each time: what one subject left behind is not the next one's load.
                    with engines_up(bench) as engines, started(bench, subject, engines) as running:
                        for workload in workloads:
                            bar.step(f"{subject.name} {workload.name}", 0)
                            load.run(workload, subject.port, _WARM_SECONDS, bench.folder)
                            found.append(_once(bench, running, workload, seconds, repeat))
                            bar.step(subject.name)
    settings = {
        "seconds": seconds,
        "repeats": repeats,
        "haproxy": haproxy(wanted.haproxy)[1],
        "engines": wanted.engines,
        "router": ran(wanted.compiled),
    }
    raw = [asdict(one) for one in found]
    return report(found, workloads, [one.name for one in bench.subjects], settings, raw)


def _once(bench: Bench, running: Running, workload: Workload, seconds: float, repeat: int) -> Measurement:
    before = {part: cpu_seconds(pids) for part, pids in running.pids.items()}
    sent = load.run(workload, running.subject.port, seconds, bench.folder)
    used = {part: cpu_seconds(pids) - before[part] for part, pids in running.pids.items()}
    if not sent.requests:
        raise BenchError(f"{running.subject.name}: {workload.name}: no request was answered: see what it logged")
    units = sent.requests * max(workload.chunks, 1)
    return Measurement(
        subject=running.subject.name,
        workload=workload.name,
        repeat=repeat,
        requests=sent.requests,
        failed=sent.failed,
        per_second=sent.requests / seconds,
        microseconds={part: 1e6 * spent / units for part, spent in used.items()},
    )
