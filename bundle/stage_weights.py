"""Weights: a model of the hub as its cache is laid out, or a folder of this machine as it is."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from bundle import hub, sums
from bundle.folder import Folder
from bundle.manifest import BundleError, Weights, slug
from bundle.needs import WeightsNeed
from bundle.request import Request, asked

COMMIT = re.compile(r"[0-9a-f]{40}")


def stage(folder: Folder, request: Request) -> list[str]:
    """Fetch the weights that are not in the bundle; return their names. Folders not on this machine are left out."""
    return [need.name for need in request.needs.weights if _one(folder, need, request)]


def left_out(request: Request) -> list[str]:
    """Folders that the plan names and this machine does not have: they must be on the engine hosts already."""
    return [
        need.source
        for need in request.needs.weights
        if need.source.startswith("/") and not _here(need, request).is_dir()
    ]


def _here(need: WeightsNeed, request: Request) -> Path:
    return Path(request.weights_paths.get(need.source, need.source))


def _one(folder: Folder, need: WeightsNeed, request: Request) -> bool:
    if need.source.startswith("/"):
        return _here(need, request).is_dir() and _copied(folder, need, _here(need, request))
    question = asked([need.name, request.weights_exclude])
    if not request.refresh and folder.has("weights", need.name, question):
        return False
    return _fetched(folder, need, request, question)


def _fetched(folder: Folder, need: WeightsNeed, request: Request, question: str) -> bool:
    found = hub.snapshot(request.hub_url, need.source, need.revision, request.weights_exclude)
    target = f"models--{need.source.replace('/', '--')}"
    base = folder.root / "weights" / target
    wanted = {base / "snapshots" / found.commit / remote.path: remote for remote in found.files}
    for path, remote in wanted.items():
        hub.fetch(request.hub_url, need.source, found.commit, remote, path)
    files = list(wanted)
    if not COMMIT.fullmatch(need.revision):
        # Who asks for a branch offline looks up its commit here.
        ref = base / "refs" / (need.revision or "main")
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(found.commit)
        files.append(ref)
    source = f"{request.hub_url}/{need.source}"
    _add(folder, need, base, target, files, asked=question, source=source, commit=found.commit)
    return True


def _copied(folder: Folder, need: WeightsNeed, here: Path) -> bool:
    names = sorted(path.relative_to(here) for path in here.rglob("*") if path.is_file())
    if not names:
        raise BundleError([f"{here}: an empty folder: the model {need.source} is needed there; fill it, or remove it"])
    base = folder.root / "weights" / slug(need.source)
    question = asked([need.source, [[str(name), (here / name).stat().st_size] for name in names]])
    if folder.has("weights", need.name, question) and _same(here, base, names):
        return False
    for name in names:
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(here / name, base / name)
    _add(folder, need, base, need.source, [base / name for name in names], asked=question, source=str(here))
    return True


def _same(here: Path, base: Path, names: list[Path]) -> bool:
    return all(sums.sha256(here / name) == sums.sha256(base / name) for name in names)


def _add(folder: Folder, need: WeightsNeed, base: Path, target: str, files: list[Path], **told: str) -> None:
    folder.add(
        Weights(
            name=need.name,
            purpose=f"serves {', '.join(need.models)} on {', '.join(need.hosts)}",
            asked=told["asked"],
            files=sums.listed(folder.root, files, told["source"]),
            folder=base.relative_to(folder.root).as_posix(),
            target=target,
            commit=told.get("commit", ""),
        )
    )
