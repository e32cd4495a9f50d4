"""5xx answers: a broken engine goes, a poisonous request takes no fleet with it."""

from router.blame import Blame
from router.fleet import EngineSettings, Fleet, FleetSettings, Outcome, Probe, State
from router.parse import Ask

NAMES = ("a", "b", "c", "d")


def fleet() -> Fleet:
    built = Fleet(FleetSettings(tuple(EngineSettings(name, f"http://127.0.0.1/{name}", "m") for name in NAMES)), 0.0)
    for name in NAMES:
        built.probe(name, Probe(ok=True), 0.0)
    return built


def answered(router: Fleet, key: int, status: int, now: float) -> str:
    """One request of session `key`, answered with `status` by the engine that was chosen; that engine."""
    engine = router.decide(Ask("r", "m", key, "", "user", "-", 100, stream=False), now).engine
    router.finished(Outcome("r", engine, status, chosen=engine), now)
    return engine


def ejected(router: Fleet) -> int:
    return sum(engine.state is State.EJECTED for engine in router.snapshot(0.0).engines)


def test_a_request_that_every_engine_answers_500_costs_one_engine_at_most() -> None:
    """A client that repeats it for minutes: one engine is out for one back-off, then it is known."""
    router = fleet()
    for _ in range(20):
        answered(router, 1, 500, 1.0)
    assert ejected(router) == 1
    for second in range(2, 200):
        router.expire(float(second))
        answered(router, 1, 500, float(second))
    assert ejected(router) == 0


def test_many_sessions_that_all_engines_answer_503_eject_few() -> None:
    """A fleet that is asked too much must not lose engines for it."""
    router = fleet()
    for key in range(100):
        answered(router, key, 503, 1.0)
    assert ejected(router) < len(NAMES) - 1
    before = ejected(router)
    for engine in NAMES:
        for key in range(100, 200):
            router.finished(Outcome(str(key), engine, 503), 1.0)
    assert ejected(router) == before


def test_a_retry_that_ends_in_a_5xx_answer_counts_once() -> None:
    """An overloaded fleet: the edge tried four engines for one request, which proves nothing against the first."""
    router = fleet()
    for _ in range(10):
        chosen = router.decide(Ask("r", "m", 1, "", "user", "-", 100, stream=False), 1.0).engine
        last = next(name for name in NAMES if name != chosen)
        router.finished(Outcome("r", last, 503, retries=3, chosen=chosen), 1.0)
    assert ejected(router) == 0


def test_a_lone_session_gets_away_from_an_engine_that_only_answers_500() -> None:
    """Nobody else is there to say that the engine is broken; the session itself says it by being served elsewhere."""
    router = fleet()
    broken = answered(router, 1, 200, 1.0)
    served = []
    for turn in range(6):
        engine = router.decide(Ask("r", "m", 1, "", "user", "-", 100, stream=False), 1.0).engine
        router.finished(Outcome("r", engine, 500 if engine == broken else 200, chosen=engine), 1.0 + turn / 10)
        served.append(engine != broken)
    assert served == [False] * 3 + [True] * 3


def test_a_session_that_was_served_is_a_witness_again() -> None:
    """What it was blamed for is forgiven with one answer."""
    blame = Blame()
    assert [blame.failed(1, "a"), blame.failed(1, "b"), blame.failed(1, "a")] == [True, False, False]
    blame.worked(1)
    assert blame.failed(1, "c")


def test_blame_is_remembered_within_bounds() -> None:
    """The oldest make room."""
    blame = Blame(capacity=2)
    for key in range(5):
        blame.failed(key, "a")
    assert len(blame) == 2
    assert blame.failed(0, "b")
    assert not blame.failed(4, "b")
