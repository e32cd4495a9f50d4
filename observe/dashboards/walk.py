"""Every panel's question and every rule, put to a live Prometheus: what has no answer was renamed, or is not there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from observe.dashboards.ask import Unanswered, instant, rule_groups
from observe.dashboards.boards import BOARDS
from observe.dashboards.model import Board
from observe.dashboards.reads import expanded, query_needs, series_needs, series_of


@dataclass(frozen=True, slots=True)
class Finding:
    """One question: where it is asked, what must be there for an answer, how many series came, what went wrong."""

    where: str
    asked: str
    needs: Sequence[str]
    series: int
    error: str = ""

    def __str__(self) -> str:
        """As a person reads it."""
        said = self.error or "no data was found: some is expected; look whether a metric was renamed"
        return f"{self.where}: {self.asked}: {said}" + (f" (needs {', '.join(self.needs)})" if self.needs else "")


def walked(url: str, boards: Iterable[Board] = BOARDS) -> list[Finding]:
    """Every panel's queries, every variable, every rule; in the order of the dashboards."""
    return [*_panels(url, boards), *_variables(url, boards), *_rules(url)]


def silent(findings: Iterable[Finding], present: Iterable[str] = ()) -> list[Finding]:
    """Those without an answer although all they need is `present`."""
    have = set(present)
    return [each for each in findings if (each.error or not each.series) and set(each.needs) <= have]


def _panels(url: str, boards: Iterable[Board]) -> Iterator[Finding]:
    for board in boards:
        for panel in board.panels:
            for query in panel.queries:
                where = f"{board.title} / {panel.title}"
                yield _asked(url, where, expanded(query.expr), query_needs(query))


def _variables(url: str, boards: Iterable[Board]) -> Iterator[Finding]:
    for board in boards:
        for variable in board.variables:
            expr = f'{{__name__="{series_of(variable.series)[0]}", {variable.name}!=""}}'
            needs = [each for name in series_of(variable.series) for each in series_needs(name)]
            yield _asked(url, f"{board.title} / choice {variable.title}", expr, needs)


def _rules(url: str) -> Iterator[Finding]:
    """Recording rules give data; alerts read only series that have some: an alert on nothing never fires."""
    for group in rule_groups(url):
        for rule in group["rules"]:
            where = f"rule {group['name']} / {rule['name']}"
            if rule["health"] != "ok":
                yield Finding(where, rule["query"], (), 0, rule.get("lastError") or f"health {rule['health']}")
            elif rule["type"] == "recording":
                yield _recorded(url, where, rule)
            else:
                yield from _read_by(url, where, rule["query"])


def _recorded(url: str, where: str, rule: dict[str, Any]) -> Finding:
    labels = "".join(f',{name}="{value}"' for name, value in rule.get("labels", {}).items())
    return _asked(url, where, f'{{__name__="{rule["name"]}"{labels}}}', series_needs(rule["name"]))


def _read_by(url: str, where: str, query: str) -> Iterator[Finding]:
    for name in series_of(query):
        yield _asked(url, where, f'{{__name__="{name}"}}', series_needs(name))


def _asked(url: str, where: str, expr: str, needs: Sequence[str]) -> Finding:
    try:
        return Finding(where, expr, needs, len(instant(url, expr)))
    except Unanswered as problem:
        return Finding(where, expr, needs, 0, str(problem))
