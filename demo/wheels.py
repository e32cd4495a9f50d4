"""PyTorch's build for processors: where this machine's pip finds it, else PyTorch's own index, else none."""

from __future__ import annotations

import platform
from pathlib import Path

from demo.console import Console, StepError

PYTORCH_INDEX = "https://download.pytorch.org/whl/cpu"
PYTHON = "3.11"  # of the image's base, Debian 12


def ensure(console: Console, version: str, folder: Path) -> Path | None:
    """The wheel of torch `version`+cpu in `folder`, fetched if need be; None where no source has it.

    Without it the image takes the package index's build for GPUs: several gigabytes more, no other difference.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pattern = f"torch-{version}+cpu-*.whl"
    for source in ([], ["--index-url", PYTORCH_INDEX]):
        if found := sorted(folder.glob(pattern)):
            return found[0]
        try:
            console.stream(_download(version, folder, source), env={"PIP_RETRIES": "1"})
        except StepError as error:
            console.say(
                f"No CPU build of torch {version} from {source[-1] if source else 'the configured index'}: {error}"
            )
    return next(iter(sorted(folder.glob(pattern))), None)


def _download(version: str, folder: Path, source: list[str]) -> list[str]:
    platforms = [f"manylinux_2_28_{platform.machine()}", f"linux_{platform.machine()}"]
    target = ["--only-binary", ":all:", "--python-version", PYTHON, "--implementation", "cp"]
    target += [part for name in platforms for part in ("--platform", name)]
    pip = ["uv", "tool", "run", "pip", "download", "--no-deps", "--progress-bar", "off", *source]
    return [*pip, *target, "--dest", str(folder), f"torch=={version}+cpu"]
