"""Cross checks of what is promised: models that are not there, and days that are not kept."""

from __future__ import annotations

from collections.abc import Iterator

from stackplan.settings import Settings


def slo_problems(settings: Settings) -> Iterator[str]:
    """Every contradiction between the promises and the rest."""
    observe, known = settings.observe, {model.name for model in settings.models}
    seen: set[str] = set()
    for index, promised in enumerate(observe.slo.models):
        where = f"stack_observe.slo.models[{index}].name: {promised.name!r} was found"
        if promised.name not in known:
            yield f"{where}: allowed are names in stack_models; correct it"
        if promised.name in seen:
            yield f"{where} before: each model is named once; remove one"
        seen.add(promised.name)
    days = observe.slo.lookback_days
    if days is not None and days > observe.retention_days:
        yield (
            f"stack_observe.slo.lookback_days: {days} was found: allowed is up to retention_days "
            f"({observe.retention_days}); shorten it, or keep metrics longer"
        )
