"""What a query reads: its series, the labels that remain, and what must be there for an answer."""

from __future__ import annotations

import re
from collections.abc import Iterator

from observe.dashboards.model import Panel, Query
from observe.series import NAMES, Series

VARIABLES = ("model", "engine", "host", "tenant")
_SERIES = re.compile(r"\bironrack:[a-zA-Z0-9_:]+")
# What Prometheus itself knows of every target and alert: these are no one's to rename.
BUILT_IN = ("up", "ALERTS")


def series_of(expr: str) -> list[str]:
    """Names of the recorded series in an expression, in order, each once."""
    return list(dict.fromkeys(_SERIES.findall(expr)))


def known(query: Query) -> Iterator[Series]:
    """The recorded series a query reads, as far as the list of series has them."""
    return (NAMES[name] for name in series_of(query.expr) if name in NAMES)


def query_needs(query: Query) -> list[str]:
    """What must be there for the query to have an answer; nothing for any stack that serves."""
    found = [series.needs for series in known(query)] + [query.needs]
    return list(dict.fromkeys(each for each in found if each))


def needs(panel: Panel) -> str:
    """What all queries of a panel need, in words; empty when one of them needs nothing."""
    each = [query_needs(query) for query in panel.queries]
    return ", ".join(each[0]) if each and all(found == each[0] for found in each) else ""


def expanded(expr: str) -> str:
    """The expression with every variable set to all."""
    for name in VARIABLES:
        expr = re.sub(rf"\${name}\b", ".*", expr)
    return expr
