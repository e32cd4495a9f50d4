"""What is needed against what is listed, and what is listed against what was found: one sentence each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from bundle.manifest import File, Image, Manifest, Packages, Weights, Wheels
from bundle.needs import ImageNeed, Needs, PackagesNeed, WeightsNeed

AGAIN = "run playbooks/stage.yml with this inventory where there is a network"
COPY = "copy it again from where it was staged, or stage again"


class Found(NamedTuple):
    """What lies at a path: its size in bytes and SHA-256, the latter empty where the size already differs."""

    bytes: int
    sha256: str


def lacking(manifest: Manifest, needs: Needs, sources: str = "") -> list[str]:
    """Every part that is needed and not listed. `sources`: fingerprint of the router's sources in this checkout."""
    return [
        *_version(manifest, needs),
        *(line for need in needs.images for line in _image(manifest, need, sources)),
        *(line for need in needs.weights for line in _weights(manifest, need)),
        *(line for need in needs.packages for line in _packages(manifest, need)),
    ]


def wanted_parts(manifest: Manifest, needs: Needs) -> list[Image | Packages | Wheels | Weights]:
    """The listed parts that are needed."""
    chosen = [image_part(manifest, need.local) for need in needs.images]
    keys = [("weights", need.name) for need in needs.weights]
    keys += [("packages", need.platform) for need in needs.packages]
    return [part for part in [*chosen, *(manifest.part(*key) for key in keys)] if part is not None]


def image_part(manifest: Manifest, local: str) -> Image | None:
    """The image that hosts know by this name."""
    return next((part for part in manifest.parts if isinstance(part, Image) and part.local == local), None)


def differing(files: Iterable[File], found: Mapping[str, Found]) -> list[str]:
    """Every file that is missing or is not what the manifest says, with what was expected and what was found."""
    return [line for line in (difference(file, found.get(file.path)) for file in files) if line]


def difference(file: File, found: Found | None) -> str:
    """The sentence about one file, or an empty text where it is as it should be."""
    expected = f"sha256 {file.sha256} ({size(file.bytes)}) is expected"
    if found is None:
        return f"bundle: {file.path}: missing: {expected}; {COPY}"
    if found.bytes != file.bytes:
        return f"bundle: {file.path}: {found.bytes} bytes were found: {file.bytes}, {expected}; {COPY}"
    if found.sha256 != file.sha256:
        return f"bundle: {file.path}: sha256 {found.sha256} was found: {expected}; {COPY}"
    return ""


def size(count: int) -> str:
    """Bytes for people, with one digit behind the point."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def summary(manifest: Manifest) -> list[str]:
    """One line per part with its size, and the sum."""
    rows = [(part.kind, part.name, len(part.files), sum(f.bytes for f in part.files)) for part in manifest.parts]
    lines = [f"{kind:9} {size(count):>9}  {files:5} files  {name}" for kind, name, files, count in rows]
    total = sum(count for *_, count in rows)
    return [*lines, f"{'together':9} {size(total):>9}  {sum(files for _, _, files, _ in rows):5} files"]


def _version(manifest: Manifest, needs: Needs) -> list[str]:
    if manifest.product == needs.product:
        return []
    return [f"bundle: it is for version {manifest.product}: this is {needs.product}; {AGAIN}"]


def _image(manifest: Manifest, need: ImageNeed, sources: str) -> list[str]:
    part = image_part(manifest, need.local)
    if part is None:
        return [f"bundle: no image {need.reference}: {_hosts(need.hosts)} need it ({_words(need.services)}); {AGAIN}"]
    if need.build and sources and part.sources and part.sources != sources:
        found = f"built from other sources ({part.sources}): this checkout's are {sources}"
        return [f"bundle: image {need.local}: {found}; {AGAIN}"]
    return []


def _weights(manifest: Manifest, need: WeightsNeed) -> list[str]:
    # A folder on the engine hosts may have been put there by hand: the engines' own check says whether it is there.
    if need.source.startswith("/") or isinstance(manifest.part("weights", need.name), Weights):
        return []
    return [f"bundle: no weights of {need.name}: {_words(need.models)} on {_hosts(need.hosts)} need them; {AGAIN}"]


def _packages(manifest: Manifest, need: PackagesNeed) -> list[str]:
    part = manifest.part("packages", need.platform)
    if not isinstance(part, Packages):
        return [f"bundle: no packages for {need.platform}: {_hosts(need.hosts)} need them; {AGAIN}"]
    absent = sorted(set(need.packages) - set(part.packages))
    return (
        [f"bundle: packages for {need.platform}: {_words(absent)} missing: {_hosts(need.hosts)} need them; {AGAIN}"]
        if absent
        else []
    )


def _hosts(names: Sequence[str]) -> str:
    return ", ".join(names) or "hosts"


def _words(names: Sequence[str]) -> str:
    return ", ".join(names) or "the inventory"
