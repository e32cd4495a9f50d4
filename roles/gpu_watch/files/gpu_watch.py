#!/usr/bin/python3
"""Watches the GPUs of this host: fatal XIDs in the kernel's log, and GPUs that are gone.

    gpu_watch.py --config FILE             watch until stopped
    gpu_watch.py --config FILE --clear N   forget what is held against GPU N (`all`: against every one)

What it finds it says in two places: as a file for node-exporter, and at `GET /faults`, where every router asks once a
second. A fault stays until an operator clears it, until the host has started again and the GPU is there, or until the
driver says that the GPU needs nothing any more. So the answer is a state, not an event: who asks late misses nothing.
Needs Python's own library alone, reads only what the kernel wrote, and touches no GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import json
import os
import re
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

MOST_SERIES = 512  # GPUs times XIDs that are counted
MOST_FAULTS = 256
OCTETS = 8192  # more than one record of /dev/kmsg
KERNEL = 8  # priorities below are the kernel's own; what programs write there has a higher one
RECOVERY = 154
_RECORD = re.compile(r"^(\d+),(\d+),[^;]*;(.*)$")
_XID = re.compile(r"NVRM: Xid \((?:PCI:)?([0-9a-fA-F]{4,8}):([0-9a-fA-F]{2}):([0-9a-fA-F]{2})(?:\.[0-9])?\): (\d+)(.*)")
_NOTHING_TO_DO = re.compile(r"to 0x0\b|\(None\)\s*$")
_VERSION = re.compile(r"Kernel Module(?: for \S+)?\s+(\d+\.[\d.]+)")
_LIBRARY = re.compile(r"\.so\.(\d+\.[\d.]+)$")


@dataclass
class Fault:
    """What is held against one GPU. `boot`: the start of the host it happened in; `id` names it once and for all."""

    gpu: int
    slot: str
    id: str
    xid: int
    why: str
    since: float
    boot: str


@dataclass
class Memory:
    """What outlives a restart of this program. `slots`: the GPUs by index, as they were when all were there."""

    boot: str = ""
    sequence: int = -1
    counted: int = 0
    slots: list[str] = field(default_factory=list)
    faults: dict[str, Fault] = field(default_factory=dict)
    xids: dict[str, int] = field(default_factory=dict)


class Watcher:
    """Reads, remembers, and says. One thread changes it; the one that answers reads `told` alone."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.root = Path(config.get("root", "/"))
        self.folder = Path(config["state_directory"])
        self.fatal = {int(number): why for number, why in config["fatal"].items()}
        self.memory = recalled(self.folder / "state.json")
        self.told = b"{}"
        self.missed: dict[str, int] = {}
        self.log: int | None = None
        self.deaf = ""
        self.rest = b""
        self.begin()

    # ------------------------------------------------------------------------------------------------------ the start

    def begin(self) -> None:
        """A host that has started again has reset its GPUs: what is held against one that is there is over."""
        boot = self.text("proc/sys/kernel/random/boot_id")
        memory = self.memory
        if boot != memory.boot:
            here = set(self.visible())
            memory.faults = {key: each for key, each in memory.faults.items() if each.slot not in here}
            memory.boot, memory.sequence, memory.xids = boot, -1, {}
        self.learn()

    def learn(self) -> None:
        """Which slot is which GPU: as the driver orders them when it sees all, else as the bus does."""
        expected = self.config["gpus"]
        for slots in (self.visible(), self.memory.slots, self.on_bus()):
            if len(slots) >= expected:
                self.memory.slots = slots
                return

    # ---------------------------------------------------------------------------------------------------- what is here

    def text(self, path: str) -> str:
        """A small file, or nothing."""
        try:
            return (self.root / path).read_text(errors="replace").strip()
        except OSError:
            return ""

    def visible(self) -> list[str]:
        """Slots of the GPUs that the driver knows, in the order of their indices."""
        folder = self.root / "proc/driver/nvidia/gpus"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def on_bus(self) -> list[str]:
        """Slots of the GPUs on the bus, whatever drives them."""
        found = []
        for folder in sorted((self.root / "sys/bus/pci/devices").glob("*")):
            with contextlib.suppress(OSError):  # a device may leave the bus while this looks
                kind = (folder / "class").read_text().strip()[:6]
                if (folder / "vendor").read_text().strip() == "0x10de" and kind in ("0x0300", "0x0302"):
                    found.append(folder.name)
        return found

    def mismatch(self) -> bool:
        """Whether the loaded module and the libraries on disk are of different versions."""
        running = _VERSION.search(self.text("proc/driver/nvidia/version"))
        places = ("usr/lib/*-linux-gnu", "usr/lib/*-linux-gnu/nvidia/current", "usr/lib64")
        files = [path.name for place in places for path in self.root.glob(f"{place}/libnvidia-ml.so.*.*")]
        versions = {found[1] for name in files if (found := _LIBRARY.search(name))}
        return running is not None and bool(versions) and running[1] not in versions

    # ----------------------------------------------------------------------------------------------- the kernel's log

    def read(self) -> None:
        """Everything the kernel wrote since the last look; why it cannot be read is said once."""
        try:
            self.drain()
        except OSError as error:
            if self.log is not None:
                os.close(self.log)
                self.log = None
            why = error.strerror or repr(error)
            if why != self.deaf:
                say(f"{self.config['kernel_log']}: {why}: root must be able to read it; until then no XID is seen")
            self.deaf = why
        else:
            self.deaf = ""

    def drain(self) -> None:
        """Read until the kernel has no more; raises OSError when its log cannot be opened or read."""
        if self.log is None:
            self.log = os.open(self.config["kernel_log"], os.O_RDONLY | os.O_NONBLOCK)
        while True:
            try:
                octets = os.read(self.log, OCTETS)
            except BlockingIOError:
                return  # all of it is read
            except BrokenPipeError:
                continue  # the kernel's buffer turned over: the next record is the oldest it still has
            if not octets:
                return
            *lines, self.rest = (self.rest + octets).split(b"\n")
            for line in lines:
                self.record(line.decode(errors="replace"))

    def record(self, line: str) -> None:
        """One record of the log; those of an earlier run of this program are known."""
        found = _RECORD.match(line)
        if not found or int(found[1]) >= KERNEL or int(found[2]) <= self.memory.sequence:
            return
        self.memory.sequence = int(found[2])
        xid = _XID.search(found[3])
        if xid:
            self.xid(f"{xid[1][-4:]}:{xid[2]}:{xid[3]}.0".lower(), int(xid[4]), xid[5])

    def xid(self, slot: str, number: int, text: str) -> None:
        """Count it, and hold it against the GPU if it is fatal."""
        why = self.fatal.get(number, "")
        if number == RECOVERY and _NOTHING_TO_DO.search(text):
            self.forget(slot)
        elif number == RECOVERY:
            why = "the driver asks for a reset or a reboot"
        gpu = self.index(slot)
        key = f"{gpu if gpu >= 0 else slot},{number},{int(bool(why))}"
        if key in self.memory.xids or len(self.memory.xids) < MOST_SERIES:
            self.memory.xids[key] = self.memory.xids.get(key, 0) + 1
        if why:
            self.hold(slot, number, why)

    # ---------------------------------------------------------------------------------------------------------- faults

    def index(self, slot: str) -> int:
        """The GPU's number in the plan, -1 for one that is not part of it."""
        return self.memory.slots.index(slot) if slot in self.memory.slots else -1

    def hold(self, slot: str, number: int, why: str) -> None:
        """Hold a fault against a GPU; one that is known stays what it was."""
        key = f"{slot},{number}"
        if key in self.memory.faults or len(self.memory.faults) >= MOST_FAULTS:
            return
        self.memory.counted += 1
        name, now = f"{self.memory.boot[:8]}-{self.memory.counted}", time.time_ns() / 1e9
        gpu = self.index(slot)
        self.memory.faults[key] = Fault(gpu, slot, name, number, why, now, self.memory.boot)
        say(f"GPU {gpu} ({slot}): {f'XID {number}: ' if number else ''}{why}")

    def forget(self, slot: str = "", number: int | None = None) -> None:
        """Hold nothing against a GPU any more, or not this; without a slot against none."""
        kept = {
            key: each
            for key, each in self.memory.faults.items()
            if (slot and each.slot != slot) or (number is not None and each.xid != number)
        }
        if kept != self.memory.faults:
            say(f"GPU {self.index(slot) if slot else 'all'}: nothing is held against it any more")
        self.memory.faults = kept

    def count(self) -> None:
        """A GPU that is not there in two looks in a row is gone; one that is back is back."""
        here = set(self.visible())
        for slot in self.memory.slots[: self.config["gpus"]]:
            self.missed[slot] = 0 if slot in here else self.missed.get(slot, 0) + 1
            if self.missed[slot] >= 2:
                self.hold(slot, 0, "the driver does not see it")
            elif slot in here and f"{slot},0" in self.memory.faults:
                self.forget(slot, 0)

    def obey(self) -> None:
        """What an operator cleared: files named by GPU in a folder of root's."""
        for path in self.folder.glob("clear-*"):
            gpu = path.name.partition("-")[2]
            slots = self.memory.slots
            if gpu == "all":
                self.forget()
            elif gpu.isdigit() and int(gpu) < len(slots):
                self.forget(slots[int(gpu)])
            path.unlink(missing_ok=True)

    # ----------------------------------------------------------------------------------------------------- what is said

    def look(self) -> None:
        """One round: read, count, obey, and say."""
        if len(self.memory.slots) < self.config["gpus"]:
            self.learn()
        self.read()
        self.count()
        self.obey()
        self.told = json.dumps(self.answer()).encode()
        written(Path(self.config["textfile"]), self.metrics())
        written(self.folder / "state.json", json.dumps(asdict(self.memory)))

    def answer(self) -> dict[str, Any]:
        """What routers are told."""
        faults = [
            {"gpu": each.gpu, "id": each.id, "xid": each.xid, "why": each.why, "since": each.since}
            for each in self.memory.faults.values()
            if each.gpu >= 0
        ]
        return {"version": 1, "gpus": self.config["gpus"], "faults": faults}

    def metrics(self) -> str:
        """What node-exporter is told."""
        bad = {each.gpu for each in self.memory.faults.values()}
        xids = [(key.split(","), count) for key, count in sorted(self.memory.xids.items())]
        series = {
            "gpu_expected gauge GPUs the plan says this host has.": [("", self.config["gpus"])],
            "gpu_visible gauge GPUs the driver knows.": [("", len(self.visible()))],
            "gpu_fault gauge 1 while something fatal is held against a GPU.": [
                (f'{{gpu="{gpu}"}}', int(gpu in bad)) for gpu in range(self.config["gpus"])
            ],
            "gpu_xid_total counter XIDs in the kernel's log since the host started.": [
                (f'{{gpu="{gpu}",xid="{number}",fatal="{fatal}"}}', count) for (gpu, number, fatal), count in xids
            ],
            "driver_mismatch gauge 1 when the loaded driver is not the installed one.": [("", int(self.mismatch()))],
            "reboot_required gauge 1 when something installed waits for a restart of the host.": [
                ("", int((self.root / "run/reboot-required").exists()))
            ],
        }
        return "".join(family(head, rows) for head, rows in series.items())


