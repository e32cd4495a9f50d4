"""Single runs: everything one needs to be repeated anywhere, and what it gave."""

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.errors import BenchError
from tests.bench.quality.ironrack import Deciders, Ironrack
from tests.bench.quality.measure import Quality, measure, moved
from tests.bench.quality.rules import RULES
from tests.bench.quality.trace import conversation
from tests.bench.quality.traffic import Traffic
from tests.bench.quality.workloads import WORKLOADS
from tests.bench.quality.world import Policy, World

OURS = "ironrack"
TRACE = "conversation"
RESIZED_AT, RESIZED_WITHIN = 100.0, 60.0


@dataclass(frozen=True, slots=True)
class Job:
    """One run. `resize`: the number of engines from the hundredth second on, 0 for no change."""

    workload: str
    rule: str
    seed: int
    scale: float = 1.0
    trace: str = ""
    deciders: Deciders = field(default_factory=Deciders)
    resize: int = 0


@dataclass(frozen=True, slots=True)
class Played:
    """What a job gave. `moved`: share of the sessions that changed engines at the hundredth second."""

    job: Job
    quality: Quality
    moved: float


def play(job: Job) -> Played:
    """Run a job. The same job gives the same figures."""
    traffic = _traffic(job)
    policy, why = _policy(job, traffic)
    world = World(traffic, policy)
    if job.resize:
        world.at(RESIZED_AT, lambda: world.resize(job.resize))
    requests = world.run()
    found = measure(requests, traffic.block_tokens, traffic.engines, why)
    return Played(job, found, moved(requests, RESIZED_AT, RESIZED_WITHIN))


def play_all(jobs: Iterable[Job], processes: int) -> Iterator[Played]:
    """Run jobs, several at once if so many processes are allowed; results in the order of the jobs."""
    if processes <= 1:
        yield from map(play, jobs)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(play, jobs)


def _traffic(job: Job) -> Traffic:
    if job.workload == TRACE:
        return conversation(Path(job.trace), job.seed, job.scale)
    make = WORKLOADS.get(job.workload)
    if make is None:
        known = ", ".join([*WORKLOADS, TRACE])
        raise BenchError(f"--workloads {job.workload}: no such workload: give some of {known}")
    return make(job.seed, job.scale)


def _policy(job: Job, traffic: Traffic) -> tuple[Policy, Counter[str]]:
    if job.rule == OURS:
        ours = Ironrack(traffic, job.deciders, job.seed)
        return ours, ours.why
    return RULES[job.rule](traffic), Counter()
