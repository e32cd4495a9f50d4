"""What is promised: `stack_observe.slo`. Alerts and dashboards follow from it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from stackplan.fields import Name, Section


def _bound(*bounds: float) -> AfterValidator:
    """A target must be a bound of the engines' histograms: nothing between two bounds can be told apart."""

    def check(seconds: float) -> float:
        if seconds not in bounds:
            raise ValueError(f"one of {', '.join(f'{bound:g}' for bound in bounds)}: what engines measure in")
        return seconds

    return AfterValidator(check)


FirstToken = Annotated[float, _bound(0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)]
NextToken = Annotated[float, _bound(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1)]
# Below these a burn rate that calls somebody could not be reached.
LatencyShare = Annotated[float, Field(ge=0.9, lt=1)]
AvailableShare = Annotated[float, Field(ge=0.95, lt=1)]


class ModelSlo(Section):
    """What is promised for one model instead."""

    name: Name
    ttft_seconds: FirstToken | None = None
    itl_seconds: NextToken | None = None
    latency_ratio: LatencyShare | None = None
    availability_ratio: AvailableShare | None = None


class Slo(Section):
    """What is promised: how soon answers begin, how fast they go on, and how many there are."""

    ttft_seconds: FirstToken = 2.5
    itl_seconds: NextToken = 0.1
    latency_ratio: LatencyShare = 0.95
    availability_ratio: AvailableShare = 0.995
    lookback_days: Annotated[int, Field(ge=1, le=90)] | None = None
    models: Annotated[list[ModelSlo], Field(max_length=256)] = []
