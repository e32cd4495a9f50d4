"""A flat apt repository's own files: Packages and Release, as text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

# A fixed day: the repository is told apart by its sums, and the same packages are the same bytes.
DATE = "Thu, 01 Jan 2026 00:00:00 UTC"


def packages(entries: Iterable[tuple[str, dict[str, str | int]]]) -> str:
    """Paragraphs in file order: each is a package's control text and what apt needs to fetch it."""
    return "\n".join(
        control.rstrip("\n") + "\n" + "".join(f"{key}: {value}\n" for key, value in fields.items())
        for control, fields in sorted(entries, key=lambda entry: str(entry[1]["Filename"]))
    )


def release(packages_text: str, platform: str) -> str:
    """The Release file over one Packages file. Unsigned: the bundle's manifest vouches for every file."""
    data = packages_text.encode()
    architecture = platform.rsplit("-", 1)[1]
    return (
        "Origin: Ironrack\nLabel: Ironrack bundle\nSuite: bundle\nCodename: bundle\n"
        f"Date: {DATE}\nArchitectures: {architecture} all\nDescription: packages for {platform}\n"
        f"SHA256:\n {hashlib.sha256(data).hexdigest()} {len(data)} Packages\n"
    )
