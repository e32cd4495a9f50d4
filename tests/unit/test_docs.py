"""The documents hold together: links resolve, commands they name exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
)
IDS = [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_inside_the_project_resolve(page: Path) -> None:
    """A relative link names a file that is there."""
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    local = [target for target in targets if "://" not in target and not target.startswith("mailto:")]
    assert not [target for target in local if not (page.parent / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_that_a_page_names_exist(page: Path) -> None:
    """Every `scripts/…` and `playbooks/….yml` in the text is a file of the project."""
    named = set(re.findall(r"\b(?:scripts/[a-z_]+|playbooks/[a-z_]+\.yml)\b", page.read_text()))
    assert not [name for name in sorted(named) if not (ROOT / name).exists() and not (ROOT / f"{name}.py").exists()]
