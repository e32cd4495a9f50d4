"""What a benchmark hands over: raw figures as JSON, tables as Markdown, bars as plots."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.figures import Spread
from tests.bench.machine import described


@dataclass(frozen=True, slots=True)
class Table:
    """One table as a reader sees it."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def markdown(self) -> str:
        """The table with its title above and its note below."""
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        body = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return "\n\n".join(part for part in (f"**{self.title}**", body, self.note) if part)


@dataclass(frozen=True, slots=True)
class Bars:
    """A plot of groups of bars with their ranges: `groups[group][series]`. Lower is better unless `higher`."""

    name: str
    title: str
    unit: str
    groups: Mapping[str, Mapping[str, Spread]]
    higher: bool = False
    logarithmic: bool = False


@dataclass(frozen=True, slots=True)
class Lines:
    """A plot of values over something: `series[name]` is a list of points."""

    name: str
    title: str
    across: str
    unit: str
    series: Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class Report:
    """One benchmark's outcome. `raw` holds every single measurement; `settings` what was asked for."""

    kind: str
    settings: Mapping[str, Any]
    raw: Any
    tables: Sequence[Table]
    plots: Sequence[Bars | Lines] = field(default_factory=tuple)

    def json(self) -> str:
        """Everything measured."""
        whole = {"bench": self.kind, "machine": described(), "settings": dict(self.settings), "measured": self.raw}
        return json.dumps(whole, indent=1, default=str) + "\n"

    def markdown(self) -> str:
        """Every table, and where they come from."""
        asked = ", ".join(f"{name} {value}" for name, value in self.settings.items() if value not in (None, "", []))
        source = f"*`python -m tests.bench {self.kind}` on {described()}; {asked}.*"
        return "\n\n".join([source, *(table.markdown() for table in self.tables)])


def put_markdown(path: Path, report: Report) -> None:
    """Write a report's block into a Markdown file: in place of the block of the same kind, else at the end."""
    begin, end = f"<!-- bench:{report.kind} -->", f"<!-- /bench:{report.kind} -->"
    text = path.read_text() if path.exists() else ""
    block = f"{begin}\n\n{report.markdown()}\n\n{end}"
    before, found, rest = text.partition(begin)
    if found and end in rest:
        path.write_text(before + block + rest.partition(end)[2])
        return
    path.write_text(f"{text.rstrip()}\n\n{block}\n".lstrip())
