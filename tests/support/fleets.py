"""Fleets for unit tests: three engines of one model, one of another, and requests for them."""

from dataclasses import replace

from router.fleet import EngineSettings, EngineSnapshot, Fleet, FleetSettings, Outcome, Probe
from router.parse import Ask
from router.pick import Choice

ENGINES = tuple(EngineSettings(name, f"http://127.0.0.1/{name}", "m", 8000.0) for name in ("a", "b", "c"))
OTHER = EngineSettings("z", "http://127.0.0.1/z", "other", 8000.0)
SETTINGS = FleetSettings(
    ENGINES, bindings_capacity=4, bindings_ttl_seconds=100.0, leases_capacity=5, leases_ttl_seconds=50.0
)
UP = Probe(ok=True)
DOWN = Probe(ok=False)


def ask(
    request_id: str = "r",
    key: int = 1,
    prompt_tokens: int = 1000,
    model: str = "m",
    *,
    blocks: tuple[int, ...] = (),
    previous: int = 0,
) -> Ask:
    """A request; its blocks are equally long."""
    ends = tuple(round(prompt_tokens * (at + 1) / len(blocks)) for at in range(len(blocks)))
    return Ask(
        request_id,
        model,
        key,
        str(key),
        "user",
        "-",
        prompt_tokens,
        stream=False,
        blocks=blocks,
        ends=ends,
        previous=previous,
    )


def fleet_of(count: int = 3, settings: FleetSettings = SETTINGS, now: float = 0.0) -> Fleet:
    """A fleet of the first `count` engines, all of them healthy."""
    fleet = Fleet(replace(settings, engines=settings.engines[:count]), now)
    for engine in settings.engines[:count]:
        fleet.probe(engine.name, UP, now)
    return fleet


def engine(fleet: Fleet, name: str) -> EngineSnapshot:
    """What the fleet knows of one engine."""
    return next(found for found in fleet.snapshot(0.0).engines if found.name == name)


def serve(fleet: Fleet, asked: Ask, now: float = 1.0) -> Choice:
    """One request from decision to end, without trouble."""
    choice = fleet.decide(asked, now)
    fleet.begun(asked.id, choice.engine, now)
    fleet.finished(Outcome(asked.id, choice.engine, 200), now)
    return choice


def fail(fleet: Fleet, name: str, times: int = 1, now: float = 1.0, termination: str = "SH") -> None:
    """Requests of nobody that an engine broke."""
    for _ in range(times):
        fleet.finished(Outcome("nobody", name, 502, termination), now)
