"""Sums of files, read once, on all cores."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bundle.compare import Found
from bundle.manifest import File


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits; raises OSError."""
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def listed(root: Path, paths: Iterable[Path], source: str) -> list[File]:
    """Files below a bundle as the manifest lists them, in the order of their paths."""
    ordered = sorted(paths)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        digests = list(pool.map(sha256, ordered))
    return [
        File(path=path.relative_to(root).as_posix(), sha256=digest, bytes=path.stat().st_size, source=source)
        for path, digest in zip(ordered, digests, strict=True)
    ]


def found(root: Path, files: Sequence[File]) -> dict[str, Found]:
    """What lies where a manifest says; a file of the wrong size is not read. Links are not followed out of a bundle."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda file: _found(root / file.path, file.bytes), files)
        return {file.path: result for file, result in zip(files, results, strict=True) if result is not None}


def _found(path: Path, expected: int) -> Found | None:
    try:
        count = path.stat().st_size
        return Found(count, sha256(path) if count == expected else "")
    except OSError:
        return None
