"""Whatever is told to the fleet, in whatever order, twice or never: its counts stay counts."""

from dataclasses import replace

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.errors import NoEngine, Saturated
from router.fleet import EngineSnapshot, Fleet, FleetSettings, Outcome, Probe, State
from tests.support.fleets import ENGINES, OTHER, SETTINGS, ask

names = st.sampled_from(["a", "b", "c", "z", "<NOSRV>", ""])
ids = st.integers(0, 9).map(str)
outcomes = st.builds(
    Outcome,
    ids,
    names,
    st.sampled_from([-1, 200, 400, 429, 500, 502, 503]),
    st.sampled_from(["--", "SC", "SH", "sH", "SD", "CD", "CH", "sQ", "", "P"]),
    st.integers(0, 2),
    names,
)


REDUCED = replace(SETTINGS, engines=(ENGINES[0], OTHER), leases_capacity=3)
MOVED = replace(SETTINGS, engines=(ENGINES[0], replace(ENGINES[1], url="http://127.0.0.1/moved"), *ENGINES[2:], OTHER))
WHOLE = replace(SETTINGS, engines=(*ENGINES, OTHER), leases_capacity=6)
CAPPED = replace(WHOLE, max_requests=2, max_wait_seconds=1.0, slow_start_seconds=0.0, index_enabled=False)


class AnyInterleaving(RuleBasedStateMachine):
    """Whatever happens in whatever order: no load below zero, no leak, no model without an engine that once had one."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet = Fleet(WHOLE, 0.0)
        self.now = 0.0
        self.all_engines_stayed = True

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 10.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        request_id=ids,
        key=st.integers(0, 6),
        tokens=st.integers(0, 50_000),
        model=st.sampled_from(["m", "other"]),
        blocks=st.sampled_from([(), (1,), (1, 2), (3, 4, 5)]),
        previous=st.sampled_from([0, 0, 1, 2]),
    )
    def decide(
        self, *, request_id: str, key: int, tokens: int, model: str, blocks: tuple[int, ...], previous: int
    ) -> None:
        usable = {found.name: found.full for found in self.engines() if found.available and found.model == model}
        try:
            choice = self.fleet.decide(ask(request_id, key, tokens, model, blocks=blocks, previous=previous), self.now)
        except NoEngine:
            assert not usable
        except Saturated:
            assert any(usable.values())
        else:
            assert not usable[choice.engine]
            assert 0 <= choice.uncached_tokens <= tokens

    @rule(request_id=ids, server=names, status=st.sampled_from([200, 404, 500]))
    def begun(self, request_id: str, server: str, status: int) -> None:
        self.fleet.begun(request_id, server, self.now, status)

    @rule(request_id=ids, server=names)
    def computing(self, request_id: str, server: str) -> None:
        self.fleet.computing(request_id, server, self.now)

    @rule(outcome=outcomes)
    def finished(self, outcome: Outcome) -> None:
        self.fleet.finished(outcome, self.now)

    @rule(request_id=ids)
    def stored(self, request_id: str) -> None:
        self.fleet.stored(request_id, f"resp_{request_id}", self.now)

    @rule(name=names, tokens=st.integers(-5, 50_000), in_flight=st.integers(-1, 5))
    def foreign(self, name: str, tokens: int, in_flight: int) -> None:
        self.fleet.foreign(name, tokens, in_flight)

    @rule(name=names, sessions=st.sampled_from([0, 0, 0, 1, 2]), since=st.sampled_from([float("-inf"), 0.0, 30.0, 1e9]))
    def reconcile(self, name: str, sessions: int, since: float) -> None:
        self.fleet.reconcile(name, sessions, self.now, since)

    @rule(name=names, number=st.sampled_from([-1, 0, 1, 500, 200_000]))
    def measured(self, name: str, number: int) -> None:
        self.fleet.cache(name, number)
        self.fleet.calibrated(name, float(number))

    @rule(settings=st.sampled_from([REDUCED, MOVED, WHOLE, CAPPED]))
    def configure(self, settings: FleetSettings) -> None:
        self.fleet.configure(settings)
        self.all_engines_stayed = False

    @rule(
        name=st.sampled_from("abcz"),
        ok=st.booleans(),
        hint=st.sampled_from([None, 1.0, 2.0]),
        progress=st.sampled_from([None, (1.0,), (2.0,)]),
        waited=st.sampled_from([None, 2.0]),
    )
    def probe(
        self, name: str, hint: float | None, progress: tuple[float, ...] | None, waited: float | None, *, ok: bool
    ) -> None:
        if self.known(name):
            seen = Probe(ok, 0.5, hint, progress, waited_seconds=None if ok else waited)
            self.fleet.probe(name, seen, self.now)

    @rule(name=st.sampled_from("abcz"))
    def drain(self, name: str) -> None:
        if self.known(name):
            self.fleet.drain(name)

    @rule(name=st.sampled_from("abcz"))
    def undrain(self, name: str) -> None:
        if self.known(name):
            self.fleet.undrain(name)

    @rule()
    def expire(self) -> None:
        self.fleet.expire(self.now)

    @precondition(lambda self: self.fleet.snapshot(0.0).leases > 0)
    @rule()
    def all_requests_end(self) -> None:
        for request_id in map(str, range(10)):
            self.fleet.finished(Outcome(request_id, "", -1, "CD"), self.now)
        assert self.fleet.snapshot(self.now).leases == 0
        self.idle_means_no_load()

    def known(self, name: str) -> bool:
        return any(found.name == name for found in self.engines())

    def engines(self) -> tuple[EngineSnapshot, ...]:
        return self.fleet.snapshot(self.now).engines

    @invariant()
    def load_is_the_sum_of_leases_and_never_negative(self) -> None:
        assert all(found.in_flight >= 0 and found.uncached_tokens >= 0 for found in self.engines())
        held, leases = sum(found.in_flight for found in self.engines()), self.fleet.snapshot(self.now).leases
        assert held == leases if self.all_engines_stayed else held <= leases
        assert self.fleet.loads() == {found.name: (found.uncached_tokens, found.in_flight) for found in self.engines()}

    @invariant()
    def rates_stay_usable(self) -> None:
        assert all(found.prefill_tokens_per_second > 0 for found in self.engines())

    @invariant()
    def idle_means_no_load(self) -> None:
        if self.fleet.snapshot(self.now).leases == 0:
            assert all((found.in_flight, found.uncached_tokens) == (0, 0) for found in self.engines())

    @invariant()
    def a_model_that_ever_had_a_healthy_engine_keeps_one(self) -> None:
        for model in ("m", "other"):
            states = {found.name: found.state for found in self.engines() if found.model == model}
            if any(state is not State.STARTING for state in states.values()):
                assert set(states.values()) & {State.READY, State.SUSPECT, State.DRAINING}

    @invariant()
    def tables_are_bounded(self) -> None:
        snapshot = self.fleet.snapshot(self.now)
        assert snapshot.leases <= 6
        assert snapshot.bindings <= SETTINGS.bindings_capacity

    def teardown(self) -> None:
        self.fleet.expire(self.now + SETTINGS.leases_ttl_seconds)
        assert all((found.in_flight, found.uncached_tokens) == (0, 0) for found in self.engines())


TestAnyInterleaving = AnyInterleaving.TestCase
TestAnyInterleaving.settings = hypothesis_settings(max_examples=60, stateful_step_count=60)
