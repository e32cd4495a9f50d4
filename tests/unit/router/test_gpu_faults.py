"""What a watcher says becomes drains, once for each fault, and never the last engine of a model."""

import pytest
from aiohttp import web

from router.fleet import EngineSettings, Fleet, FleetSettings, Probe
from router.gpu_faults import Fault, GpuFaultMetrics, GpuFaults, Report, Watched
from tests.support.beside import beside
from tests.support.until import until

A, B = "http://10.0.0.1:9401", "http://10.0.0.2:9401"
OFF_THE_BUS = Fault(0, "x-1", "the GPU fell off the bus", 79)
NOTHING = Report()


def fleet(*names: str) -> Fleet:
    found = Fleet(FleetSettings(tuple(EngineSettings(name, f"http://{name}:1", "m") for name in names)), 0.0)
    for name in names:
        found.probe(name, Probe(ok=True), 1.0)
    return found


def watched(engine: str, url: str, *gpus: int) -> Watched:
    return Watched(engine, f"http://{engine}:1", url, frozenset(gpus))


def drained(found: Fleet) -> dict[str, str]:
    return {engine.name: engine.drain_reason for engine in found.snapshot(1.0).engines if engine.draining}


PAIRS = (watched("a0", A, 0, 1), watched("a1", A, 2, 3), watched("b0", B, 0, 1))


def test_exactly_the_engines_that_use_the_gpu_are_drained() -> None:
    """Not its neighbour on the same host, nor the one on the same GPU of another host."""
    found = fleet("a0", "a1", "b0")
    GpuFaults(found, PAIRS).heard(A, Report((OFF_THE_BUS,)))
    assert drained(found) == {"a0": "gpu"}


def test_the_last_engine_of_a_model_goes_on_until_another_can_take_its_work() -> None:
    """A doubtful engine beats none, and is looked at again with each answer."""
    found = fleet("a0", "b0")
    faults = GpuFaults(found, (PAIRS[0], PAIRS[2]))
    found.drain("b0")
    for _ in range(2):
        faults.heard(A, Report((OFF_THE_BUS,)))
    assert drained(found) == {"b0": "operator"}
    assert faults.faulty == {"a0": OFF_THE_BUS.why}
    found.undrain("b0")
    faults.heard(A, Report((OFF_THE_BUS,)))
    assert drained(found) == {"a0": "gpu"}


def test_a_fault_for_which_somebody_else_has_drained_is_handled() -> None:
    """Its end is an operator's order, and no other engine's return brings the drain back."""
    found = fleet("a0", "b0")
    faults = GpuFaults(found, (PAIRS[0], PAIRS[2]))
    found.drain("b0")
    found.drain("a0", "gpu")
    faults.heard(A, Report((OFF_THE_BUS,)))
    found.undrain("a0")
    found.undrain("b0")
    faults.heard(A, Report((OFF_THE_BUS,)))
    assert drained(found) == {}


def test_of_two_engines_that_are_all_there_is_one_goes_on() -> None:
    """A host with both engines of a model loses both GPUs."""
    found = fleet("a0", "a1")
    GpuFaults(found, PAIRS[:2]).heard(A, Report((OFF_THE_BUS, Fault(2, "x-2", "gone"))))
    assert len(drained(found)) == 1


def test_an_engine_works_again_when_nothing_is_held_against_its_gpus() -> None:
    """The watcher is told, not the router."""
    found = fleet("a0", "b0")
    faults = GpuFaults(found, (PAIRS[0], PAIRS[2]))
    faults.heard(A, Report((OFF_THE_BUS,)))
    faults.heard(A, NOTHING)
    assert drained(found) == {}
    assert faults.faulty == {}


def test_an_operator_who_lets_it_work_is_obeyed_until_there_is_another_fault() -> None:
    """The same fault is said every second and does not argue."""
    found = fleet("a0", "b0")
    faults = GpuFaults(found, (PAIRS[0], PAIRS[2]))
    faults.heard(A, Report((OFF_THE_BUS,)))
    found.undrain("a0")
    faults.heard(A, Report((OFF_THE_BUS,)))
    assert drained(found) == {}
    faults.heard(A, Report((OFF_THE_BUS, Fault(1, "x-2", "an ECC error", 48))))
    assert drained(found) == {"a0": "gpu"}


@pytest.mark.parametrize("before", [True, False])
def test_an_operators_drain_outlives_the_fault(before: bool) -> None:
    """Whether it came before the fault or after it."""
    found = fleet("a0", "b0")
    faults = GpuFaults(found, (PAIRS[0], PAIRS[2]))
    if before:
        found.drain("a0")
    faults.heard(A, Report((OFF_THE_BUS,)))
    if not before:
        found.drain("a0")
    faults.heard(A, NOTHING)
    assert drained(found) == {"a0": "operator"}


def test_an_engine_that_moved_is_judged_anew() -> None:
    """Another place may have another GPU; what was drained there is a new engine here."""
    found = fleet("a0", "b0")
    faults = GpuFaults(found, (PAIRS[0], PAIRS[2]))
    faults.heard(A, Report((OFF_THE_BUS,)))
    found.undrain("a0")
    faults.configure((Watched("a0", "http://elsewhere:1", A, frozenset({0})), PAIRS[2]))
    faults.heard(A, Report((OFF_THE_BUS,)))
    assert drained(found) == {"a0": "gpu"}


def test_the_metrics_say_which_engine_has_a_fault() -> None:
    """Also for the one that goes on because it is the last."""
    faults = GpuFaults(fleet("a0"), PAIRS[:1])
    faults.heard(A, Report((OFF_THE_BUS,)))
    faults.silent.add(B)
    samples = {
        (sample.name, sample.labels.get("engine")): sample.value
        for family in GpuFaultMetrics(faults).collect()
        for sample in family.samples
    }
    assert samples == {
        ("ironrack_router_engine_gpu_fault", "a0"): 1,
        ("ironrack_router_gpu_watchers_silent", None): 1,
    }


async def test_a_watcher_is_asked_and_its_silence_changes_nothing() -> None:
    """Garbage, an error and nobody at all: what was said last holds."""
    said: list[str] = [
        '{"version": 1, "gpus": 2, "faults": [{"gpu": 0, "id": "x-1", "why": "gone", "xid": 0, "since": 1}]}'
    ]

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=said[0]) if said[0] else web.Response(status=500)

    app = web.Application()
    app.add_routes([web.get("/faults", answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    found = fleet("a0", "b0")
    faults = GpuFaults(found, (watched("a0", url, 0), watched("b0", B, 0)))
    try:
        async with beside(faults.run()):
            await until(lambda: bool(drained(found)), "it is drained")
            for bad in ("{", "", '{"faults": 1}'):
                said[0] = bad
                faults.silent.discard(url)
                await until(lambda: url in faults.silent, "the answer was no answer")
                assert drained(found) == {"a0": "gpu"}
            said[0] = '{"faults": []}'
            await until(lambda: not drained(found), "it works again")
    finally:
        await runner.cleanup()
