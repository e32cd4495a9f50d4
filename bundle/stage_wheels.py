"""Wheels: the controlling machine's Python packages, each by its locked hash, for the Python that runs this."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from bundle import program, sums
from bundle.folder import Folder
from bundle.manifest import BundleError, Wheels
from bundle.request import Request, asked

ROOT = Path(__file__).resolve().parents[1]
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


def stage(folder: Folder, request: Request) -> list[str]:
    """Fetch the wheels unless they are in the bundle; return the Python version they were fetched for."""
    if not request.wheels_groups:
        return []
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    text = requirements(request.wheels_groups)
    question = asked([version, text])
    if folder.has("wheels", "controller", question):
        return []
    target, scratch = folder.root / "wheels", folder.scratch("wheels")
    (scratch / "requirements.txt").write_text(text)
    download(scratch)
    shutil.rmtree(target, ignore_errors=True)  # mostly there is none
    scratch.replace(target)
    if leftover := sorted(path.name for path in target.iterdir() if path.suffix not in {".whl", ".txt"}):
        raise BundleError(
            [f"wheels: {', '.join(leftover)}: only wheels can be installed without a compiler; report this"]
        )
    folder.add(
        Wheels(
            name="controller",
            purpose=f"scripts/bootstrap --bundle, with Python {version}",
            asked=question,
            files=sums.listed(folder.root, target.iterdir(), "the configured Python package index"),
            folder="wheels",
            requirements="wheels/requirements.txt",
            pythons=[version],
        )
    )
    return [f"Python {version}"]


def requirements(groups: list[str]) -> str:
    """The locked packages of some groups, with hashes; raises BundleError."""
    export = [uv(), "export", "--frozen", "--quiet", "--no-dev", "--no-emit-project", "--no-header", "--no-annotate"]
    return program.run([*export, *(part for group in groups for part in ("--group", group))], cwd=str(ROOT))


def download(target: Path) -> None:
    """Have pip fetch what requirements.txt in the folder names; it does not fetch again what lies there."""
    pip = [uv(), "tool", "run", "--python", sys.executable, "pip", "download", "--quiet", "--no-deps"]
    wanted = ["--require-hashes", "--only-binary", ":all:", "--find-links", str(target)]
    program.run(
        [*pip, *wanted, "--dest", str(target), "--requirement", str(target / "requirements.txt")], env=trusted()
    )


def uv(root: Path = ROOT) -> str:
    """The uv of this machine, else the one that scripts/bootstrap put beside the checkout, on nobody's path."""
    return shutil.which("uv") or str(root / ".uv" / "bin" / "uv")


def trusted() -> dict[str, str]:
    """Settings that have uv and pip trust whom this system trusts, a company's own authority too, unless told else."""
    names = ("SSL_CERT_FILE", "PIP_CERT") if AUTHORITIES.exists() else ()
    return {name: os.environ.get(name) or str(AUTHORITIES) for name in names}
