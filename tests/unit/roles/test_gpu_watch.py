"""The watcher on a host made of files: a pipe for the kernel's log, folders for GPUs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from roles.gpu_watch.files import gpu_watch
from roles.gpu_watch.files.gpu_watch import Watcher

ROOT = Path(__file__).resolve().parents[3]
FATAL = yaml.safe_load((ROOT / "hostplan" / "data" / "xids.yml").read_text())
SLOTS = ["0000:17:00.0", "0000:3b:00.0"]


class Host:
    """A host with two GPUs; `log` is what the kernel writes."""

    def __init__(self, root: Path) -> None:
        self.root, self.sequence = root, 0
        self.kernel_log = root / "kmsg"
        os.mkfifo(self.kernel_log)
        self.boot("a")
        for slot in SLOTS:
            self.plug(slot)
        self.config = {
            "root": str(root),
            "listen": "127.0.0.1:0",
            "gpus": 2,
            "state_directory": str(root / "state"),
            "textfile": str(root / "prom" / "gpu.prom"),
            "kernel_log": str(self.kernel_log),
            "interval_seconds": 0.05,
            "fatal": FATAL,
        }
        (root / "state").mkdir()
        # As the kernel does: somebody always holds the other end.
        self.writer = os.open(self.kernel_log, os.O_RDWR | os.O_NONBLOCK)

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def boot(self, name: str) -> None:
        self.sequence = 0
        self.write("proc/sys/kernel/random/boot_id", f"{name * 8}-0000\n")

    def plug(self, slot: str) -> None:
        (self.root / "proc/driver/nvidia/gpus" / slot).mkdir(parents=True, exist_ok=True)

    def pull(self, slot: str) -> None:
        (self.root / "proc/driver/nvidia/gpus" / slot).rmdir()

    def log(self, text: str, priority: int = 4) -> None:
        self.sequence += 1
        os.write(self.writer, f"{priority},{self.sequence},1000,-;{text}\n SUBSYSTEM=pci\n".encode())

    def xid(self, slot: str, number: int, text: str = "pid=1, words") -> None:
        self.log(f"NVRM: Xid (PCI:{slot[:-2]}): {number}, {text}")

    def metrics(self) -> dict[str, float]:
        lines = (self.root / "prom" / "gpu.prom").read_text().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    found = Host(tmp_path)
    yield found
    os.close(found.writer)


def looked(watcher: Watcher, times: int = 1) -> list[dict[str, Any]]:
    """What is held against GPUs after some looks."""
    for _ in range(times):
        watcher.look()
    found: list[dict[str, Any]] = json.loads(watcher.told)["faults"]
    return found


def test_a_healthy_host_has_nothing_to_say(host: Host) -> None:
    """Two of two GPUs, no fault, no XID."""
    assert looked(Watcher(host.config), 3) == []
    assert host.metrics() == {
        "ironrack_gpu_expected": 2,
        "ironrack_gpu_visible": 2,
        'ironrack_gpu_fault{gpu="0"}': 0,
        'ironrack_gpu_fault{gpu="1"}': 0,
        "ironrack_driver_mismatch": 0,
        "ironrack_reboot_required": 0,
    }


def test_a_fatal_xid_is_held_against_its_gpu_alone(host: Host) -> None:
    """With the number in the plan, the XID and the reason."""
    watcher = Watcher(host.config)
    host.xid(SLOTS[1], 79)
    (fault,) = looked(watcher)
    assert (fault["gpu"], fault["xid"], fault["why"]) == (1, 79, FATAL[79])
    assert host.metrics()['ironrack_gpu_xid_total{gpu="1",xid="79",fatal="1"}'] == 1
    assert host.metrics()['ironrack_gpu_fault{gpu="1"}'] == 1
    assert host.metrics()['ironrack_gpu_fault{gpu="0"}'] == 0


def test_an_xid_of_a_program_is_counted_and_held_against_nobody(host: Host) -> None:
    """31 and 43 end the program that caused them."""
    watcher = Watcher(host.config)
    for number in (31, 43, 43):
        host.xid(SLOTS[0], number)
    assert looked(watcher) == []
    assert host.metrics()['ironrack_gpu_xid_total{gpu="0",xid="43",fatal="0"}'] == 2


def test_a_log_that_cannot_be_read_is_told_once_and_read_when_it_can_be(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without it no XID is seen: whoever reads the journal has to know, but not every second."""
    hidden = host.kernel_log.rename(host.root / "hidden")
    watcher = Watcher(host.config)
    looked(watcher, 3)
    assert capsys.readouterr().err.count(str(host.kernel_log)) == 1
    hidden.rename(host.kernel_log)
    host.xid(SLOTS[1], 79)
    assert [fault["xid"] for fault in looked(watcher)] == [79]


@pytest.mark.parametrize("number", sorted(FATAL))
def test_every_fatal_xid_of_the_table_is_one(host: Host, number: int) -> None:
    """The table the role writes is the one preflight reads."""
    watcher = Watcher(host.config)
    host.xid(SLOTS[0], number)
    assert [each["xid"] for each in looked(watcher)] == [number]


def test_programs_cannot_forge_the_kernels_words(host: Host) -> None:
    """What is written to /dev/kmsg by a program has another facility."""
    watcher = Watcher(host.config)
    host.log("NVRM: Xid (PCI:0000:17:00): 79, forged", priority=12)
    assert looked(watcher) == []


def test_the_driver_says_what_a_gpu_needs_and_when_it_needs_nothing(host: Host) -> None:
    """XID 154 holds and forgets: a GPU that was reset is back without an operator."""
    watcher = Watcher(host.config)
    host.xid(SLOTS[0], 154, "GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)")
    host.xid(SLOTS[0], 79)
    assert len(looked(watcher)) == 2
    host.xid(SLOTS[0], 154, "GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)")
    assert looked(watcher) == []


