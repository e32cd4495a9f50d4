"""Every image the demonstration needs: pulled where its registry answers, else built on this machine."""

from __future__ import annotations

import shutil
import tomllib
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from demo import bases, docker, wheels
from demo.catalogue import DEBIAN_12, ENGINE, LABEL, RECIPES, Recipe, fingerprint
from demo.console import Console, StepError, output
from demo.paths import CACHE, ROOT

REGISTRY = "https://registry-1.docker.io/v2/"
PROBE_SECONDS = 3.0
# Left out of the constraints: builds for GPUs, which the engine image replaces or drops.
GPU_ONLY = ("torch==", "torchvision", "torchaudio", "torchcodec", "triton", "nvidia-", "cuda-")


@dataclass(frozen=True)
class Images:
    """Image references by their key in the demo inventory, and the base for the router (None: its own default)."""

    references: dict[str, str]
    python_base: str | None


def registry_answers(url: str = REGISTRY, seconds: float = PROBE_SECONDS) -> bool:
    """Whether a registry is reachable: asking for a login is an answer too."""
    try:
        with urllib.request.urlopen(url, timeout=seconds):
            return True
    except urllib.error.HTTPError as error:
        return error.code == 401
    except OSError:
        return False


def provide(console: Console) -> Images:
    """Pull or build all of them; what is here and fresh stays as it is."""
    references = {recipe.name: _present(recipe) for recipe in RECIPES}
    pulling = not all(references.values()) and registry_answers()
    if not all(references.values()):
        console.say(
            "A registry answers: images are pulled" if pulling else "No registry answers: images are built here"
        )
    for recipe in RECIPES:
        if pulling and references[recipe.name] is None and _pull(console, recipe):
            references[recipe.name] = recipe.production
    for recipe in RECIPES:
        if references[recipe.name] is None:
            references[recipe.name] = _build(console, recipe)
    python_base = DEBIAN_12 if docker.has(DEBIAN_12) else None
    return Images({name: reference or "" for name, reference in references.items()}, python_base)


def _present(recipe: Recipe) -> str | None:
    """The reference of an image that is here and fresh."""
    if docker.has(recipe.production):
        return recipe.production
    built_from = docker.label(recipe.local, LABEL)
    return recipe.local if built_from is not None and built_from == _fingerprint(recipe) else None


def _fingerprint(recipe: Recipe) -> str:
    extra = (ROOT / "uv.lock").read_text(encoding="utf-8") if recipe is ENGINE else ""
    return fingerprint(ROOT, recipe, docker.identity(recipe.base) or "", extra)


def _pull(console: Console, recipe: Recipe) -> bool:
    try:
        with console.step(f"Pull {recipe.production.split('@')[0]}"):
            console.stream(["docker", "pull", recipe.production], every_seconds=2)
    except StepError as error:
        console.say(f"{error}\n         building {recipe.local} instead")
        return False
    return True


def _build(console: Console, recipe: Recipe) -> str:
    bases.ensure(console, recipe.base)
    with console.step(f"Build {recipe.local}"):
        context = _context(console, recipe)
        arguments = {"BASE_IMAGE": recipe.base, **dict(recipe.arguments)}
        docker.build(console, recipe.local, context, arguments, {LABEL: _fingerprint(recipe)})
    return recipe.local


def _context(console: Console, recipe: Recipe) -> Path:
    """The recipe's own folder; for the engine a copy with the constraints and the wheel beside the Dockerfile."""
    if recipe is not ENGINE:
        return ROOT / recipe.folder
    context = CACHE / "context-engine"
    shutil.copytree(ROOT / recipe.folder, context, dirs_exist_ok=True)
    (context / "constraints.txt").write_text(_constraints(), encoding="utf-8")
    torch = _locked("torch")
    with (context / "overrides.txt").open("a", encoding="utf-8") as overrides:
        overrides.write(f"torch=={torch}\n")
    wheels.ensure(console, torch, context / "wheels")
    return context


def _constraints() -> str:
    """The locked versions of the engine and everything below it, one `name==version` a line."""
    export = [
        "uv",
        "export",
        "--frozen",
        "--only-group",
        "cpu-engine",
        "--no-hashes",
        "--no-emit-project",
        "--no-annotate",
    ]
    text = output([*export, "--no-header", "--directory", str(ROOT)])
    if text is None:
        raise StepError(
            "uv export: the group cpu-engine could not be read from uv.lock: is uv installed (scripts/bootstrap)?"
        )
    return "".join(f"{line}\n" for line in text.splitlines() if not line.startswith(GPU_ONLY))


def _locked(name: str) -> str:
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    return next(str(package["version"]).split("+")[0] for package in lock["package"] if package["name"] == name)
