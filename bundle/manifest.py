"""The one list of everything in a bundle: files with sums and sizes, grouped by what they are for."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

NAME = "manifest.json"
FORMAT = 1


class BundleError(Exception):
    """A bundle that cannot be used or filled. `problems` holds one sentence each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path or "\n" in path:
        raise ValueError("a path inside the bundle is needed")
    return path


Inside = Annotated[str, AfterValidator(_inside)]
Sum = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ImageId = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class File(_Frozen):
    """One file: where it lies below the bundle, its SHA-256, its size, and where it came from."""

    path: Inside
    sha256: Sum
    bytes: Annotated[int, Field(ge=0)]
    source: str


class _Part(_Frozen):
    """What was asked for together; `asked` is a sum over the question, so that the same question is not asked twice."""

    name: str
    purpose: str
    asked: str
    files: list[File]


class Image(_Part):
    """A container image as `docker save` writes it. `name` is the reference of the plan, `local` its name on hosts.

    `ids`: what Docker may call it after loading (configuration or manifest, by its kind of store). `sources`: for an
    image built from this repository the fingerprint of what it was built from.
    """

    kind: Literal["image"] = "image"
    local: str
    ids: Annotated[list[ImageId], Field(min_length=1)]
    sources: str = ""


class Packages(_Part):
    """A flat apt repository. `name` is the platform it is for, `packages` what was asked for by name."""

    kind: Literal["packages"] = "packages"
    folder: Inside
    packages: list[str]


class Wheels(_Part):
    """Python packages of the controlling machine, with `requirements` naming each by its hash."""

    kind: Literal["wheels"] = "wheels"
    folder: Inside
    requirements: Inside
    pythons: list[str]


class Weights(_Part):
    """A model or adapter. `name`: its source in the plan; `target`: a path on hosts, in the hub's cache if relative."""

    kind: Literal["weights"] = "weights"
    folder: Inside
    target: str
    commit: str = ""


Part = Annotated[Image | Packages | Wheels | Weights, Field(discriminator="kind")]
PARTS: TypeAdapter[Image | Packages | Wheels | Weights] = TypeAdapter(Part)


class Manifest(_Frozen):
    """Everything, in one order: the same content is the same bytes."""

    format: Literal[1] = 1
    product: str
    parts: list[Part] = []

    def files(self) -> Iterator[File]:
        """Every file of every part."""
        for part in self.parts:
            yield from part.files

    def part(self, kind: str, name: str) -> Image | Packages | Wheels | Weights | None:
        """The part of that kind and name."""
        return next((part for part in self.parts if (part.kind, part.name) == (kind, name)), None)

    def having(self, new: Image | Packages | Wheels | Weights) -> Manifest:
        """The same with one part added or replaced."""
        others = [part for part in self.parts if (part.kind, part.name) != (new.kind, new.name)]
        return self.model_copy(update={"parts": sorted([*others, new], key=_order)})

    def only(self, wanted: Iterable[tuple[str, str]]) -> Manifest:
        """The same without parts that nobody wants any more."""
        keys = set(wanted)
        return self.model_copy(update={"parts": [part for part in self.parts if (part.kind, part.name) in keys]})


def dumps(manifest: Manifest) -> str:
    """The manifest as text: parts and files in order, no time and no machine in it."""
    data = manifest.model_dump(mode="json")
    data["parts"] = [_sorted(part) for part in sorted(data["parts"], key=lambda part: (part["kind"], part["name"]))]
    return json.dumps(data, indent=1, sort_keys=True) + "\n"


def loads(text: str, where: str = NAME) -> Manifest:
    """Read a manifest; raises BundleError naming every wrong value."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise BundleError([f"{where}: not JSON ({error}): {_REMEDY}"]) from None
    found = data.get("format") if isinstance(data, dict) else None
    if found != FORMAT:
        raise BundleError([f"{where}: format {found!r} was found: this version reads format {FORMAT}; stage it again"])
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        raise BundleError(_sentence(where, dict(detail)) for detail in error.errors(include_url=False)) from None


def slug(name: str) -> str:
    """A file name for an image reference or a model's source: readable, and another one for another name."""
    clean = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "unnamed"
    return clean if clean == name else f"{clean}-{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:8]}"


_REMEDY = "the file that playbooks/stage.yml wrote is needed; copy the bundle again"


def _order(part: Image | Packages | Wheels | Weights) -> tuple[str, str]:
    return part.kind, part.name


def _sorted(part: dict[str, Any]) -> dict[str, Any]:
    return {**part, "files": sorted(part["files"], key=lambda file: str(file["path"]))}


def _sentence(where: str, detail: dict[str, Any]) -> str:
    place = ".".join(str(step) for step in detail["loc"])
    return f"{where}: {place}: {detail['msg']}: {_REMEDY}"
