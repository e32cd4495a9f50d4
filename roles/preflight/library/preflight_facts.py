#!/usr/bin/python
"""Ansible module: what a host is and has, as raw facts; judging them is done elsewhere."""

from __future__ import annotations

import concurrent.futures
import glob
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: preflight_facts
short_description: What a host is and has, as raw facts
description:
  - Changes nothing and judges nothing. What cannot be found out is an empty text, an empty list or a null.
options:
  root: {description: Where the files of the host are; another folder only in tests., type: path, default: /}
  asked_at: {description: Unix time at which the controller asked., type: float, required: true}
  folders: {description: Folders whose free space is of interest, by name., type: dict, default: {}}
  images: {description: Images whose presence is of interest., type: list, elements: str, default: []}
  models: {description: Models whose configuration is of interest., type: list, elements: str, default: []}
  cache_directory: {description: Where weights from the hub are kept., type: path, default: /var/lib/ironrack}
  peers: {description: Addresses of other hosts with a port each., type: list, elements: dict, default: []}
  urls: {description: Registries and hubs whose answer is of interest., type: list, elements: str, default: []}
  timeout_seconds: {description: How long a peer or address may take to answer., type: int, default: 3}
author: Ironrack
"""

RETURN = r"""
facts: {description: Everything that was found., type: dict, returned: always}
"""

NVIDIA = "0x10de"
DISPLAY_CLASSES = ("0x0300", "0x0302")  # VGA and 3D controllers
BRIDGE_CLASS = "0x0680"  # an NVSwitch
MOST_LINES = 200


def ask(*argv: str, timeout: float = 60) -> str:
    """Standard output of a program, or an empty text when it fails or is not there."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=timeout, env={**os.environ, "LC_ALL": "C"}
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def read(path: Path) -> str:
    """A small file's text, or an empty one."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def system(root: Path) -> dict[str, Any]:
    """Distribution, kernel and processor."""
    pairs = (line.partition("=") for line in read(root / "etc/os-release").splitlines())
    release = {key: value.strip('"') for key, _, value in pairs}
    return {
        "os": release.get("ID", ""),
        "version": release.get("VERSION_ID", ""),
        "name": release.get("PRETTY_NAME", ""),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "dgx": (root / "etc/dgx-release").exists(),
        "iommu": any((root / "sys/class/iommu").glob("*")),
        "reboot_required": (root / "run/reboot-required").exists(),
    }


def pci(root: Path) -> dict[str, Any]:
    """NVIDIA's devices on the bus, whatever driver they have."""
    gpus, switches = [], 0
    for folder in sorted((root / "sys/bus/pci/devices").glob("*")):
        if read(folder / "vendor") != NVIDIA:
            continue
        kind = read(folder / "class")[:6]
        if kind in DISPLAY_CLASSES:
            gpus.append({"slot": folder.name, "device": read(folder / "device")})
        switches += kind == BRIDGE_CLASS
    return {"gpus": gpus, "nvswitches": switches}


def driver(root: Path) -> dict[str, Any]:
    """Versions of everything that must agree: the loaded module, the one on disk, the libraries, Fabric Manager."""
    found = {match[1] for path in libraries(root) if (match := re.search(r"\.so\.(\d+\.[\d.]+)$", path))}
    return {
        "loaded": read(root / "proc/driver/nvidia/version"),
        "on_disk": ask("modinfo", "-F", "version", "nvidia"),
        "libraries": sorted(found),
        "fabric_manager": ask("nv-fabricmanager", "--version"),
        "fabric_manager_state": ask(
            "systemctl", "show", "-p", "ActiveState", "--value", "nvidia-fabricmanager.service"
        ),
        "nouveau": (root / "sys/module/nouveau").exists(),
    }


def libraries(root: Path) -> list[str]:
    """Every copy of NVIDIA's management library with a version in its name."""
    places = ("usr/lib/*-linux-gnu", "usr/lib/*-linux-gnu/nvidia/current", "usr/lib64", "usr/local/nvidia/lib*")
    return [path for place in places for path in glob.glob(str(root / place / "libnvidia-ml.so.*.*"))]


def smi() -> dict[str, str]:
    """What nvidia-smi says of all GPUs, as XML, or why it says nothing."""
    try:
        done = subprocess.run(["nvidia-smi", "-q", "-x"], capture_output=True, text=True, check=False, timeout=120)
    except FileNotFoundError:
        return {"xml": "", "error": "nvidia-smi is not installed"}
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"xml": "", "error": f"nvidia-smi does not answer: {type(error).__name__}"}
    said = (done.stdout + done.stderr).strip()
    return {"xml": done.stdout, "error": ""} if done.returncode == 0 else {"xml": "", "error": said[-500:]}


def kernel_log() -> dict[str, Any]:
    """Lines of this boot that tell of GPU errors; `source` is empty where the log may not be read.

    The kernel's own lines alone: a program may write to the same log, and cannot write those.
    """
    own = "SYSLOG_FACILITY=0"
    text = ask("journalctl", "--dmesg", "--boot", "--no-pager", "--quiet", "--output", "short-unix", own)
    source = "journal" if text else ""
    if not text:
        text = ask("dmesg", "--kernel")
        source = "dmesg" if text else ""
    lines = [line for line in text.splitlines() if "NVRM:" in line]
    return {"source": source, "lines": lines[-MOST_LINES:]}


