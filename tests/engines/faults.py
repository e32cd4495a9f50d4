"""What can be wrong with an engine on command."""

from dataclasses import dataclass, replace

from tests.engines.errors import ApiError

HEALTH = ("ok", "503", "hang")
_ALLOWED = (
    f"known are freeze (bool), asleep (bool), die (bool), health {HEALTH}, refuse ('', 'reset' or a status), slow (> 0)"
)


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults in force.

    `freeze`: requests are accepted and nothing advances. `asleep`: the same, and its metrics say so. `health`: what
    `/health` does, whatever else is wrong; a frozen vLLM still says 200. `refuse`: the status every inference request
    gets, or `reset` for a closed connection. `slow`: how many times longer every step takes.
    """

    freeze: bool = False
    asleep: bool = False
    health: str = "ok"
    refuse: str = ""
    slow: float = 1.0


def changed(faults: Faults, order: dict[str, object]) -> Faults:
    """The faults after an order, which names only what changes; all mistakes of the order at once."""
    problems = [text for name, value in order.items() for text in _problems(name, value)]
    if problems:
        raise ApiError(400, "; ".join(problems))
    known: dict[str, object] = {name: value for name, value in order.items() if name != "die"}
    return replace(faults, **known)  # type: ignore[arg-type]  # every value was checked against its field above


def _problems(name: str, value: object) -> list[str]:
    match name, value:
        case ("freeze" | "asleep" | "die", bool()):
            return []
        case ("health", str()) if value in HEALTH:
            return []
        case ("refuse", str()) if value in ("", "reset") or (value.isdigit() and 400 <= int(value) <= 599):
            return []
        case ("slow", int() | float()) if value > 0:
            return []
    return [f"/sim: {name} = {value!r}: {_ALLOWED}"]