def family(head: str, rows: list[tuple[str, int]]) -> str:
    """One metric in Prometheus' text format; `head` is its name, kind and help text."""
    name, kind, text = head.split(" ", 2)
    lines = [f"# HELP ironrack_{name} {text}", f"# TYPE ironrack_{name} {kind}"]
    return "\n".join([*lines, *(f"ironrack_{name}{labels} {value}" for labels, value in rows)]) + "\n"


def recalled(path: Path) -> Memory:
    """What an earlier run remembered; a file that cannot be read is a host that is new."""
    try:
        found = json.loads(path.read_text())
        faults = {key: Fault(**each) for key, each in found.pop("faults").items()}
        return Memory(**found, faults=faults)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Memory()


def written(path: Path, text: str) -> None:
    """Replace a file whole, so that nobody reads half of it; one that says the same stays."""
    with contextlib.suppress(OSError):  # none yet, or none that can be read: written anew
        if path.read_text() == text:
            return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.new")
        beside.write_text(text)
        beside.chmod(0o644)
        beside.replace(path)
    except OSError as error:
        say(f"{path}: cannot be written ({error}): a full or read-only disk; routers are still told")


def say(text: str) -> None:
    """One line for the journal."""
    print(text, file=sys.stderr, flush=True)


class Door(http.server.BaseHTTPRequestHandler):
    """`GET /faults` and `GET /healthz`; nothing can be changed from here."""

    watcher: Watcher
    timeout = 2

    def do_GET(self) -> None:
        """Answer with what was told last."""
        known = {"/faults": self.watcher.told, "/healthz": b'{"status": "ok"}'}
        body = known.get(self.path, b'{"error": "allowed are /faults and /healthz"}')
        self.send_response(200 if self.path in known else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody needs a line a second."""


def serve(watcher: Watcher, stop: threading.Event) -> None:
    """Watch and answer until stopped."""
    address, _, port = watcher.config["listen"].rpartition(":")
    watcher.look()
    door = http.server.ThreadingHTTPServer((address, int(port)), type("Bound", (Door,), {"watcher": watcher}))
    door.daemon_threads = True
    threading.Thread(target=door.serve_forever, daemon=True).start()
    say(f"watching {watcher.config['gpus']} GPUs, answering at {address}:{door.server_address[1]}")
    while not stop.wait(watcher.config["interval_seconds"]):
        watcher.look()
    door.shutdown()


def main(argv: list[str] | None = None) -> int:
    """Entry point; 2 when the command line or the configuration is wrong."""
    parser = argparse.ArgumentParser(prog="gpu_watch", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--clear", metavar="GPU", help="a GPU's number, or all")
    parser.add_argument("--check", action="store_true", help="read the configuration and stop")
    options = parser.parse_args(argv)
    try:
        config = json.loads(options.config.read_text())
        missing = {"listen", "gpus", "state_directory", "textfile", "kernel_log", "interval_seconds", "fatal"} - set(
            config
        )
        if missing:
            raise ValueError(f"{', '.join(sorted(missing))} must be there")
    except (OSError, ValueError) as error:
        say(f"{options.config}: {error}: JSON as the role gpu_watch writes it is allowed; deploy again")
        return 2
    if options.check:
        return 0
    if options.clear:
        if options.clear != "all" and not options.clear.isdigit():
            say(f"--clear: found {options.clear!r}: allowed are a GPU's number and all")
            return 2
        (Path(config["state_directory"]) / f"clear-{options.clear}").touch()
        return 0
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    serve(Watcher(config), stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
