"""Engine: what each vLLM does, as the engine itself and the router see it."""

from __future__ import annotations

from observe.dashboards.model import Board, Panel, Row, ask, over, under
from observe.dashboards.variables import ENGINE, MODEL
from observe.dashboards.variables import OF_ENGINE as E
from observe.dashboards.variables import OF_MODEL as M

KV_OFFLOAD = "kv-offload"
_P95 = '{quantile="0.95", model=~"$model", engine=~"$engine"}'

_STATE = Row(
    "State",
    [
        Panel(
            101,
            "Gets new work",
            "Whether the router sends requests there. A stripe that flickers is an engine that comes and goes.",
            "bool_yes_no",
            [ask(f"ironrack:engine_available{E}", "{{engine}}")],
            kind="states",
            steps=under(1, 1),
            alerts=("EngineFrozen",),
        ),
        Panel(
            104,
            "Metrics can be read",
            "Where not, the panels below have gaps, and nobody knows what it does.",
            "bool_yes_no",
            [ask(f"ironrack:engine_up{E}", "{{engine}}")],
            kind="states",
            steps=under(1, 1),
            width=6,
        ),
        Panel(
            102,
            "Ejections in the last hour",
            "How often the router gave up on it: transport errors, 5xx, or no progress.",
            "short",
            [ask(f"ironrack:engine_ejections:1h{E}", "{{engine}}")],
            steps=over(1, 3),
            alerts=("EngineFlapping",),
            width=5,
        ),
        Panel(
            103,
            "Starts in the last hour",
            "Times the process began anew. Its logs say why the one before ended.",
            "short",
            [ask(f"ironrack:engine_restarts:1h{E}", "{{engine}}")],
            steps=over(1, 3),
            width=5,
        ),
    ],
)

_WORK = Row(
    "Work",
    [
        Panel(
            201,
            "Requests in the batch",
            "Requests it computes at the same time.",
            "short",
            [ask(f"ironrack:engine_requests_running{E}", "{{engine}}")],
        ),
        Panel(
            202,
            "Requests that wait inside",
            "Waiting for room in the batch or in the KV cache.",
            "short",
            [ask(f"ironrack:engine_requests_waiting{E}", "{{engine}}")],
            steps=over(10, 50),
        ),
        Panel(
            203,
            "Requests ended",
            "By how they ended: `stop` and `length` are whole answers, `abort` is a client that left.",
            "reqps",
            [ask(f"sum by (reason) (ironrack:engine_requests_finished:rate{E})", "{{reason}}")],
            stacked=True,
        ),
        Panel(
            204,
            "Tokens generated",
            "At 0 with requests in the batch the engine is frozen.",
            "suffix: tokens/s",
            [ask(f"ironrack:engine_generation_tokens:rate{E}", "{{engine}}")],
        ),
        Panel(
            205,
            "Prompt tokens taken in",
            "Cached ones included.",
            "suffix: tokens/s",
            [ask(f"ironrack:engine_prompt_tokens:rate{E}", "{{engine}}")],
        ),
        Panel(
            206,
            "Requests thrown out of the batch",
            "Preemptions: the KV cache was full, and their work is done again. Anything above 0 costs everybody time.",
            "reqps",
            [ask(f"ironrack:engine_preemptions:rate{E}", "{{engine}}")],
            steps=over(0.01, 0.1),
        ),
    ],
)

