"""The model of the demonstration: made on this machine by the engine image's own Python, or named by the user."""

from __future__ import annotations

import hashlib
from pathlib import Path

from demo.console import Console, StepError
from demo.paths import MODELS, ROOT

SOURCES = ROOT / "images" / "model"
TINY = "tiny"
STAMP = ".made-from"


def ensure_tiny(console: Console, engine_image: str) -> Path:
    """The folder of the tiny model, made unless it is there and made from the same sources."""
    folder, made_from = MODELS / TINY, _fingerprint()
    if (folder / STAMP).is_file() and (folder / STAMP).read_text(encoding="utf-8") == made_from:
        return folder
    with console.step(f"Make a tiny model in {folder}"):
        MODELS.mkdir(parents=True, exist_ok=True)
        run = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "python3"]
        run += ["--volume", f"{SOURCES}:/sources:ro", "--volume", f"{MODELS}:/models", engine_image]
        console.stream([*run, "/sources/make_model.py", "/sources/corpus.txt", f"/models/{TINY}"])
        if not (folder / "config.json").is_file():
            raise StepError(f"{folder}: no config.json in it: the model was not written; see the lines above")
        (folder / STAMP).write_text(made_from, encoding="utf-8")
    return folder


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
