"""The rows about the router as a program, and about what engines tell it."""

from __future__ import annotations

from observe.dashboards.model import Panel, Row, ask, over, under

ITSELF = Row(
    "Is the router well?",
    [
        Panel(
            601,
            "Routers that answer",
            "Without one the edge decides by itself: sessions mostly stay, load is balanced worse.",
            "bool_yes_no",
            [ask("ironrack:router_up", "{{host}} {{router}}")],
            kind="states",
            steps=under(1, 1),
            alerts=("RouterDown",),
        ),
        Panel(
            602,
            "Settings in force",
            "0 while the file that lies there was refused; the settings before it go on.",
            "bool_yes_no",
            [ask("ironrack:router_config_ok", "{{host}} {{router}}")],
            kind="states",
            steps=under(1, 1),
            alerts=("ConfigReloadFailed",),
        ),
        Panel(
            603,
            "Faults",
            "Its own errors, completion lines it could not read or never got, log lines that nobody took.",
            "ops",
            [
                ask("ironrack:router_internal_errors:rate", "{{router}}, errors"),
                ask("ironrack:router_events_garbage:rate", "{{router}}, unreadable lines"),
                ask("ironrack:router_leases_expired:rate", "{{router}}, lost lines"),
                ask("ironrack:router_leases_reconciled:rate", "{{router}}, leases without a request"),
                ask("ironrack:router_log_dropped:rate", "{{router}}, log lines dropped"),
            ],
            steps=over(0.01, 0.1),
            alerts=("RouterFaults",),
        ),
        Panel(
            604,
            "In flight, and remembered",
            "Requests it knows of, and sessions whose home it remembers.",
            "short",
            [
                ask("ironrack:router_leases", "{{router}}, in flight"),
                ask("ironrack:router_bindings", "{{router}}, sessions"),
            ],
        ),
        Panel(
            605,
            "CPU",
            "It uses one core at most: near 1 decisions wait, and more `processes` help.",
            "suffix: cores",
            [ask("ironrack:router_cpu_cores:rate", "{{host}} {{router}}")],
            steps=over(0.7, 0.9),
        ),
        Panel(
            606,
            "Memory",
            "Flat under load: every map in it is bounded.",
            "bytes",
            [ask("ironrack:router_resident_bytes", "{{host}} {{router}}")],
        ),
        Panel(
            607,
            "Connections from the edge",
            "At 0 nobody asks it.",
            "short",
            [ask("ironrack:router_spop_connections", "{{host}} {{router}}")],
            steps=under(1, 1),
        ),
        Panel(
            608,
            "Reaches the edge's socket",
            "Without it drains do not reach the edge.",
            "bool_yes_no",
            [ask("ironrack:router_edge_socket_up", "{{host}} {{router}}")],
            kind="states",
            steps=under(1, 1),
        ),
        Panel(
            609,
            "Since the last probe",
            "The engine that was not looked at for longest. Above a few seconds the prober hangs.",
            "s",
            [ask("ironrack:router_probe_age_seconds", "{{host}} {{router}}")],
            steps=over(5, 15),
        ),
        Panel(
            610,
            "Decided, and heard to end",
            "The two go side by side, but for streams that last. Decisions without ends: the edge does not reach it.",
            "reqps",
            [
                ask("ironrack:router_decisions:rate", "{{router}}, decided"),
                ask("ironrack:router_events:rate", "{{router}}, heard to end"),
            ],
            alerts=("CompletionLinesLost",),
        ),
    ],
)

KV_EVENTS = Row(
    "KV events",
    [
        Panel(
            701,
            "All that an engine holds is known",
            "Only then is silence taken for absence.",
            "bool_yes_no",
            [ask('ironrack:engine_kv_whole{engine=~"$engine"}', "{{engine}}")],
            kind="states",
            steps=under(1, 1),
        ),
        Panel(
            702,
            "Since an engine last told",
            "An idle engine has nothing to tell; a busy one tells several times a second.",
            "s",
            [ask('ironrack:engine_kv_event_age_seconds{engine=~"$engine"}', "{{engine}}")],
        ),
        Panel(
            703,
            "Lost on the way",
            "Gaps in what was heard. They are asked for again.",
            "ops",
            [ask('ironrack:engine_kv_event_gaps:rate{engine=~"$engine"}', "{{engine}}")],
            steps=over(0.1, 1),
        ),
    ],
)
