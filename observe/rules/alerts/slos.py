"""What users feel, in time to act on it.

A fast burn must show in an hour and still in the last five minutes, a slow one in six hours and the last half hour: so
an alert comes soon, and goes soon after the cause has gone. A handful of failures in a quiet night is not an outage.
"""

from __future__ import annotations

from observe.rules.parts import Alert, Severity

_FEWEST = 5  # bad events within the longer window


def slo_alerts() -> tuple[Alert, ...]:
    """Error budget, time to first token and speed of tokens."""
    return (
        _burning(
            "ErrorBudgetBurningFast",
            "critical",
            (_pair("availability", "1h", "5m", 14.4, 1),),
            "Requests to {{ $labels.model }} fail so often that the error budget will soon be gone",
            "2m",
        ),
        _burning(
            "ErrorBudgetBurningSlowly",
            "warning",
            (_pair("availability", "6h", "30m", 6, 6), _pair("availability", "3d", "6h", 1, 72)),
            "Requests to {{ $labels.model }} fail more often than the error budget allows",
            "15m",
        ),
        _burning(
            "FirstTokenSlow",
            "warning",
            (_pair("ttft", "1h", "5m", 6, 1), _pair("ttft", "6h", "30m", 3, 6)),
            "Too many answers of {{ $labels.model }} begin late",
            "5m",
        ),
        _burning(
            "TokensSlow",
            "warning",
            (_pair("itl", "1h", "5m", 6, 1), _pair("itl", "6h", "30m", 3, 6)),
            "Answers of {{ $labels.model }} come too slowly, token by token",
            "5m",
        ),
    )


def _pair(slo: str, long: str, short: str, factor: float, hours: int) -> str:
    burns = [
        f'max by (model, slo) (ironrack:slo_burn_rate{{slo="{slo}", window="{window}"}}) > {factor:g}'
        for window in (long, short)
    ]
    counted = f'avg_over_time(ironrack:slo_bad:rate5m{{slo="{slo}"}}[{long}]) * {3600 * hours} >= {_FEWEST}'
    return f"({burns[0]} and {burns[1]} and on (model, slo) {counted})"


def _burning(name: str, severity: Severity, pairs: tuple[str, ...], summary: str, wait: str) -> Alert:
    value = "The budget is spent {{ $value | humanize }} times faster than allowed. "
    return Alert(
        name,
        severity,
        " or ".join(pairs),
        summary,
        value + "Model: {{ $labels.model }} (* is the whole edge), objective: {{ $labels.slo }}.",
        "capacity",
        wait,
    )
