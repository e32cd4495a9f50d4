"""Compile the router's deciding modules with mypyc, for its image and for whoever measures what runs there.

usage: router/compile.py FOLDER

Puts a copy of the package `router` into FOLDER: every module as source, and beside it the compiled form of those on a
request's way, which Python prefers. Needs the dependency group `compile`, a C compiler and Python's headers.
What may be compiled, and how that is kept true: docs/adr/0026-compiled-decisions.md.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from mypyc.build import mypycify
from setuptools import Distribution

PACKAGE = Path(__file__).resolve().parent
# On a request's way, or called from there in turn. Without I/O all of them; none declares a struct of msgspec, whose
# keywords mypyc does not pass on.
MODULES = (
    "account",
    "admission",
    "alone",
    "answer",
    "bindings",
    "blame",
    "blocks",
    "body",
    "cached",
    "door",
    "engine",
    "fleet",
    "fleet_settings",
    "inert",
    "joined",
    "kv_caches",
    "kv_index",
    "leases",
    "liveness",
    "multipart",
    "opening",
    "outcome",
    "parse",
    "pick",
    "prefix",
    "prompt",
    "rate",
    "ratios",
    "retries",
    "session",
    "spop",
    "spop_wire",
    "tally",
    "tenants",
    "tidy",
    "truncated",
    "values",
    "window",
)


def compile_into(folder: Path) -> None:
    """Copy and compile. Raises SystemExit with mypy's or the compiler's words where that fails."""
    aside = shutil.ignore_patterns("__pycache__", "Dockerfile", Path(__file__).name)
    shutil.copytree(PACKAGE, folder / "router", ignore=aside)
    os.chdir(folder)
    with tempfile.TemporaryDirectory() as scratch:
        sources = [f"router/{name}.py" for name in MODULES]
        extensions = mypycify([f"--cache-dir={scratch}/mypy", *sources], debug_level="0", target_dir=scratch)
        command = Distribution({"name": "router", "packages": [], "ext_modules": extensions}).get_command_obj(
            "build_ext"
        )
        command.inplace = True
        command.build_temp = scratch
        command.ensure_finalized()
        command.run()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    compile_into(Path(sys.argv[1]).resolve())
