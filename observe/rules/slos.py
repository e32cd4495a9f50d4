"""What was promised, and how fast the room for error is used up.

The burn rates and their pairs of windows are the well-known ones of the SRE Workbook, chapter 5.
Everything is made of the series by model, so it costs the same for two engines and for two hundred.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter

from observe.rules.parts import Group, Record
from observe.rules.watch import Target, Watch

FAST, SLOW = ("5m", "30m", "1h"), ("6h", "3d")
EVERYTHING = "*"  # the whole edge, beside the models: also what no engine ever saw
_LATENCY = {"ttft": "ttft_seconds", "itl": "itl_seconds"}


def slos(watch: Watch) -> tuple[Group, ...]:
    """Promises, what kept and what broke them, and the burn rates. Long windows are looked at less often."""
    return (
        Group("slo", 30, (*_promises(watch), *_latencies(watch.targets), *_availability(), *_burn(FAST))),
        Group("slo-long", 120, (*_burn(SLOW), _left(watch.lookback_days))),
    )


def _promises(watch: Watch) -> Iterable[Record]:
    for target in watch.targets:
        for slo, name in _LATENCY.items():
            labels = {"model": target.model, "slo": slo}
            yield Record("slo_objective_ratio", f"vector({target.latency_ratio:g})", labels)
            yield Record("slo_target_seconds", f"vector({getattr(target, name):g})", labels)
        labels = {"model": target.model, "slo": "availability"}
        yield Record("slo_objective_ratio", f"vector({target.availability_ratio:g})", labels)
    whole = {"model": EVERYTHING, "slo": "availability"}
    yield Record("slo_objective_ratio", f"vector({watch.availability_ratio:g})", whole)


def _latencies(targets: tuple[Target, ...]) -> Iterable[Record]:
    """Observations, and those above the target: models that promise the same share a rule."""
    for slo, name in _LATENCY.items():
        buckets = f"ironrack:model_{slo}_seconds:bucket_rate"
        every = f'sum by (model) (avg_over_time({buckets}{{le="+Inf"}}[5m]))'
        yield Record("slo_events:rate5m", every, {"slo": slo})
        read = attrgetter(name)
        for bound, group in groupby(sorted(targets, key=read), key=read):
            models = "|".join(target.model.replace(".", r"\\.") for target in group)
            chosen = f'model=~"{models}"'
            good = f'sum by (model) (avg_over_time({buckets}{{{chosen}, le=~"{_bound(bound)}"}}[5m]))'
            whole = every.replace('le="+Inf"', f'{chosen}, le="+Inf"')
            yield Record("slo_bad:rate5m", f"clamp_min({whole} - {good}, 0)", {"slo": slo})


def _bound(seconds: float) -> str:
    """A bucket's bound as exporters write it: 1.0 or 1."""
    text = f"{seconds:g}".replace(".", r"\\.")
    return text if "." in text else rf"{text}(\\.0)?"


def _availability() -> Iterable[Record]:
    """Answers, and those of class 5xx; streams broken off and refusals for want of an engine are failures too."""
    labels = {"slo": "availability"}

    def mean(series: str) -> str:
        return f"sum by (model) (avg_over_time({series}[5m]))"

    answers, failed = mean("ironrack:model_requests:rate"), mean('ironrack:model_requests:rate{code="5xx"}')
    refused = mean('ironrack:model_refusals:rate{status=~"5.."}')
    broken = mean("ironrack:model_truncated:rate")
    nothing = f"{answers} * 0"
    yield Record("slo_events:rate5m", f"{answers} + ({refused} or {nothing})", labels)
    yield Record("slo_bad:rate5m", f"{failed} + ({refused} or {nothing}) + ({broken} or {nothing})", labels)
    whole = {"model": EVERYTHING, **labels}
    yield Record("slo_events:rate5m", "sum(avg_over_time(ironrack:edge_requests:rate[5m]))", whole)
    yield Record("slo_bad:rate5m", 'sum(avg_over_time(ironrack:edge_requests:rate{code="5xx"}[5m]))', whole)


def _share(window: str) -> str:
    bad, events = (f"avg_over_time(ironrack:slo_{what}:rate5m[{window}])" for what in ("bad", "events"))
    return f"{bad} / ({events} > 0)"


def _burn(windows: Iterable[str]) -> Iterable[Record]:
    for window in windows:
        labels = {"window": window}
        share = f'ironrack:slo_bad_ratio{{window="{window}"}}'
        yield Record("slo_bad_ratio", _share(window), labels)
        yield Record(
            "slo_burn_rate", f"{share} / on (model, slo) group_left () (1 - ironrack:slo_objective_ratio)", labels
        )


def _left(days: int) -> Record:
    return Record("slo_budget_left_ratio", f"1 - ({_share(f'{days}d')}) / (1 - ironrack:slo_objective_ratio)")
