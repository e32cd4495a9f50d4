"""Counts → families: names, help texts and labels, each once. Reads plain numbers, changes nothing."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from router.door import Door
from router.exposition import Family, Row, counter, counters, gauge, gauges, histograms, labels
from router.fleet import EngineSnapshot, FleetSnapshot, State
from router.pick import Why
from router.tally import NO_ENGINE, Tally

_RETURNING = (Why.HOME, Why.SPILL, Why.DRAIN, Why.EJECT)
_DECIDED = tuple((why.value, f',why="{why.value}"') for why in (*_RETURNING, Why.NEW))
_STATES = tuple((state, f',state="{state.value}"') for state in State)


def decisions(tally: Tally, names: frozenset[str]) -> Iterator[Family]:
    """Where requests went, and why; who was turned away; how long deciding took."""
    rows = [
        (which + label, tally.decisions.get((engine, why), 0))
        for engine in names
        for which in [labels(engine=engine)]
        for why, label in _DECIDED
    ]
    yield counters("decisions", "Requests given to an engine, by engine and reason.", rows)
    refused = [(labels(status=str(status)), count) for status, count in tally.refusals.items()]
    yield counters("refusals", "Requests refused, by HTTP status.", refused)
    yield counters("rejections", "Requests refused, by reason.", _by("reason", tally.rejections))
    rows = [(labels(model=model, status=str(status)), count) for (model, status), count in tally.model_refusals.items()]
    yield counters("model_refusals", "Requests refused, by model; an empty one where none of ours was named.", rows)
    yield counter("proxied", "Requests that only the HTTP side could serve.", tally.proxied)
    yield counters("carried", "What became of requests carried by the HTTP side.", _by("event", tally.carried))
    text = "Decisions, by what the session key was taken from."
    yield counters("key_sources", text, _by("source", tally.key_sources))
    yield histograms("decision_seconds", "From a question read to its answer written.", {"": tally.seconds})


def affinity(tally: Tally) -> Iterator[Family]:
    """How often sessions stay where they are, and whether they can be recognised at all."""
    by_why: Counter[str] = Counter()
    for (_, why), count in tally.decisions.items():
        by_why[why] += count
    returning = sum(by_why[why] for why in _RETURNING)
    yield counter("affinity_returning", "Decisions for a session that had a home.", returning)
    yield counter("affinity_hits", "Decisions that kept a session at its home.", by_why[Why.HOME])
    inert = {"never_repeat": tally.inert.never_repeat, "unnamed": tally.inert.unnamed}
    text = "1 while affinity does little: of the last 200 decisions none had a home, or most had no session key."
    yield gauges("affinity_inert", text, _by("reason", inert))
    yield counter("prompt_tokens", "Prompt tokens of all decisions, estimated.", tally.prompt_tokens)
    text = "Prompt tokens that the chosen engine was not believed to hold."
    yield counter("uncached_tokens", text, tally.uncached_tokens)


def outcomes(tally: Tally, names: frozenset[str]) -> Iterator[Family]:
    """How requests ended, how long they took, and what they used."""
    known = {*names, NO_ENGINE}
    rows = [
        (labels(engine=engine, class_=status), count)
        for (engine, status), count in tally.outcomes.items()
        if engine in known
    ]
    yield counters("outcomes", "Completed requests, by engine and status class.", rows)
    mine = [(labels(tenant=whose, class_=status), count) for (whose, status), count in tally.tenant_outcomes.items()]
    yield counters("tenant_outcomes", "Completed and refused requests, by tenant and status class.", mine)
    yield counter("fallback", "Completed requests that the edge placed by itself.", tally.fallbacks)
    for name, text, counts in (
        ("truncated_streams", "Answers that the engine broke off after they had begun.", tally.truncated),
        ("aborted", "Requests whose client left before the end.", tally.aborted),
    ):
        yield counters(name, text, _by("engine", {key: count for key, count in counts.items() if key in known}))
    first = {labels(model=model, why=why): found for (model, why), found in tally.first_bytes.items()}
    yield histograms("first_byte_seconds", "From a request's headers to the first byte of its answer.", first)
    whole = {labels(model=model): found for model, found in tally.durations.items()}
    yield histograms("request_seconds", "From a request's headers to the last byte of its answer.", whole)
    used = [
        (labels(tenant=tenant, model=model, kind=kind), count) for (tenant, model, kind), count in tally.tokens.items()
    ]
    yield counters("tokens", "Tokens of completed requests, as the engine counted them, else estimated.", used)
    yield counter("retries", "Tries after the first, as the edge counted them.", tally.retries)
    yield counter("events", "Completion lines read.", tally.events)
    yield counter("events_garbage", "Completion lines that could not be read.", tally.garbage)
    yield counter("log_dropped", "Log lines given up because stdout did not take them.", tally.log_dropped)


def waiting(tally: Tally, door: Door) -> Iterator[Family]:
    """Who waits for an engine, for how long, and who gave up; what tenants have left; whether retries are granted."""
    room = door.room
    yield gauges("queue_requests", "Requests that wait for an engine now.", _by("class", room.depths()))
    yield gauge("queue_capacity_requests", "Requests that may wait.", room.settings.capacity)
    waits = {labels(class_=name): found for name, found in tally.waits.items()}
    yield histograms("queue_seconds", "How long requests waited that an engine then took.", waits)
    yield counter("queue_abandoned", "Requests whose client left while they waited.", room.abandoned)
    yield counter("queue_never_entered", "Requests that were told to wait and never came to.", room.never_entered)
    text = "Tokens a tenant may spend now, as of its last request."
    yield gauges("tenant_tokens_left", text, _by("tenant", door.tenants.left()))
    text = "Decisions without a second try, or tries not made, because the retry budget was spent."
    yield counter("retries_withheld", text, door.retries.refused)


_ENGINE_GAUGES = (
    ("in_flight", "Requests at the engine.", "in_flight"),
    ("uncached_tokens", "Prompt tokens sent there whose first byte has not come.", "uncached_tokens"),
    ("foreign_in_flight", "Requests that other routers have at the engine.", "foreign_in_flight"),
    ("foreign_uncached_tokens", "The same tokens of other routers' requests.", "foreign_uncached_tokens"),
    (
        "prefill_tokens_per_second",
        "Its prefill rate; prices level those about the same.",
        "prefill_tokens_per_second",
    ),
    ("kv_usage_ratio", "KV cache in use, 0 to 1.", "kv_usage"),
    ("available", "1 when it gets new work.", "available"),
    ("full", "1 while it is at its cap.", "full"),
    ("index_tokens", "Tokens it is believed to hold of prompts.", "index_tokens"),
)


def engines(snapshots: Iterable[EngineSnapshot]) -> Iterator[Family]:
    """Load and health of every engine."""
    found = [(labels(engine=engine.name, model=engine.model), engine) for engine in snapshots]
    for name, text, read in _ENGINE_GAUGES:
        yield gauges(f"engine_{name}", text, [(which, getattr(engine, read)) for which, engine in found])
    states = [(f'{which},state="{state.value}"', engine.state is state) for which, engine in found for state in State]
    yield gauges("engine_state", "1 for the state it is in.", states)
    ejected = [
        (f"{which},{labels(reason=reason)}", count)
        for which, each in found
        for reason, count in each.eject_counts.items()
    ]
    yield counters("engine_ejections", "Times it was ejected, by reason.", ejected)
    last = [(f"{which},{labels(reason=each.eject_reason)}", 1) for which, each in found if each.eject_reason]
    yield gauges("engine_eject_reason", "1 for why it was ejected the last time.", last)


def probes(tally: Tally, ages: Mapping[str, float], names: frozenset[str]) -> Iterator[Family]:
    """Whether the prober itself is alive."""
    known = {engine: seconds for engine, seconds in ages.items() if engine in names}
    yield gauges("probe_age_seconds", "Since the last probe ended.", _by("engine", known))
    results = [
        (f'{labels(engine=name)},result="{"ok" if ok else "failed"}"', tally.probes[name, ok])
        for name in names
        for ok in (True, False)
    ]
    yield counters("probes", "Probes, by engine and result.", results)
    restarts = {name: tally.prober_restarts[name] for name in names}
    yield counters("prober_restarts", "Times a probe loop died and was started again.", _by("engine", restarts))


def inside(tally: Tally, fleet: FleetSnapshot) -> Iterator[Family]:
    """The router's own tables, connections and faults."""
    yield gauge("leases", "Requests in flight that the router knows of.", fleet.leases)
    yield gauge("bindings", "Sessions whose home is remembered.", fleet.bindings)
    yield gauge("index_entries", "Prompt blocks remembered, over all engines.", fleet.index_entries)
    for name, count in sorted(fleet.counts.items()):
        yield counter(name, f"Fleet: {name.replace('_', ' ')}.", count)
    yield counter("internal_errors", "Questions answered with nothing because of a fault here.", tally.internal_errors)
    yield gauge("spop_connections", "Open connections from the edge.", tally.spop_connections)
    ends = [(labels(status=str(int(status))), count) for status, count in tally.spop_ends.items()]
    yield counters("spop_disconnects", "Connections ended with a DISCONNECT, by status.", ends)


def _by(label: str, values: Mapping[str, float]) -> list[Row]:
    """Rows of one label."""
    return [(labels(**{label: name}), value) for name, value in values.items()]
