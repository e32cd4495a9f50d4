"""What watches, watched."""

from __future__ import annotations

from observe.rules.parts import Alert
from observe.rules.watch import Watch

_TARGET = "{{ $labels.service }} on {{ $labels.host }}"
_OLD_SECONDS = 60


def monitoring_alerts(watch: Watch) -> tuple[Alert, ...]:
    """Targets, Prometheus, Alertmanager, and the alert that always fires."""
    return (*_targets(watch), *_prometheus(watch), *_alertmanager(), _watchdog())


def _targets(watch: Watch) -> tuple[Alert, ...]:
    # Fewer readings than there should be; a target that is new has none to miss.
    expected = 300 / watch.scrape_seconds
    by = "(job, host, service)"
    gap = (
        f"max by {by} (count_over_time(up[5m])) < {0.7 * expected:g}"
        f" and on {by} count_over_time(ironrack:target_up[5m] offset 10m) > 0"
    )
    kinds = (
        (
            "TargetDown",
            "down",
            "cannot be read",
            "It refuses the connection, answers with an error, or is unreachable.",
        ),
        ("TargetHanging", "hanging", "takes the connection and says nothing", "Every reading ran into its time limit."),
        (
            "TargetGarbage",
            "garbage",
            "answers with something that is no metrics",
            "What it sent could not be understood.",
        ),
    )
    return (
        *(
            Alert(
                name,
                "warning",
                f'ironrack:target_failing{{kind="{kind}"}} == 1',
                f"{_TARGET} {says}",
                f"Job {{{{ $labels.job }}}}: the metrics of {_TARGET} are missing. {how}",
                "fleet",
                "1m",
            )
            for name, kind, says, how in kinds
        ),
        Alert(
            "ScrapeGap",
            "warning",
            gap,
            f"Readings of {_TARGET} are missing",
            f"Of {expected:g} readings in 5 minutes only {{{{ $value }}}} were made: Prometheus is slow or was away.",
            "fleet",
            "5m",
        ),
    )


def _prometheus(watch: Watch) -> tuple[Alert, ...]:
    # Made of raw samples: where nothing can be stored, nothing is recorded either.
    old = _OLD_SECONDS + 4 * watch.scrape_seconds
    own = 'up{job="prometheus"}'
    return (
        Alert(
            "PrometheusNotStoring",
            "critical",
            f"time() - max(timestamp({own})) > {old} or max(absent({own}))",
            "Prometheus stores nothing any more",
            "The newest reading is too old: most often its disk is full. Dashboards and most alerts stand still.",
            "fleet",
        ),
        Alert(
            "PrometheusRulesFailing",
            "warning",
            "sum by (host, rule_group) (increase(prometheus_rule_evaluation_failures_total[5m])) > 0",
            "Prometheus on {{ $labels.host }} fails to evaluate rules",
            "{{ $value | humanize }} failures in 5 minutes in {{ $labels.rule_group }}: its series are missing.",
            "fleet",
            "5m",
        ),
        Alert(
            "PrometheusReloadFailed",
            "warning",
            "max by (host) (prometheus_config_last_reload_successful) == 0",
            "Prometheus on {{ $labels.host }} refused its new configuration",
            "It goes on with the last good one; what was added since is not watched.",
            "fleet",
            "1m",
        ),
    )


def _alertmanager() -> tuple[Alert, ...]:
    return (
        Alert(
            "AlertmanagerUnreachable",
            "critical",
            "sum by (host) (increase(prometheus_notifications_errors_total[5m])) > 0"
            " or max by (host) (prometheus_notifications_alertmanagers_discovered) == 0",
            "Prometheus on {{ $labels.host }} cannot hand its alerts over",
            "Nobody is told of alerts while this lasts. The missing Watchdog is what tells you from outside.",
            "fleet",
            "5m",
        ),
        Alert(
            "NotificationsFailing",
            "critical",
            "sum by (host, integration) (increase(alertmanager_notifications_failed_total[5m])) > 0",
            "Alertmanager on {{ $labels.host }} cannot send by {{ $labels.integration }}",
            "{{ $value | humanize }} messages failed in 5 minutes: who waits for them hears nothing.",
            "fleet",
            "2m",
        ),
    )


def _watchdog() -> Alert:
    return Alert(
        "Watchdog",
        "none",
        "vector(1)",
        "Alerts work",
        "This one always fires. Whoever stops receiving it knows that the way from Prometheus to people is broken.",
        "fleet",
    )
