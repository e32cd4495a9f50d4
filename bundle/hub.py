"""Files of a model at the hub: listed for one commit, taken up where a run stopped, held against the hub's sums."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from bundle import sums
from bundle.manifest import BundleError

CHUNK = 4 * 1024 * 1024
SECONDS = 60


@dataclass(frozen=True)
class Remote:
    """One file at the hub. `sha256` is empty for small files, of which the hub only tells git's own sum."""

    path: str
    bytes: int
    sha256: str
    git: str


@dataclass(frozen=True)
class Snapshot:
    """A model at one commit."""

    commit: str
    files: tuple[Remote, ...]


def snapshot(hub: str, source: str, revision: str, exclude: list[str]) -> Snapshot:
    """What the hub has of a model, without files that match one of `exclude`; raises BundleError."""
    where = f"{hub}/api/models/{source}/revision/{urllib.parse.quote(revision or 'main', safe='')}?blobs=true"
    with _open(where, source) as answer:
        found: dict[str, Any] = json.load(answer)
    files = tuple(_remote(each) for each in found["siblings"])
    return Snapshot(
        str(found["sha"]), tuple(file for file in files if not any(fnmatch(file.path, pattern) for pattern in exclude))
    )


def fetch(hub: str, source: str, commit: str, remote: Remote, target: Path) -> bool:
    """Bring one file to `target` unless it is there and whole; whether anything was fetched. Raises BundleError."""
    if target.exists() and whole(target, remote):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".part")
    _append(f"{hub}/{source}/resolve/{commit}/{urllib.parse.quote(remote.path)}", source, remote, partial)
    if not whole(partial, remote):
        partial.unlink()
        raise BundleError([f"{source}: {remote.path}: it arrived damaged: the hub's sum is expected; run it again"])
    partial.replace(target)
    return True


def whole(path: Path, remote: Remote) -> bool:
    """Whether a file is what the hub says: by SHA-256 where it tells one, else by git's sum of a blob."""
    if path.stat().st_size != remote.bytes:
        return False
    if remote.sha256:
        return sums.sha256(path) == remote.sha256
    data = path.read_bytes()
    return (
        not remote.git or hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == remote.git
    )


def _append(url: str, source: str, remote: Remote, partial: Path) -> None:
    before = partial.stat().st_size if partial.exists() else 0
    if before >= remote.bytes:
        before = 0
    with _open(url, source, {"Range": f"bytes={before}-"} if before else {}) as answer:
        # A server that ignores the range sends all of it.
        mode = "ab" if before and answer.status == 206 else "wb"
        with partial.open(mode) as out:
            while data := answer.read(CHUNK):
                out.write(data)


def _open(url: str, source: str, headers: dict[str, str] | None = None) -> Any:
    request = urllib.request.Request(url, headers=headers or {})
    if token := _token():
        # Not sent on to where the hub redirects: those addresses are signed, and belong to somebody else.
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        return urllib.request.urlopen(request, timeout=SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        remedy = "set HF_TOKEN to a token that may read it" if error.code in {401, 403} else "look at its name"
        raise BundleError([f"{source}: the hub answered {error.code}: the model must be readable; {remedy}"]) from None
    except OSError as error:
        raise BundleError(
            [f"{source}: {error}: the hub must be reachable; look at stage_hub_url and the network"]
        ) from None


def _token() -> str:
    if token := os.environ.get("HF_TOKEN", ""):
        return token
    path = os.environ.get("HF_TOKEN_PATH", "")
    return Path(path).read_text(encoding="utf-8").strip() if path and Path(path).exists() else ""


def _remote(data: dict[str, Any]) -> Remote:
    large = data.get("lfs") or {}
    path = str(data["rfilename"])
    if path.startswith("/") or ".." in path.split("/"):
        raise BundleError([f"{path}: a file of a model outside its folder: not allowed; do not trust this model"])
    return Remote(
        path, int(data.get("size") or 0), str(large.get("sha256", "")), "" if large else str(data.get("blobId", ""))
    )