def test_a_gpu_that_is_gone_is_held_and_keeps_its_number(host: Host) -> None:
    """The driver would call the second one the first now; the plan does not."""
    watcher = Watcher(host.config)
    looked(watcher)
    host.pull(SLOTS[0])
    assert looked(watcher) == []  # one look may meet the driver at work
    (fault,) = looked(watcher)
    assert (fault["gpu"], fault["xid"]) == (0, 0)
    assert host.metrics()["ironrack_gpu_visible"] == 1
    host.xid(SLOTS[1], 48)
    assert {each["gpu"] for each in looked(watcher)} == {0, 1}
    host.plug(SLOTS[0])
    assert {each["gpu"] for each in looked(watcher)} == {1}


def test_a_gpu_that_never_came_up_is_known_from_the_bus(host: Host) -> None:
    """The bus lists it, the driver does not."""
    host.pull(SLOTS[0])
    for slot in SLOTS:
        host.write(f"sys/bus/pci/devices/{slot}/vendor", "0x10de\n")
        host.write(f"sys/bus/pci/devices/{slot}/class", "0x030200\n")
    assert [each["gpu"] for each in looked(Watcher(host.config), 2)] == [0]


def test_a_fault_outlives_the_watcher_and_is_not_counted_twice(host: Host) -> None:
    """The kernel's log is read from its beginning again after a restart of the service."""
    host.xid(SLOTS[0], 79)
    (before,) = looked(Watcher(host.config))
    host.sequence = 0
    host.xid(SLOTS[0], 79)
    (after,) = looked(Watcher(host.config))
    assert after == before
    assert host.metrics()['ironrack_gpu_xid_total{gpu="0",xid="79",fatal="1"}'] == 1


def test_a_restart_of_the_host_clears_gpus_that_are_there(host: Host) -> None:
    """It has reset them; one that is still missing stays held."""
    host.xid(SLOTS[0], 79)
    host.xid(SLOTS[1], 48)
    assert len(looked(Watcher(host.config))) == 2
    host.pull(SLOTS[0])
    host.boot("b")
    assert [each["gpu"] for each in looked(Watcher(host.config))] == [0]


def test_an_operator_clears_one_gpu_or_all(host: Host) -> None:
    """Through the command on the host, which needs root's folder."""
    config = host.root / "config.json"
    config.write_text(json.dumps(host.config))
    watcher = Watcher(host.config)
    for slot in SLOTS:
        host.xid(slot, 79)
    assert len(looked(watcher)) == 2
    assert gpu_watch.main(["--config", str(config), "--clear", "1"]) == 0
    assert [each["gpu"] for each in looked(watcher)] == [0]
    assert gpu_watch.main(["--config", str(config), "--clear", "all"]) == 0
    assert looked(watcher) == []


def test_a_broken_memory_is_a_new_host(host: Host) -> None:
    """Never a service that does not start."""
    (host.root / "state" / "state.json").write_text('{"boot": 1, "fau')
    assert looked(Watcher(host.config)) == []


def test_driver_mismatch_and_reboot_are_told(host: Host) -> None:
    """The libraries on disk are newer than the module that runs."""
    host.write(
        "proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release"
    )
    host.write("usr/lib/x86_64-linux-gnu/libnvidia-ml.so.580.105.08", "")
    host.write("run/reboot-required", "")
    looked(Watcher(host.config))
    assert host.metrics()["ironrack_driver_mismatch"] == 1
    assert host.metrics()["ironrack_reboot_required"] == 1


def test_what_is_remembered_is_bounded(host: Host) -> None:
    """A GPU in a loop of new XIDs fills nothing."""
    watcher = Watcher(host.config)
    for number in range(1000):
        watcher.xid(SLOTS[0], number, "")
        watcher.hold(SLOTS[0], 1000 + number, "x")
    assert len(watcher.memory.xids) == gpu_watch.MOST_SERIES
    assert len(watcher.memory.faults) == gpu_watch.MOST_FAULTS


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "JSON"), ("{}", "fatal, gpus, interval_seconds"), (None, "No such file")],
)
def test_a_configuration_that_is_wrong_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, words: str
) -> None:
    """In one line, with exit code 2."""
    path = tmp_path / "c.json"
    if text is not None:
        path.write_text(text)
    assert gpu_watch.main(["--config", str(path), "--check"]) == 2
    assert words in capsys.readouterr().err


def until(holds: Callable[[], Any]) -> Any:
    """What holds in the end, within a minute."""
    late = time.monotonic() + 60
    while time.monotonic() < late:
        found = holds()
        if found:
            return found
        threading.Event().wait(0.02)
    raise AssertionError("it never held")


def test_the_service_answers_and_ends_when_told(host: Host) -> None:
    """As systemd starts it: one process, an answer within a second of the kernel's line, SIGTERM."""
    config = host.root / "config.json"
    config.write_text(json.dumps(host.config))
    argv = [sys.executable, str(ROOT / "roles/gpu_watch/files/gpu_watch.py"), "--config", str(config)]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        port = re.search(r":(\d+)$", process.stderr.readline().strip())
        assert port
        base = f"http://127.0.0.1:{port[1]}"

        def faults() -> Any:
            with urllib.request.urlopen(f"{base}/faults", timeout=5) as answer:
                return json.load(answer)["faults"]

        assert faults() == []
        host.xid(SLOTS[0], 119)
        assert [each["gpu"] for each in until(faults)] == [0]
        process.terminate()
        assert process.wait(10) == 0
