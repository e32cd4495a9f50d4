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

# Series that begin with the first time something happened: an empty panel is then good news.
_FAILS, _WAITS, _BROKEN = (
    "a target that fails",
    "requests that wait in the router",
    "an answer that an engine broke off",
)
_REFUSED, _EJECTED, _LEFT = "a request that was refused", "an engine that was ejected", "a client that left"
EVENTS = {
    "ironrack:target_failing": _FAILS,
    "ironrack:queue_seconds:quantile": _WAITS,
    "ironrack:engine_truncated:rate": _BROKEN,
    "ironrack:model_truncated:rate": _BROKEN,
    "ironrack:model_refusals:rate": _REFUSED,
    "ironrack:engine_aborted:rate": _LEFT,
    "ironrack:engine_eject_reason": _EJECTED,
    "ironrack:refusals:rate": _REFUSED,
    "ironrack:rejections:rate": _REFUSED,
}


def series_of(expr: str) -> list[str]:
    """Names of the recorded series in an expression, in order, each once."""
    return list(dict.fromkeys(_SERIES.findall(expr)))


def known(query: Query) -> Iterator[Series]:
    """The recorded series a query reads, as far as the list of series has them."""
    return (NAMES[name] for name in series_of(query.expr) if name in NAMES)


def query_needs(query: Query) -> list[str]:
    """What must be there for the query to have an answer; nothing for any stack that serves."""
    found = [each for name in series_of(query.expr) for each in series_needs(name)]
    return list(dict.fromkeys([*found, *([query.needs] if query.needs else [])]))


def series_needs(name: str) -> list[str]:
    """What must be there for a recorded series to have an answer."""
    found = [NAMES[name].needs if name in NAMES else "", EVENTS.get(name, "")]
    return [each for each in found if each]


def needs(panel: Panel) -> str:
    """What all queries of a panel need, in words; empty when one of them needs nothing."""
    each = [query_needs(query) for query in panel.queries]
    return ", ".join(each[0]) if each and all(found == each[0] for found in each) else ""


def expanded(expr: str) -> str:
    """The expression with every variable set to all."""
    for name in VARIABLES:
        expr = re.sub(rf"\${name}\b", ".*", expr)
    return expr
