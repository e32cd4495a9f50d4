"""Router and affinity: where requests go and why, whether sessions find their cache, and the router itself."""

from __future__ import annotations

from observe.dashboards.model import LOAD, Board, Panel, Row, ask, over, under
from observe.dashboards.router_self import ITSELF, KV_EVENTS
from observe.dashboards.variables import ENGINE, MODEL
from observe.dashboards.variables import OF_ENGINE as E

_DECISIONS = Row(
    "Where do requests go, and why?",
    [
        Panel(
            101,
            "Decisions by reason",
            "`home`: to the session's engine. `new`: first turn. `spill`: home was too busy. `drain`, `eject`: home is "
            "out. `fallback`: the edge decided alone.",
            "reqps",
            [ask("ironrack:decisions:rate", "{{why}}")],
            stacked=True,
        ),
        Panel(
            102,
            "Returning sessions that stayed home",
            "The point of it all: a turn at home finds its prompt in the cache.",
            "percentunit",
            [ask("ironrack:affinity_hit_ratio", "stayed")],
            steps=under(0.9, 0.5),
            top=1,
        ),
        Panel(
            103,
            "Decisions that left home",
            "`spill` of all decisions. A few per cent is balance; much more is a fleet that is too small or lopsided.",
            "percentunit",
            [
                ask(
                    '(sum(ironrack:decisions:rate{why="spill"}) or vector(0)) / sum(ironrack:decisions:rate)',
                    "spilled",
                    LOAD,
                )
            ],
            steps=over(0.1, 0.3),
        ),
        Panel(
            104,
            "What sessions are recognised by",
            "Only `fingerprint`: no client sends an id, and conversations are told apart by how they begin.",
            "reqps",
            [ask("ironrack:key_sources:rate", "{{source}}")],
            stacked=True,
        ),
        Panel(
            105,
            "Affinity does little",
            "`never_repeat`: no session came twice. `unnamed`: most requests carried no session key.",
            "bool_yes_no",
            [ask("ironrack:affinity_inert", "{{reason}}")],
            kind="states",
            steps=over(1, 1),
            alerts=("AffinityInert",),
        ),
        Panel(
            106,
            "Prompt tokens believed cached",
            "What the router expected where it sent them. Far above what engines find: its picture of them is wrong.",
            "percentunit",
            [ask("ironrack:prompt_cached_ratio", "believed")],
            top=1,
        ),
    ],
)

_TIME = Row(
    "How long does it take?",
    [
        Panel(
            201,
            "Time per decision",
            "Of the router alone. The edge stops waiting after `decide_milliseconds` (50 ms) and decides by itself.",
            "s",
            [ask("max by (quantile) (ironrack:router_decision_seconds:quantile)", "p{{quantile}}")],
            steps=over(0.005, 0.02),
            width=12,
        ),
        Panel(
            202,
            "First byte by reason, p95",
            "`home` should be far below `new`: the difference is what affinity brings.",
            "s",
            [ask('ironrack:why_first_byte_seconds:quantile{quantile="0.95"}', "{{why}}")],
            width=12,
        ),
    ],
)

_LOAD = Row(
    "What each engine is believed to have",
    [
        Panel(
            301,
            "Prefill work ahead (U ÷ R)",
            "Seconds until a new prompt would begin: what decisions compare. Lines far apart: sessions cling to home.",
            "s",
            [ask(f"ironrack:engine_uncached_tokens{E} / ironrack:engine_prefill_tokens_per_second{E}", "{{engine}}")],
            steps=over(2, 10),
        ),
        Panel(
            302,
            "Prompt tokens ahead (U)",
            "Sent there, first byte not seen yet, not believed cached.",
            "suffix: tokens",
            [ask(f"ironrack:engine_uncached_tokens{E}", "{{engine}}")],
        ),
        Panel(
            303,
            "Prefill rate (R)",
            "Each its own; prices level what is alike. One far below its like is slow or was measured while busy.",
            "suffix: tokens/s",
            [ask(f"ironrack:engine_prefill_tokens_per_second{E}", "{{engine}}")],
        ),
        Panel(
            304,
            "Requests in flight",
            "As the routers count them.",
            "short",
            [ask(f"ironrack:engine_in_flight{E}", "{{engine}}")],
        ),
        Panel(
            305,
            "At its cap",
            "1 while an engine is given no more; with all at 1, requests wait.",
            "bool_yes_no",
            [ask(f"ironrack:engine_full{E}", "{{engine}}")],
            kind="states",
            steps=over(1, 1),
        ),
        Panel(
            306,
            "Decisions by engine",
            "Ten with most.",
            "reqps",
            [ask('topk(10, sum by (engine) (ironrack:engine_decisions:rate{engine=~"$engine"}))', "{{engine}}")],
        ),
        Panel(
            307,
            "Ejections in the last hour",
            "Engines the router gave up on, and why.",
            "short",
            [ask(f"ironrack:engine_ejections_by_reason:1h{E}", "{{engine}}: {{reason}}")],
            kind="bars",
            steps=over(1, 3),
            width=12,
        ),
        Panel(
            308,
            "Why ejected the last time",
            "Stays until the next ejection, also when the engine is back.",
            "short",
            [ask(f"ironrack:engine_eject_reason{E} == 1", "{{engine}}: {{reason}}")],
            kind="table",
            width=12,
        ),
    ],
)

