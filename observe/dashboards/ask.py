"""Questions to a Prometheus over its HTTP API."""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

_SECONDS = 30.0
# A proxy that the environment names is not for a Prometheus of one's own.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Unanswered(RuntimeError):
    """Prometheus refused the question or could not be reached; the text says why."""


@dataclass(frozen=True, slots=True)
class Line:
    """One series of an answer: its labels, and points of unix time and value; no value that is not a number."""

    labels: dict[str, str]
    points: list[tuple[float, float]]


def instant(url: str, expr: str) -> list[Line]:
    """What an expression gives now. Raises Unanswered."""
    found = _get(url, "query", query=expr)["result"]
    return _lines([(each["metric"], [each["value"]]) for each in found])


def over_time(url: str, expr: str, start: float, end: float, step: float) -> list[Line]:
    """What an expression gave between two unix times, every `step` seconds. Raises Unanswered."""
    found = _get(url, "query_range", query=expr, start=start, end=end, step=step)["result"]
    return _lines([(each["metric"], each["values"]) for each in found])


def rule_groups(url: str) -> list[dict[str, Any]]:
    """The rule groups that Prometheus evaluates. Raises Unanswered."""
    groups: list[dict[str, Any]] = _get(url, "rules")["groups"]
    return groups


def _lines(found: list[tuple[dict[str, str], list[Any]]]) -> list[Line]:
    lines = [
        Line(labels, [(float(at), float(value)) for at, value in points if math.isfinite(float(value))])
        for labels, points in found
    ]
    return [line for line in lines if line.points]


def _get(url: str, what: str, **asked: object) -> dict[str, Any]:
    address = f"{url.rstrip('/')}/api/v1/{what}?{urllib.parse.urlencode(asked)}"
    try:
        with _DIRECT.open(address, timeout=_SECONDS) as answer:
            data: dict[str, Any] = json.load(answer)["data"]
    except urllib.error.HTTPError as problem:
        said = problem.read().decode(errors="replace")[:300]
        raise Unanswered(f"{url}: {asked.get('query', what)}: {said}") from problem
    except (OSError, ValueError, KeyError) as problem:
        raise Unanswered(f"{url}: {what}: {problem!r}: Prometheus' API is needed there; check the address") from problem
    return data
