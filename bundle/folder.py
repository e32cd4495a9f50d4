"""A bundle on disk: its manifest, which parts are whole, and what is in it that nobody listed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from bundle import compare, manifest, sums
from bundle.manifest import NAME, BundleError, Image, Manifest, Packages, Weights, Wheels

SCRATCH = ".unfinished"


class Folder:
    """The bundle at `root`; `new` is the manifest of an empty one. Raises BundleError where the manifest is damaged."""

    def __init__(self, root: Path, new: Manifest) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        path = root / NAME
        read = manifest.loads(path.read_text(encoding="utf-8"), str(path)) if path.exists() else new
        self.manifest = read.model_copy(update={"product": new.product})

    def scratch(self, name: str) -> Path:
        """A folder for what is on its way; it outlives an interruption, so that downloads are taken up again."""
        path = self.root / SCRATCH / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def has(self, kind: str, name: str, asked: str) -> bool:
        """Whether this part was asked for in the same words and every file of it is whole."""
        part = self.manifest.part(kind, name)
        if part is None or part.asked != asked:
            return False
        return not compare.differing(part.files, sums.found(self.root, part.files))

    def add(self, part: Image | Packages | Wheels | Weights) -> None:
        """List a finished part."""
        self.save(self.manifest.having(part))

    def save(self, changed: Manifest) -> None:
        """Write the manifest in one step, only where it differs."""
        self.manifest = changed
        path, text = self.root / NAME, manifest.dumps(changed)
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return
        fresh = path.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)

    def strays(self) -> list[Path]:
        """Files that the manifest does not list."""
        known = {self.root / file.path for file in self.manifest.files()} | {self.root / NAME}
        return [
            path for path in sorted(self.root.rglob("*")) if (path.is_file() or path.is_symlink()) and path not in known
        ]

    def sweep(self, wanted: Iterable[tuple[str, str]]) -> list[str]:
        """Forget parts nobody wants, remove what is not listed; return what was removed, as paths below the bundle."""
        self.save(self.manifest.only(wanted))
        gone = self.strays()
        for path in gone:
            path.unlink()
        for path in sorted((path for path in self.root.rglob("*") if path.is_dir()), reverse=True):
            if not os.listdir(path):
                path.rmdir()
        return [path.relative_to(self.root).as_posix() for path in gone]

    def verify(self) -> None:
        """Raise BundleError naming every file that is not what the manifest says."""
        files = list(self.manifest.files())
        problems = compare.differing(files, sums.found(self.root, files))
        if problems:
            raise BundleError(problems)
