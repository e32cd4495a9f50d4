"""Questions that are read after their answer is no use to anybody."""

from router.fleet import EngineSettings, Fleet, FleetSettings, Outcome, Probe
from router.parse import Ask


def fleet() -> Fleet:
    built = Fleet(FleetSettings((EngineSettings("one", "http://127.0.0.1:1", "tiny"),)), 0.0)
    built.probe("one", Probe(ok=True), 0.0)
    return built


def ask(request_id: str) -> Ask:
    return Ask(request_id, "tiny", 1, "1", "x-session-id", tenant="-", prompt_tokens=100, stream=True)


def test_a_question_read_after_the_requests_end_leaves_no_trace() -> None:
    """The edge gave up and served the request by itself: no lease, no binding, or both would stay for ever."""
    router = fleet()
    router.finished(Outcome("a", "one", 200), 1.0)
    assert router.decide(ask("a"), 1.0).engine == "one"
    found = router.snapshot(1.0)
    assert (found.leases, found.bindings, found.engines[0].in_flight) == (0, 0, 0)


def test_an_id_that_is_used_again_counts_again() -> None:
    """A client that repeats its request id is forgotten once, not for good."""
    router = fleet()
    router.finished(Outcome("a", "one", 200), 1.0)
    router.decide(ask("a"), 1.0)
    router.decide(ask("a"), 1.0)
    assert router.snapshot(1.0).leases == 1


def test_ends_without_a_lease_are_remembered_within_bounds() -> None:
    """However many requests the router never decided about: the oldest make room."""
    router = fleet()
    for number in range(10_001):
        router.finished(Outcome(str(number), "one", 200), 1.0)
    router.decide(ask("0"), 1.0)
    router.decide(ask("10000"), 1.0)
    assert router.snapshot(1.0).leases == 1
