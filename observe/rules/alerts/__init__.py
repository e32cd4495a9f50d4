"""Every alert. They read recorded series only, but for those that doubt that anything is recorded."""

from __future__ import annotations

from observe.rules.alerts.engines import engine_alerts
from observe.rules.alerts.hosts import gpu_alerts, host_alerts
from observe.rules.alerts.monitoring import monitoring_alerts
from observe.rules.alerts.routers import edge_alerts, router_alerts
from observe.rules.alerts.slos import slo_alerts
from observe.rules.parts import Group
from observe.rules.watch import Watch


def alerts(watch: Watch) -> tuple[Group, ...]:
    """Alerts in the order in which a person would look: what users feel, then what may be the cause."""
    return (
        Group("slo-alerts", 30, slo_alerts()),
        Group("engine-alerts", 15, engine_alerts()),
        Group("router-alerts", 15, (*router_alerts(), *edge_alerts())),
        Group("host-alerts", 15, (*host_alerts(), *gpu_alerts())),
        Group("monitoring-alerts", 15, monitoring_alerts(watch)),
    )
