"""What routes: each subject planned in front of engines that others started."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.bench.engines.remote import wait_measured, wait_ready
from tests.bench.engines.tables import OURS
from tests.bench.errors import BenchError
from tests.bench.overhead import subjects
from tests.bench.overhead.subjects import Bench, Subject, Wanted
from tests.lab import topology
from tests.lab.errors import LabError
from tests.lab.launch import haproxy
from tests.support.lab import free_span

_BELIEVED_RATE = 20_000.0  # tokens per second, until a router has measured
_BARE: Mapping[str, Sequence[str]] = {
    "round robin": subjects.ROUND_ROBIN,
    "least connections": ("balance leastconn",),
    "hash of the session": ("balance hdr(x-session-id)", "hash-type consistent"),
}


def prepare(
    wanted: Wanted, model: str, engines: Sequence[str], names: Sequence[str], folder: Path, *, key: Path | None = None
) -> Bench:
    """Plan every subject that is named, else all, in front of `HOST:PORT` of engines. Raises BenchError.

    `key`: the file with the engines' own.
    """
    try:
        edge = haproxy(wanted.haproxy)
        planned = replace(_lab(wanted, model, len(engines), edge, folder), engine_key_file=key)
        lab = _given(topology.design(planned), engines)
    except LabError as problem:
        raise BenchError(str(problem)) from problem
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    for path, text in lab.files.items():
        path.write_text(text)
    found = [
        replace(subjects.ironrack(lab), name=OURS),
        *(subjects.bare(name, edge[0], lab, engines, balance=rule) for name, rule in _BARE.items()),
        *(subjects.peer(wanted, policy, folder, engines, min(lab.ports)) for policy in wanted.peers),
    ]
    return Bench(folder, (), chosen(found, names))


def chosen(found: Sequence[Subject], names: Sequence[str]) -> list[Subject]:
    """Those that are named, in the order of all; all for no name. Raises BenchError."""
    known = [one.name for one in found]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BenchError(f"--subjects {', '.join(unknown)}: {', '.join(known)} are allowed; peers need their --peer")
    return [one for one in found if not names or one.name in names]


@contextmanager
def started(bench: Bench, subject: Subject) -> Iterator[bool]:
    """A subject that routes to every engine, gone after the block; whether it has measured all that it wants to."""
    measured = True
    with subjects.started(bench, subject, ()):
        if subject.name == OURS:
            for router in subject.commands[0]:
                admin = router.ready_url.rpartition("/")[0]
                wait_ready(admin)
                measured &= wait_measured(admin, _BELIEVED_RATE)
        yield measured


def readdressed(files: Mapping[Path, str], others: Mapping[str, str]) -> dict[Path, str]:
    """Every file with each address in place of the one it stands for, all at once: they may be each other's."""
    pattern = re.compile("|".join(rf"(?<![\d.]){re.escape(one)}(?!\d)" for one in others))
    return {path: pattern.sub(lambda found: others[found[0]], text) for path, text in files.items()}


def _given(lab: topology.Lab, engines: Sequence[str]) -> topology.Lab:
    planned = [command.ready_url.split("/")[2] for command in lab.engines]
    return replace(lab, files=readdressed(lab.files, dict(zip(planned, engines, strict=True))))


def _lab(wanted: Wanted, model: str, engines: int, edge: tuple[str, str], folder: Path) -> topology.Wanted:
    return topology.Wanted(
        engines=engines,
        port=free_span(),
        model=model,
        haproxy=edge[0],
        haproxy_version=edge[1],
        prefill_rate=_BELIEVED_RATE,
        decide_milliseconds=500,
        engine_options=(),
        state=folder,
        calibrate=True,
        compiled=wanted.compiled,
    )
