"""A GPU fails: the engines that use it, and no others, get nothing new, and nobody notices."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chaos.conftest import Start, drained_at_edge
from tests.lab.processes import ROOT
from tests.support.lab import Lab, free_span
from tests.support.load import conversations, ends
from tests.support.until import until

pytestmark = pytest.mark.lab
SLOTS = ["0000:17:00.0", "0000:3b:00.0"]


class Host:
    """A host with two GPUs made of files, and the real watcher on it."""

    def __init__(self, root: Path, port: int) -> None:
        self.root, self.url, self.sequence = root, f"http://127.0.0.1:{port}", 0
        for slot in SLOTS:
            (root / "proc/driver/nvidia/gpus" / slot).mkdir(parents=True)
        (root / "proc/sys/kernel/random").mkdir(parents=True)
        (root / "proc/sys/kernel/random/boot_id").write_text("aaaaaaaa-1")
        (root / "state").mkdir()
        os.mkfifo(root / "kmsg")
        config = {
            "root": str(root),
            "listen": f"127.0.0.1:{port}",
            "gpus": 2,
            "state_directory": str(root / "state"),
            "textfile": str(root / "gpu.prom"),
            "kernel_log": str(root / "kmsg"),
            "interval_seconds": 0.2,
            "fatal": yaml.safe_load((ROOT / "hostplan/data/xids.yml").read_text()),
        }
        (root / "config.json").write_text(json.dumps(config))

    def xid(self, gpu: int, number: int, text: str = "words") -> None:
        """Let the kernel say it."""
        self.sequence += 1
        line = f"4,{self.sequence},1,-;NVRM: Xid (PCI:{SLOTS[gpu][:-2]}): {number}, {text}\n"
        with (self.root / "kmsg").open("w") as log:
            log.write(line)


@contextmanager
def watched(root: Path, port: int) -> Iterator[Host]:
    """A host whose watcher runs."""
    host = Host(root, port)
    argv = [sys.executable, str(ROOT / "roles/gpu_watch/files/gpu_watch.py"), "--config", str(root / "config.json")]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "watching 2 GPUs" in process.stderr.readline()
        try:
            yield host
        finally:
            process.terminate()


def wire(lab: Lab, hosts: list[Host]) -> None:
    """Tell the router, through the file it follows, whose GPUs its engines use: one each, two engines a host."""
    path = lab.state / "router.yml"
    settings: dict[str, Any] = yaml.safe_load(path.read_text())
    for at, engine in enumerate(settings["engines"]):
        engine |= {"gpus": [at % 2], "gpu_watch": hosts[at // 2].url}
    beside = path.with_suffix(".new")
    beside.write_text(yaml.safe_dump(settings, sort_keys=False))
    beside.replace(path)


async def test_a_fatal_xid_drains_exactly_the_engines_on_that_gpu_and_never_the_last(
    start: Start, tmp_path: Path
) -> None:
    """Under load: no turn fails, the neighbours work on, the last engine of the model keeps working."""
    lab, load = await start(4, "--decode-seconds", "0.004")
    first = free_span()
    with watched(tmp_path / "a", first) as one, watched(tmp_path / "b", first + 1) as two:
        wire(lab, [one, two])
        names = list(lab.engines)

        async def draining(*wanted: str) -> None:
            async def so() -> bool:
                fleet = await lab.fleet()
                reasons = {name: engine["drain_reason"] for name, engine in fleet.items() if engine["draining"]}
                return reasons == dict.fromkeys(wanted, "gpu")

            await until(so, f"drained are {', '.join(wanted) or 'none'}")

        async with load.running(conversations(16, "s")):
            await until(lambda: len(load.outcomes) > 16, "the load runs")
            await asyncio.to_thread(one.xid, 1, 79)
            await draining(names[1])

            async def known() -> bool:
                return await drained_at_edge(lab) == {names[1]}

            await until(known, "the edge knows")
            await asyncio.to_thread(one.xid, 0, 48)
            await draining(names[0], names[1])
            await asyncio.to_thread(two.xid, 0, 79)
            await draining(*names[:3])
            await asyncio.to_thread(two.xid, 1, 79)
            count = len(load.outcomes)
            await until(lambda: len(load.outcomes) > count + 24, "turns go on at the last one")
            await draining(*names[:3])
            await asyncio.to_thread(one.xid, 1, 154, "GPU recovery action changed from 0x1 (Reset) to 0x0 (None)")
            # Another can take the last one's work now, and its GPU is broken all the same.
            await draining(names[0], names[2], names[3])
        assert ends(load.outcomes) == {"ok": len(load.outcomes)}
        await until(lab.idle, "no load is left at the router")
