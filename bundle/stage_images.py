"""Images: pulled unless they are here, saved under the name hosts know them by, with the ids they have there."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

from bundle import program, sums
from bundle.folder import Folder
from bundle.manifest import BundleError, Image, slug
from bundle.needs import ImageNeed
from bundle.request import Request, asked

LABEL = "ironrack.sources"


def stage(folder: Folder, request: Request) -> list[str]:
    """Fetch the images that are not in the bundle; return their names."""
    return [need.reference for need in request.needs.images if _one(folder, need)]


def _one(folder: Folder, need: ImageNeed) -> bool:
    # A digest says what an image is; a name without one has to be looked up.
    question = asked(need.reference if "@sha256:" in need.reference else [need.reference, _identity(need.reference)])
    if folder.has("image", need.reference, question):
        return False
    identity = _identity(need.reference) or _pulled(need.reference)
    question = asked(need.reference if "@sha256:" in need.reference else [need.reference, identity])
    path = _saved(folder, need)
    ids, sources = described(path)
    files = sums.listed(folder.root, [path], need.reference)
    purpose = f"runs {', '.join(need.services) or 'checks'} on {', '.join(need.hosts)}"
    folder.add(
        Image(
            name=need.reference,
            purpose=purpose,
            asked=question,
            files=files,
            local=need.local,
            ids=ids,
            sources=sources,
        )
    )
    return True


def described(path: Path) -> tuple[list[str], str]:
    """The ids an image archive will have once loaded, and its label of sources; raises BundleError."""
    with tarfile.open(path) as archive:
        configuration = str(_json(archive, "manifest.json", path)[0]["Config"])
        text = _bytes(archive, configuration, path)
        ids = {f"sha256:{hashlib.sha256(text).hexdigest()}"}
        if "index.json" in archive.getnames():
            ids |= {str(each["digest"]) for each in _json(archive, "index.json", path)["manifests"]}
    labels = (json.loads(text).get("config") or {}).get("Labels") or {}
    return sorted(ids), str(labels.get(LABEL, ""))


def _json(archive: tarfile.TarFile, name: str, path: Path) -> Any:
    return json.loads(_bytes(archive, name, path))


def _bytes(archive: tarfile.TarFile, name: str, path: Path) -> bytes:
    try:
        member = archive.extractfile(name)
    except KeyError:
        member = None
    if member is None:
        raise BundleError([f"{path.name}: no {name} in it: an archive of `docker save` is needed; stage it again"])
    return member.read()


def _identity(reference: str) -> str | None:
    return program.ask(["docker", "image", "inspect", "--format", "{{.Id}}", reference])


def _pulled(reference: str) -> str | None:
    program.run(["docker", "pull", "--quiet", reference])
    return _identity(reference)


def _saved(folder: Folder, need: ImageNeed) -> Path:
    """The archive, written beside the bundle's own files and moved there whole."""
    path = folder.root / "images" / f"{slug(need.local)}.tar"
    path.parent.mkdir(exist_ok=True)
    unfinished = folder.scratch("images") / path.name
    borrowed = need.local != need.reference and _identity(need.local) is None
    if borrowed:
        program.run(["docker", "tag", need.reference, need.local])
    try:
        program.run(["docker", "save", "--output", str(unfinished), need.local])
    finally:
        if borrowed:
            program.run(["docker", "image", "rm", need.local])
    unfinished.chmod(0o644)
    return unfinished.replace(path)
