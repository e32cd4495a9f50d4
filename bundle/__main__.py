"""`python -m bundle`: fill a bundle or check it. What roles call; a person runs playbooks.

The request comes as JSON on standard input; the answer is one JSON object on standard output.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from bundle import compare, manifest, stage_images, stage_packages, stage_weights, stage_wheels, sums
from bundle.folder import Folder
from bundle.manifest import NAME, BundleError, Manifest
from bundle.needs import Needs
from bundle.request import Request

Asked = TypeVar("Asked", Needs, Request)
STAGES: Mapping[str, Callable[[Folder, Request], list[str]]] = {
    "packages": stage_packages.stage,
    "wheels": stage_wheels.stage,
    "weights": stage_weights.stage,
    "images": stage_images.stage,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit 1 with every problem on standard error, one a line."""
    parser = argparse.ArgumentParser(prog="bundle", description=__doc__)
    parser.add_argument("verb", choices=[*STAGES, "finish", "check"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sources", default="", help="check: fingerprint of the router's sources in this checkout")
    args = parser.parse_args(argv)
    try:
        answer = check(args.folder, _read(Needs), args.sources) if args.verb == "check" else _stage(args)
    except BundleError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


def finish(folder: Folder, request: Request) -> dict[str, Any]:
    """Leave nothing that was not asked for, compare every sum, and sum up."""
    needs = request.needs
    wanted = [("image", need.reference) for need in needs.images]
    wanted += [("weights", need.name) for need in needs.weights]
    wanted += [("packages", each.need.platform) for each in request.platforms]
    wanted += [("wheels", "controller")] if request.wheels_groups else []
    removed = folder.sweep(wanted)
    folder.verify()
    return {
        "changed": removed,
        "summary": compare.summary(folder.manifest),
        "left_out": stage_weights.left_out(request),
        "sha256": sums.sha256(folder.root / NAME),
    }


def check(root: Path, needs: Needs, sources: str = "") -> dict[str, Any]:
    """Every reason why a site cannot be installed from the bundle, and the parts that are needed."""
    path = root / NAME
    if not path.is_file():
        return {
            "problems": [f"bundle: {path}: not there: a bundle that playbooks/stage.yml filled is needed; copy it here"]
        }
    try:
        listed = manifest.loads(path.read_text(encoding="utf-8"), str(path))
    except BundleError as error:
        return {"problems": [f"bundle: {problem}" for problem in error.problems]}
    parts = compare.wanted_parts(listed, needs)
    files = [file for part in parts for file in part.files]
    problems = [*compare.lacking(listed, needs, sources), *compare.differing(files, sums.found(root, files))]
    return {
        "problems": problems,
        "parts": [part.model_dump(mode="json") for part in parts],
        "sha256": sums.sha256(path),
    }


def _stage(args: argparse.Namespace) -> dict[str, Any]:
    request = _read(Request)
    folder = Folder(args.folder, Manifest(product=request.needs.product))
    return finish(folder, request) if args.verb == "finish" else {"changed": STAGES[args.verb](folder, request)}


def _read(kind: type[Asked]) -> Asked:
    try:
        return kind.model_validate_json(sys.stdin.read())
    except ValidationError as error:
        raise BundleError([f"request: {error}"]) from None


if __name__ == "__main__":
    sys.exit(main())
