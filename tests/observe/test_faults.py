"""What observes may hang, lie, die or run out of disk: requests are served, and the alert says which part it was."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.observe.live import Observing, observing
from tests.observe.sinks import Hooks, hooks, toy
from tests.support.lab import started
from tests.support.load import Load, conversations, ends, load
from tests.support.until import until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(540)]
DISK_KIB = 4096


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Edge, router and two engines."""
    with started(tmp_path_factory.mktemp("lab") / "lab", 2, "--decode-seconds", "0.004") as report:
        yield report


@contextmanager
def _watching(folder: Path, lab: dict[str, Any], storage: Path | None = None) -> Iterator[tuple[Observing, Hooks]]:
    """Prometheus scrapes the lab, and the watchdog's switch listens."""
    with ExitStack() as stack:
        switch = stack.enter_context(hooks())
        watchdog = {"url": f"http://127.0.0.1:{switch.port}/watchdog", "every_seconds": 1}
        settings = {"alerts": {"watchdog": watchdog}}
        live = stack.enter_context(observing(folder, settings, storage=storage))
        live.targets("engines", **{each["name"]: _at(each["url"]) for each in lab["engines"]})
        live.targets("haproxy", edge=_at(lab["edge"]["metrics_url"]))
        live.targets("prometheus", prometheus=f"127.0.0.1:{live.ports['prometheus']}")
        live.start()
        yield live, switch


def _at(url: str) -> str:
    return urlsplit(url).netloc


@asynccontextmanager
async def _served(lab: dict[str, Any]) -> AsyncIterator[Load]:
    """Conversations all the while; none of their turns may fail."""
    async with load(lab["endpoint"], lab["model"]) as client:
        async with client.running(conversations(8, "watched"), pause=0.2):
            yield client
        assert client.outcomes
        assert ends(client.outcomes) == {"ok": len(client.outcomes)}


async def _goes_on(client: Load) -> None:
    await client.go_on(8)


async def test_targets_that_hang_or_lie_are_named(lab: dict[str, Any], tmp_path: Path) -> None:
    """One accepts and says nothing, one says what is no metrics: each has the alert that says so, and no other."""
    with _watching(tmp_path, lab) as (live, _), toy("hanging") as silent, toy("garbage") as liar:
        async with _served(lab) as client:
            live.targets("router", silent=silent.address, liar=liar.address)
            wanted = {("TargetHanging", "silent"), ("TargetGarbage", "liar")}
            await until(lambda: wanted <= live.firing(), "both alerts name their target", 40)
            await _goes_on(client)
        assert {(name, service) for name, service in live.firing() if service in {"silent", "liar"}} == wanted


async def test_a_prometheus_that_is_gone_or_frozen_is_missed(lab: dict[str, Any], tmp_path: Path) -> None:
    """Nobody inside can tell: the switch hears no sign of life any more, and serving does not notice."""
    with _watching(tmp_path, lab) as (live, switch):
        async with _served(lab) as client:
            await until(lambda: bool(switch.heard), "the switch hears a sign of life", 40)
            with live.prometheus.frozen():
                await until(lambda: not live.firing(), "its last alerts have run out", 40)
                silence = len(switch.heard)
                await _goes_on(client)
            await until(lambda: len(switch.heard) > silence, "it is back, and so are the signs", 40)
            live.prometheus.stop()
            await until(lambda: not live.firing(), "its last alerts have run out again", 40)
            await _goes_on(client)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that is soon full."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_KIB}k,mode=0777", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here ({done.stderr.strip()}): it runs as root, as in scripts/test")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _fill(disk: Path) -> Path:
    filler = disk / "weights"
    with filler.open("wb", buffering=0) as out:
        try:
            while out.write(b"\0" * 4096):
                pass
        except OSError:
            assert shutil.disk_usage(disk).free == 0
    return filler


async def test_a_full_disk_is_told_and_survived(lab: dict[str, Any], tmp_path: Path, small_disk: Path) -> None:
    """Nothing new is stored, and that is the alert; with room again metrics go on, and the alert is over."""
    with _watching(tmp_path, lab, storage=small_disk / "metrics") as (live, _):
        async with _served(lab) as client:
            await until(lambda: bool(live.query("up")), "the first samples are stored", 40)
            filler = _fill(small_disk)
            full = {"PrometheusNotStoring"}
            await until(lambda: full <= {name for name, _ in live.firing()}, "the alert leaves on a full disk", 60)
            await _goes_on(client)
            filler.unlink()
            await until(lambda: not full & {name for name, _ in live.firing()}, "with room again it is over", 60)
