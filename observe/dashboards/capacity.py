"""Capacity and SLO: are promises kept, how much room is left, what a GPU yields, can all this be trusted."""

from __future__ import annotations

from observe.dashboards.model import LOAD, Board, Panel, Row, ask, over, under
from observe.dashboards.variables import MODEL
from observe.dashboards.variables import OF_MODEL as M

_PROMISES = Row(
    "Are promises kept?",
    [
        Panel(
            101,
            "Error budget left",
            "By promise. At 0 the promise is just kept; below it is broken, and changes should wait.",
            "percentunit",
            [ask(f"ironrack:slo_budget_left_ratio{M}", "{{model}} {{slo}}")],
            kind="bars",
            steps=under(0.5, 0.1),
        ),
        Panel(
            102,
            "Burn rate",
            "How many times faster than allowed the budget is spent. At 1 it lasts exactly its days; at 14.4 a month's "
            "budget is gone in two.",
            "suffix:x",
            [
                ask(
                    'ironrack:slo_burn_rate{window="1h", model=~"$model"}',
                    "{{model}} {{slo}}, 1 h",
                    LOAD,
                ),
                ask(
                    'ironrack:slo_burn_rate{window="6h", model=~"$model"}',
                    "{{model}} {{slo}}, 6 h",
                    LOAD,
                ),
            ],
            steps=over(1, 14.4),
            alerts=("ErrorBudgetBurningFast", "ErrorBudgetBurningSlowly"),
        ),
        Panel(
            103,
            "Bad within five minutes",
            "Share of requests or tokens that missed the target or failed.",
            "percentunit",
            [
                ask(
                    'ironrack:slo_bad_ratio{window="5m", model=~"$model"}',
                    "{{model}} {{slo}}",
                    LOAD,
                )
            ],
            steps=over(0.01, 0.05),
        ),
        Panel(
            104,
            "Judged",
            "Requests or tokens that count. With few, one bad answer looks like a disaster.",
            "ops",
            [ask(f"ironrack:slo_events:rate5m{M}", "{{model}} {{slo}}")],
        ),
        Panel(
            105,
            "What is promised",
            "Share that must be good (`stack_observe.slo`).",
            "percentunit",
            [ask(f"ironrack:slo_objective_ratio{M}", "{{model}} {{slo}}")],
            kind="bars",
            decimals=2,
        ),
        Panel(
            106,
            "What is good enough",
            "Of time to first token and between tokens.",
            "s",
            [ask(f"ironrack:slo_target_seconds{M}", "{{model}} {{slo}}")],
            kind="bars",
        ),
    ],
)

_HEADROOM = Row(
    "How much room is left?",
    [
        Panel(
            201,
            "Prefill work, of what engines manage",
            "Above three quarters for long: time to first token grows fast from here. Add engines.",
            "percentunit",
            [ask(f"ironrack:model_prefill_load_ratio{M}", "{{model}}")],
            steps=over(0.6, 0.8),
            width=6,
        ),
        Panel(
            202,
            "KV cache left",
            "Of the fullest engine: room for more and longer conversations.",
            "percentunit",
            [ask(f"1 - ironrack:model_kv_usage_ratio:max{M}", "{{model}}")],
            steps=under(0.15, 0.05),
            width=6,
            top=1,
        ),
        Panel(
            203,
            "Requests for each engine",
            "In batches, over the engines that take work.",
            "short",
            [
                ask(
                    f"ironrack:model_requests_running{M} / (ironrack:model_engines_available{M} > 0)",
                    "{{model}}",
                )
            ],
            width=6,
        ),
        Panel(
            204,
            "Edge connections of those allowed",
            "The fullest edge.",
            "percentunit",
            [ask("max(ironrack:edge_connections_usage_ratio)", "fullest edge")],
            steps=over(0.7, 0.9),
            width=6,
            top=1,
        ),
    ],
)

_YIELD = Row(
    "What does it yield?",
    [
        Panel(
            301,
            "Tokens for each GPU",
            "Generated per second and GPU of the model: the figure to compare models, settings and cards with.",
            "suffix: tokens/s",
            [ask(f"ironrack:model_generation_tokens_per_gpu:rate{M}", "{{model}}")],
        ),
        Panel(
            302,
            "Tokens for each engine",
            "Generated per second and engine that takes work.",
            "suffix: tokens/s",
            [
                ask(
                    f"ironrack:model_generation_tokens:rate{M} / (ironrack:model_engines_available{M} > 0)",
                    "{{model}}",
                )
            ],
        ),
        Panel(
            303,
            "GPUs by model",
            "As planned.",
            "short",
            [ask(f"ironrack:model_gpus{M}", "{{model}}")],
            kind="bars",
        ),
    ],
)

_TRUST = Row(
    "Can this page be trusted?",
    [
        Panel(
            401,
            "Targets that cannot be read",
            "What is not read is not seen: panels above may miss it. `hanging` and `garbage` are faults of the target.",
            "short",
            [
                ask(
                    "sum by (service, host, kind) (ironrack:target_failing) > 0",
                    "{{host}} {{service}}: {{kind}}",
                ),
                ask("count(ironrack:target_up == 0) or vector(0)", "all"),
            ],
            steps=over(1, 3),
            alerts=("TargetDown", "TargetHanging", "TargetGarbage"),
        ),
        Panel(
            402,
            "Slowest scrape",
            "By kind of target. Near the scrape interval, samples are lost.",
            "s",
            [ask("ironrack:scrape_seconds:max", "{{job}}")],
            alerts=("ScrapeGap",),
        ),
        Panel(
            403,
            "Samples read at each scrape",
            "What Prometheus has to hold. A jump is a label that got out of hand.",
            "short",
            [ask("ironrack:scrape_samples", "{{job}}")],
            stacked=True,
            alerts=("PrometheusNotStoring", "PrometheusRulesFailing", "PrometheusReloadFailed"),
        ),
    ],
)

CAPACITY = Board(
    "ironrack-capacity",
    "Capacity and SLO",
    "Whether promises are kept, how much room is left, what each GPU yields, and whether the figures can be trusted.",
    [_PROMISES, _HEADROOM, _YIELD, _TRUST],
    [MODEL],
)
