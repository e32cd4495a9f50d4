"""Edge: what HAProxy sees of clients and of engines."""

from __future__ import annotations

from observe.dashboards.model import LOAD, Board, Panel, Row, ask, over, under
from observe.dashboards.variables import HOST, MODEL, TENANT
from observe.dashboards.variables import OF_HOST as H
from observe.dashboards.variables import OF_MODEL as M

_DAY = 86400.0

_CLIENTS = Row(
    "Clients",
    [
        Panel(
            101,
            "Edges that answer",
            "An edge that is down takes its clients with it, unless a virtual IP moves to another.",
            "bool_yes_no",
            [ask(f"ironrack:edge_up{H}", "{{host}}")],
            kind="states",
            steps=under(1, 1),
            alerts=("EdgeDown",),
        ),
        Panel(
            102,
            "Decides by itself",
            "1 while no router answers this edge.",
            "bool_yes_no",
            [ask(f"ironrack:edge_fallback_active{H}", "{{host}}")],
            kind="states",
            steps=over(1, 1),
        ),
        Panel(
            103,
            "Connections",
            "Open now, and how near that is to what is allowed (`maxconn`).",
            "short",
            [ask(f"ironrack:edge_connections{H}", "{{host}}")],
        ),
        Panel(
            104,
            "Connections of those allowed",
            "At 100 % new clients wait before they are even heard.",
            "percentunit",
            [ask(f"ironrack:edge_connections_usage_ratio{H}", "{{host}}")],
            steps=over(0.7, 0.9),
            top=1,
        ),
        Panel(
            105,
            "Answers by status class",
            "4xx: the client's mistake, a key, a limit. 5xx: ours.",
            "reqps",
            [ask(f"sum by (code) (ironrack:edge_requests:rate{H})", "{{code}}")],
            stacked=True,
        ),
        Panel(
            106,
            "Answers that failed",
            "5xx of all answers to clients.",
            "percentunit",
            [
                ask(
                    'sum by (host) (ironrack:edge_requests:rate{code="5xx", host=~"$host"})'
                    f" / sum by (host) (ironrack:edge_requests:rate{H})",
                    "{{host}}",
                    LOAD,
                )
            ],
            steps=over(0.001, 0.01),
        ),
        Panel(
            107,
            "Bytes",
            "From and to clients.",
            "binBps",
            [
                ask(f"ironrack:edge_bytes_in:rate{H}", "{{host}}, in"),
                ask(f"ironrack:edge_bytes_out:rate{H}", "{{host}}, out"),
            ],
            width=12,
        ),
        Panel(
            108,
            "Time HAProxy was busy",
            "Of its threads. Near 100 % everything is late; raise `threads`.",
            "percentunit",
            [ask(f"ironrack:edge_busy_ratio{H}", "{{host}}")],
            steps=over(0.7, 0.9),
            top=1,
            width=12,
        ),
    ],
)

_TLS = Row(
    "TLS",
    [
        Panel(
            201,
            "TLS connections",
            "Open now.",
            "short",
            [ask(f"ironrack:edge_tls_connections{H}", "{{host}}")],
        ),
        Panel(
            202,
            "Handshakes",
            "Many with few requests: clients do not keep connections open.",
            "ops",
            [ask(f"ironrack:edge_tls_handshakes:rate{H}", "{{host}}")],
        ),
        Panel(
            203,
            "Until the certificate runs out",
            "A renewed one is taken by a deploy, without dropping a stream.",
            "s",
            [ask(f"ironrack:edge_certificate_left_seconds{H}", "{{host}} {{certificate}}")],
            kind="bars",
            steps=under(21 * _DAY, 7 * _DAY),
            alerts=("CertificateExpiring", "CertificateAboutToExpire"),
        ),
    ],
)

_ENGINES = Row(
    "Towards engines",
    [
        Panel(
            301,
            "Held at the edge",
            "Requests that HAProxy holds because servers are at their limit.",
            "short",
            [ask(f"ironrack:edge_queue_requests{M}", "{{model}}")],
            steps=over(1, 50),
        ),
        Panel(
            302,
            "Connections tried again",
            "To the same engine.",
            "ops",
            [ask(f"ironrack:edge_retries:rate{M}", "{{model}}")],
            steps=over(0.1, 1),
        ),
        Panel(
            303,
            "Sent to another engine",
            "The first one could not be reached or refused. Clients notice nothing but time.",
            "reqps",
            [ask(f"ironrack:edge_redispatches:rate{M}", "{{model}}")],
            steps=over(0.1, 1),
        ),
        Panel(
            304,
            "Connections that failed",
            "To engines.",
            "ops",
            [ask(f"ironrack:edge_connection_errors:rate{M}", "{{model}}")],
            steps=over(0.1, 1),
        ),
        Panel(
            305,
            "Engines the edges find healthy",
            "The edge's own check, which only asks whether the engine answers.",
            "bool_yes_no",
            [ask(f"ironrack:edge_server_up{M}", "{{engine}}")],
            kind="states",
            steps=under(1, 1),
        ),
        Panel(
            306,
            "Requests at engines",
            "As HAProxy counts them; ten with most. Compare with Router, in flight: they should agree.",
            "short",
            [ask(f"topk(10, ironrack:edge_server_sessions{M})", "{{engine}}")],
        ),
    ],
)

_TENANTS = Row(
    "Tenants",
    [
        Panel(
            401,
            "Requests by tenant",
            "Completed or refused. `-` is requests without a key.",
            "reqps",
            [ask('sum by (tenant) (ironrack:tenant_requests:rate{tenant=~"$tenant"})', "{{tenant}}")],
        ),
        Panel(
            402,
            "4xx and 5xx by tenant",
            "One tenant with many 4xx: its client is wrong or over its limits. All with 5xx: it is us.",
            "reqps",
            [
                ask(
                    'sum by (tenant, class) (ironrack:tenant_requests:rate{tenant=~"$tenant", class=~"4xx|5xx"})',
                    "{{tenant}} {{class}}",
                    "a request that failed",
                )
            ],
            steps=over(0.1, 1),
        ),
        Panel(
            403,
            "Tokens by tenant",
            "Prompt and completion.",
            "suffix: tokens/s",
            [ask('sum by (tenant, kind) (ironrack:tenant_tokens:rate{tenant=~"$tenant"})', "{{tenant}}, {{kind}}")],
        ),
    ],
)

EDGE = Board(
    "ironrack-edge",
    "Edge",
    "What HAProxy sees: clients and their errors, TLS, the way to engines, tenants.",
    [_CLIENTS, _TLS, _ENGINES, _TENANTS],
    [HOST, MODEL, TENANT],
)