_LATENCY = Row(
    "Time",
    [
        Panel(
            301,
            "First token, p95",
            "Measured in the engine, without the way there.",
            "s",
            [ask(f"ironrack:engine_ttft_seconds:quantile{_P95}", "{{engine}}")],
            steps=over(2, 5),
        ),
        Panel(
            302,
            "Between tokens, p95",
            "Grows with the size of the batch.",
            "s",
            [ask(f"ironrack:engine_itl_seconds:quantile{_P95}", "{{engine}}")],
            steps=over(0.1, 0.25),
        ),
        Panel(
            303,
            "Wait inside the engine, p95",
            "Before the prefill begins.",
            "s",
            [ask(f"ironrack:engine_queue_seconds:quantile{_P95}", "{{engine}}")],
            steps=over(1, 5),
        ),
        Panel(
            304,
            "Whole request, p95",
            "From its arrival at the engine to its last token.",
            "s",
            [ask(f"ironrack:engine_e2e_seconds:quantile{_P95}", "{{engine}}")],
        ),
        Panel(
            305,
            "Prefill and decode, mean",
            "Where the time goes: long prefills want cache or more engines, long decodes smaller batches.",
            "s",
            [
                ask(f"ironrack:engine_prefill_seconds:mean{E}", "{{engine}}, prefill"),
                ask(f"ironrack:engine_decode_seconds:mean{E}", "{{engine}}, decode"),
            ],
        ),
        Panel(
            306,
            "Prompts and answers, mean length",
            "What the work is made of. Latencies before and after a change of this compare different things.",
            "suffix: tokens",
            [
                ask(f"ironrack:engine_prompt_length_tokens:mean{E}", "{{engine}}, prompt"),
                ask(f"ironrack:engine_answer_length_tokens:mean{E}", "{{engine}}, answer"),
            ],
        ),
    ],
)

_BY_MODEL = Row(
    "Time, all engines of a model together",
    [
        Panel(
            601,
            "First token",
            "As engines measure it. Far below the time to first byte of Fleet overview: requests wait before engines.",
            "s",
            [ask(f"ironrack:model_ttft_seconds:quantile{M}", "{{model}} p{{quantile}}")],
        ),
        Panel(
            602,
            "Wait inside engines",
            "Before the prefill begins.",
            "s",
            [ask(f"ironrack:model_queue_seconds:quantile{M}", "{{model}} p{{quantile}}")],
        ),
        Panel(
            603,
            "Whole request",
            "From its arrival at an engine to its last token.",
            "s",
            [ask(f"ironrack:model_e2e_seconds:quantile{M}", "{{model}} p{{quantile}}")],
        ),
    ],
)

_CACHE = Row(
    "KV cache",
    [
        Panel(
            401,
            "KV cache in use",
            "Near 100 % requests wait for room, then are thrown out of the batch.",
            "percentunit",
            [ask(f"ironrack:engine_kv_usage_ratio{E}", "{{engine}}")],
            steps=over(0.85, 0.95),
            alerts=("KvCacheSaturated",),
            top=1,
        ),
        Panel(
            402,
            "Prompt tokens found in the cache",
            "Its own prefix cache. Low with long conversations: it forgets too early, or sessions go elsewhere.",
            "percentunit",
            [ask(f"ironrack:engine_prefix_hit_ratio{E}", "{{engine}}")],
            top=1,
        ),
        Panel(
            403,
            "Prompt tokens looked up, and found",
            "The two figures behind the share beside.",
            "suffix: tokens/s",
            [
                ask(f"sum(ironrack:engine_prefix_queries:rate{E})", "looked up"),
                ask(f"sum(ironrack:engine_prefix_hits:rate{E})", "found"),
            ],
        ),
        Panel(
            404,
            "Drafted tokens accepted",
            "Of speculative decoding. Below a half the drafts cost more than they bring.",
            "percentunit",
            [ask(f"ironrack:engine_draft_accept_ratio{E}", "{{engine}}")],
            steps=under(0.5, 0.3),
            top=1,
            width=24,
        ),
    ],
)

_OFFLOAD = Row(
    "KV offload",
    [
        Panel(
            501,
            "Prompt tokens found in the offloaded cache",
            "Of those that the GPU's own cache did not have.",
            "percentunit",
            [ask(f"ironrack:engine_external_prefix_hit_ratio{E}", "{{engine}}")],
            top=1,
            width=12,
        ),
        Panel(
            502,
            "KV cache moved",
            "To memory and back. Much out and little back: the offloaded cache is not worth its copies.",
            "binBps",
            [
                ask(
                    f"sum by (engine, direction) (ironrack:engine_kv_offload_bytes:rate{E})",
                    "{{engine}}, {{direction}}",
                )
            ],
            width=12,
        ),
    ],
    feature=KV_OFFLOAD,
)

ENGINES = Board(
    "ironrack-engine",
    "Engine",
    "What each engine does. Choose a model, then engines that Fleet overview called slow.",
    [_STATE, _WORK, _LATENCY, _BY_MODEL, _CACHE, _OFFLOAD],
    [MODEL, ENGINE],
)
