"""The few questions asked of Docker, through its command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from demo.console import Console, output


def answers() -> bool:
    """Whether a Docker daemon answers and Compose v2 is there."""
    return output(["docker", "info", "--format", "{{.ID}}"]) is not None and (
        output(["docker", "compose", "version", "--short"]) is not None
    )


def identity(image: str) -> str | None:
    """The id of a local image, None when it is not here."""
    found = output(["docker", "image", "inspect", "--format", "{{.Id}}", image])
    return found.strip() if found else None


def has(image: str) -> bool:
    """Whether the image is on this machine."""
    return identity(image) is not None


def label(image: str, name: str) -> str | None:
    """A label of a local image; None when the image or the label is missing."""
    found = output(["docker", "image", "inspect", "--format", "{{json .Config.Labels}}", image])
    labels: dict[str, str] = (json.loads(found) if found else None) or {}
    return labels.get(name)


def running(container: str) -> bool:
    """Whether a container runs."""
    return (
        output(["docker", "container", "inspect", "--format", "{{.State.Running}}", container]) or ""
    ).strip() == "true"


def healthy(container: str, image: str | None = None) -> bool:
    """Whether a container is healthy and, given an image, runs what that name means today."""
    found = output(["docker", "container", "inspect", "--format", "{{.State.Health.Status}} {{.Image}}", container])
    status, _, running = (found or "").strip().partition(" ")
    return status == "healthy" and (image is None or running == identity(image))


def build(console: Console, tag: str, context: Path, arguments: Mapping[str, str], labels: Mapping[str, str]) -> None:
    """Build an image, with BuildKit where the client has it and the classic builder where it has not."""
    flags = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
    flags += [part for name, value in labels.items() for part in ("--label", f"{name}={value}")]
    buildkit = output(["docker", "buildx", "version"]) is not None
    progress = ["--progress", "plain"] if buildkit else []
    console.stream(
        ["docker", "build", *progress, *flags, "--tag", tag, str(context)],
        env={"DOCKER_BUILDKIT": "1" if buildkit else "0", "NO_COLOR": "1"},
        every_seconds=2,
    )