def containers() -> dict[str, Any]:
    """Docker and NVIDIA's toolkit."""
    text = ask("docker", "info", "--format", "{{json .}}")
    info = json.loads(text) if text.startswith("{") else {}
    toolkit = re.search(r"version (\d[\w.]*)", ask("nvidia-ctk", "--version"))
    return {
        "docker": info.get("ServerVersion") or "",
        "root": info.get("DockerRootDir") or "/var/lib/docker",
        "runtimes": sorted(info.get("Runtimes") or {}),
        "cdi": [each.get("ID", "") for each in info.get("DiscoveredDevices") or []],
        "mirrors": (info.get("RegistryConfig") or {}).get("Mirrors") or [],
        "toolkit": toolkit[1] if toolkit else "",
        "running": ask("docker", "ps", "--format", "{{.Names}}").split(),
    }


def image(reference: str) -> dict[str, Any]:
    """Whether an image is here, and what CUDA it brings."""
    text = ask("docker", "image", "inspect", "--format", "{{json .Config.Env}}", reference)
    env = dict(each.partition("=")[::2] for each in json.loads(text) or []) if text.startswith("[") else {}
    return {"present": bool(text), "cuda": env.get("CUDA_VERSION", "")}


def free(folder: str) -> dict[str, Any]:
    """Free bytes where a folder is, or will be."""
    path = Path(folder)
    while not path.exists():
        path = path.parent
    return {"path": folder, "free_bytes": shutil.disk_usage(path).free}


def model(source: str, cache: Path) -> dict[str, Any]:
    """A model's config.json and the bytes of its weights, as far as they are on this host."""
    folder = Path(source) if source.startswith("/") else snapshot(cache, source)
    if folder is None or not (folder / "config.json").exists():
        return {"config": None, "weights_bytes": None}
    index = read_json(folder / "model.safetensors.index.json")
    total = (index.get("metadata") or {}).get("total_size") if isinstance(index, dict) else None
    files = [path.stat().st_size for path in folder.glob("*.safetensors")]
    return {"config": read_json(folder / "config.json"), "weights_bytes": total or sum(files) or None}


def snapshot(cache: Path, source: str) -> Path | None:
    """The newest revision of a model in the hub's cache, or None."""
    found = sorted((cache / "huggingface/hub" / f"models--{source.replace('/', '--')}" / "snapshots").glob("*"))
    return max(found, key=lambda path: path.stat().st_mtime) if found else None


def read_json(path: Path) -> Any:
    """A file as JSON, or None."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def reach(peer: dict[str, Any], timeout: float) -> dict[str, Any]:
    """Whether a host answers at all: a refused connection is an answer, too."""
    try:
        socket.create_connection((peer["address"], int(peer["port"])), timeout=timeout).close()
    except ConnectionRefusedError:
        return {**peer, "ok": True, "why": ""}
    except OSError as error:
        return {**peer, "ok": False, "why": str(error) or type(error).__name__}
    return {**peer, "ok": True, "why": ""}


def web(url: str, timeout: float) -> dict[str, Any]:
    """Whether an address answers over HTTP, whatever it says."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=timeout).close()
    except urllib.error.HTTPError:
        return {"url": url, "ok": True, "why": ""}
    except (OSError, ValueError) as error:
        return {"url": url, "ok": False, "why": str(getattr(error, "reason", error))}
    return {"url": url, "ok": True, "why": ""}


def network(peers: list[dict[str, Any]], urls: list[str], timeout: float) -> dict[str, Any]:
    """All peers and addresses at once, since each silent one takes the whole time."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=16) as pool:
        reached = [pool.submit(reach, peer, timeout) for peer in peers]
        answered = [pool.submit(web, url, timeout) for url in urls]
        return {"peers": [each.result() for each in reached], "urls": [each.result() for each in answered]}


def clock(asked_at: float) -> dict[str, Any]:
    """This host's time beside the controller's when it asked; synchronised is yes, no, or empty where nobody knows."""
    return {
        "asked_at": asked_at,
        "at": time.time_ns() / 1e9,
        "synchronised": ask("timedatectl", "show", "-p", "NTPSynchronized", "--value"),
    }


def facts(values: dict[str, Any]) -> dict[str, Any]:
    """Everything."""
    root = Path(values["root"])
    now, bus, engines = clock(values["asked_at"]), pci(root), containers()
    has_driver = bool(bus["gpus"]) or shutil.which("nvidia-smi") is not None
    return {
        "clock": now,
        "system": system(root),
        "pci": bus,
        "driver": driver(root),
        "smi": smi() if has_driver else {"xml": "", "error": ""},
        "kernel_log": kernel_log() if has_driver else {"source": "", "lines": []},
        "containers": engines,
        "images": {name: image(name) for name in values["images"]},
        "disk": {name: free(folder) for name, folder in {"docker": engines["root"], **values["folders"]}.items()},
        "models": {name: model(name, Path(values["cache_directory"])) for name in values["models"]},
        "network": network(values["peers"], values["urls"], values["timeout_seconds"]),
    }


def main() -> None:
    """Entry point."""
    words = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": "/"},
            "asked_at": {"type": "float", "required": True},
            "folders": {"type": "dict", "default": {}},
            "images": words,
            "models": words,
            "cache_directory": {"type": "path", "default": "/var/lib/ironrack"},
            "peers": {"type": "list", "elements": "dict", "default": []},
            "urls": words,
            "timeout_seconds": {"type": "int", "default": 3},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, facts=facts(module.params))


if __name__ == "__main__":
    main()