_QUEUE = Row(
    "Who waits, who is refused?",
    [
        Panel(
            401,
            "Waiting for an engine",
            "By class. Only with caps (`stack_router.admission`) does anybody wait here.",
            "short",
            [ask("ironrack:queue_requests", "{{class}}"), ask("ironrack:queue_capacity_requests", "room")],
            alerts=("QueueGrowing",),
        ),
        Panel(
            402,
            "Time waited, p95",
            "Of requests that an engine then took.",
            "s",
            [
                ask(
                    'ironrack:queue_seconds:quantile{quantile="0.95"}',
                    "{{class}}",
                )
            ],
            steps=over(5, 20),
        ),
        Panel(
            403,
            "Refused, by reason",
            "The `code` that clients read in the error.",
            "reqps",
            [ask("ironrack:rejections:rate", "{{reason}}")],
            stacked=True,
        ),
        Panel(
            404,
            "Refused, by status",
            "429: come again later. 404: no such model. 503: no engine.",
            "reqps",
            [ask("ironrack:refusals:rate", "{{status}}")],
            stacked=True,
        ),
        Panel(
            405,
            "Second tries",
            "Tries after the first, and decisions that got none because the retry budget was spent.",
            "ops",
            [ask("ironrack:retries:rate", "tried again"), ask("ironrack:retries_withheld:rate", "withheld")],
            steps=over(0.1, 1),
        ),
        Panel(
            406,
            "Left while waiting",
            "Clients that hung up before an engine was free.",
            "reqps",
            [ask("ironrack:queue_abandoned:rate", "left")],
            steps=over(0.1, 1),
        ),
    ],
)

_OUTCOMES = Row(
    "How do requests end?",
    [
        Panel(
            501,
            "Completed, by status class",
            "Over all engines.",
            "reqps",
            [ask('sum by (class) (ironrack:engine_outcomes:rate{engine=~"$engine"})', "{{class}}")],
            stacked=True,
        ),
        Panel(
            502,
            "Broken off after they had begun",
            "Answers that an engine did not finish. Nobody can send these again: the client has seen a part.",
            "ops",
            [ask('ironrack:engine_truncated:rate{engine=~"$engine"}', "{{engine}}")],
            steps=over(0.01, 0.1),
        ),
        Panel(
            503,
            "Client left",
            "Requests whose client hung up. Many at one engine: it is slow.",
            "reqps",
            [ask('ironrack:engine_aborted:rate{engine=~"$engine"}', "{{engine}}")],
        ),
        Panel(
            504,
            "Refused, by model",
            "All of one model with 503: it has no engine left. What clients call by a name of nobody has no model.",
            "reqps",
            [ask('ironrack:model_refusals:rate{model=~"$model"}', "{{model}} {{status}}")],
            width=12,
        ),
        Panel(
            505,
            "Broken off, by model",
            "Answers that did not end, of all engines of a model.",
            "ops",
            [ask('ironrack:model_truncated:rate{model=~"$model"}', "{{model}}")],
            steps=over(0.01, 0.1),
            width=12,
        ),
    ],
)

ROUTER = Board(
    "ironrack-router",
    "Router and affinity",
    "Where requests go and why, whether sessions find their cache, who waits, and whether the router is well.",
    [_DECISIONS, _TIME, _LOAD, _QUEUE, _OUTCOMES, ITSELF, KV_EVENTS],
    [MODEL, ENGINE],
)
