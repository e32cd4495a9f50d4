"""Remove what the demonstration brought, in the opposite order."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from demo import docker, playbook
from demo.catalogue import DEBIAN_12, DEBIAN_13, RECIPES
from demo.console import Console, StepError, output
from demo.paths import LOCAL_SETTINGS
from stackplan import images


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The command line of scripts/down."""
    parser = argparse.ArgumentParser(prog="scripts/down", description=__doc__)
    parser.add_argument("--purge", action="store_true", help="also remove Docker's packages, caches and .venv")
    parser.add_argument("--keep-images", action="store_true", help="leave what was built for the next scripts/up")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Remove it all; the exit status is 1 when a part could not be removed."""
    asked = arguments(argv)
    console = Console()
    try:
        with console.step("Remove the stack: ansible-playbook -i inventories/demo playbooks/remove.yml"):
            playbook.run(console, "remove", "-e", "compose_remove_volumes=true", "-e", "engine_remove_cache=true")
        if not asked.keep_images:
            _remove_images(console)
        LOCAL_SETTINGS.unlink(missing_ok=True)
        if asked.purge:
            with console.step("Remove Docker"):
                playbook.run(console, "remove", "-e", "docker_remove_packages=true")
    except StepError as error:
        sys.stderr.write(f"scripts/down: {error}\n")
        return 1
    console.say("Docker is gone too" if asked.purge else "Docker stays; --purge removes it too")
    return 0


def _remove_images(console: Console) -> None:
    """Only what was built here: a pulled image may serve others."""
    built = [image for image in (images.ROUTER, *(recipe.local for recipe in RECIPES)) if docker.has(image)]
    bases = [base for base in (DEBIAN_12, DEBIAN_13) if built and _made_here(base)]
    if built or bases:
        with console.step(f"Remove {len(built + bases)} images built here"):
            console.stream(["docker", "image", "rm", "--force", *built, *bases], every_seconds=2)
    output(["docker", "image", "prune", "--force", "--filter", "label=ironrack.stage=build"])


def _made_here(base: str) -> bool:
    digests = output(["docker", "image", "inspect", "--format", "{{len .RepoDigests}}", base])
    return digests is not None and digests.strip() == "0"
