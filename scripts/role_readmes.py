#!/usr/bin/env python3
"""Write the variable table of each role's README from its argument_specs; with --check only say which are stale."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

BEGIN = "<!-- BEGIN ROLE VARIABLES -->"
END = "<!-- END ROLE VARIABLES -->"
ROOT = Path(__file__).resolve().parents[1]


def rows(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Name, type, default and description of each option, nested ones after their parent."""
    for name, spec in options.items():
        kind = spec.get("type", "str") + (f" of {spec['elements']}" if "elements" in spec else "")
        default = "required" if spec.get("required") else f"`{_literal(spec.get('default'))}`"
        yield prefix + name, kind, default, _sentence(spec)
        if "options" in spec:
            yield from rows(spec["options"], f"{prefix}{name}{'[]' if 'elements' in spec else ''}.")


def _literal(value: object) -> str:
    if value is None:
        return "unset"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _sentence(spec: Mapping[str, Any]) -> str:
    text = spec.get("description", "")
    text = " ".join(text) if isinstance(text, list) else str(text)
    choices = f" One of {', '.join(f'`{c}`' for c in spec['choices'])}." if "choices" in spec else ""
    return " ".join((text + choices).split()).replace("|", "\\|")


def table(spec_file: Path) -> str:
    """The Markdown table of one argument_specs file, over all its entry points."""
    specs = yaml.safe_load(spec_file.read_text())["argument_specs"]
    options: dict[str, Any] = {}
    for entry in specs.values():
        options |= entry.get("options", {})
    lines = ["| variable | type | default | meaning |", "| --- | --- | --- | --- |"]
    lines += [f"| `{name}` | {kind} | {default} | {text} |" for name, kind, default, text in rows(options)]
    return "\n".join(lines)


def rendered(role: Path) -> str:
    """The role's README with its table replaced; raises ValueError when the markers are missing."""
    readme = _readme(role)
    if BEGIN not in readme or END not in readme:
        raise ValueError(f"{role.name}/README.md: no variable table: needs the lines {BEGIN} and {END}")
    head, rest = readme.split(BEGIN, 1)
    tail = rest.split(END, 1)[1]
    return f"{head}{BEGIN}\n{table(role / 'meta' / 'argument_specs.yml')}\n{END}{tail}"


def _readme(role: Path) -> str:
    path = role / "README.md"
    return path.read_text() if path.exists() else ""


def main() -> int:
    """Exit 1 with the stale files named when --check finds any, 2 when a README has no place for its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a README is stale")
    check = parser.parse_args().check
    try:
        stale = [role for role in sorted((ROOT / "roles").iterdir()) if rendered(role) != _readme(role)]
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    for role in stale:
        print(f"roles/{role.name}/README.md: {'stale: run scripts/render' if check else 'written'}")
        if not check:
            (role / "README.md").write_text(rendered(role))
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
