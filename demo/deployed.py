"""What is deployed on this machine, read from what the roles wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from demo.console import StepError
from demo.paths import STACK_ROOT


@dataclass(frozen=True)
class Engine:
    """One engine: its public name and its base URL."""

    name: str
    url: str


@dataclass(frozen=True)
class Stack:
    """Where to reach the parts of the running stack."""

    endpoint: str
    model: str
    engines: tuple[Engine, ...]
    router: str
    prometheus: str


def read(port: int, root: Path = STACK_ROOT) -> Stack:
    """The stack in use under `root`, whose edge listens on `port`."""
    router = _yaml(root / "config" / "router" / "router.yml")
    services = _yaml(root / "current" / "compose.yml")["services"]
    return Stack(
        endpoint=f"http://127.0.0.1:{port}",
        model=router["models"][0]["name"],
        engines=tuple(Engine(engine["name"], engine["url"]) for engine in router["engines"]),
        router=f"http://{router['listen']['http']}",
        prometheus=f"http://{_listen(services['prometheus']['command'])}",
    )


def _listen(command: list[str]) -> str:
    return next(word.split("=", 1)[1] for word in command if word.startswith("--web.listen-address="))


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StepError(f"{path}: no such file: the stack is not deployed here; run scripts/up") from None
