"""Every alert fires for what it is about, for nothing else, and goes when that is over."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from observe.dashboards.links import page
from observe.rules import Alert, alert_groups, watch
from tests.observe import promtool
from tests.observe.cases import CASES, START, Case, batches
from tests.observe.healthy import HEALTHY, NODE, always, appears, gauge, pace, series_named

ROOT = Path(__file__).resolve().parents[2]
ON = watch(promtool.plan(), promtool.BACKENDS)
ALERTS = {
    rule.name: rule
    for groups in alert_groups(ON).values()
    for group in groups
    for rule in group.rules
    if isinstance(rule, Alert)
}
FIRING = 'count by (alertname) (ALERTS{alertstate="firing"})'
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed; CI has it")


def _firing(minutes: float, **counts: int) -> dict[str, Any]:
    counted = {"Watchdog": 1, **counts}
    return promtool.at(minutes, FIRING, {f'{{alertname="{name}"}}': count for name, count in counted.items() if count})


def _labels(case: Case) -> dict[str, Any]:
    severity = ALERTS[case.alert].severity
    inner = ",".join(filter(None, (case.labels, f'alertname="{case.alert}",alertstate="firing",severity="{severity}"')))
    asked = ",".join(filter(None, (f'alertname="{case.alert}",alertstate="firing"', case.labels)))
    return promtool.at(case.fires, f"ALERTS{{{asked}}}", {f"ALERTS{{{inner}}}": 1})


@needs_promtool
@pytest.mark.parametrize("cases", batches(), ids=lambda cases: "+".join(case.alert for case in cases))
def test_alerts_fire_resolve_and_are_alone(cases: tuple[Case, ...], tmp_path: Path) -> None:
    """Before the faults nothing fires, in them exactly these and what must come with them, after them nothing again."""
    counts: Counter[str] = Counter()
    changed, after = dict(HEALTHY), dict[str, int]()
    for case in cases:
        counts.update({case.alert: case.count, **case.others})
        changed |= case.changed
        after |= case.after
    fires, quiet = cases[0].fires, cases[0].quiet
    asked = [_firing(START - 1), _firing(fires, **counts), *map(_labels, cases), _firing(quiet, **after)]
    assert not promtool.complaints(promtool.write_rules(tmp_path, of_alerts=True), changed, asked)


@needs_promtool
def test_a_fatal_fault_stays_until_it_is_cleared(tmp_path: Path) -> None:
    """The watcher holds it against the GPU; a quarter of an hour without another fault mends nothing."""
    samples = {
        f'ironrack_gpu_xid_total{{{NODE},gpu="3",xid="79",fatal="1"}}': appears(10),
        f'ironrack_gpu_fault{{{NODE},gpu="3"}}': gauge((10, 0), (40, 1), (60, 0)),
    }
    alert = 'ALERTS{alertname="GpuXidFatal",alertstate="firing"}'
    asked = [promtool.at(45, f"count({alert})", {"{}": 1}), promtool.at(52, f"count({alert})", {})]
    assert not promtool.complaints(promtool.write_rules(tmp_path, of_alerts=True), samples, asked)


@needs_promtool
def test_a_slow_burn_resolves_once_its_windows_are_clean(tmp_path: Path) -> None:
    """The long windows keep it for hours: here they are given as recorded, and become clean after half an hour."""
    promise = 'model="qwen",slo="availability"'
    samples = {
        f'ironrack:slo_burn_rate{{{promise},window="{window}"}}': gauge((30, 2), (60, 0)) for window in ("3d", "6h")
    }
    samples[f"ironrack:slo_bad:rate5m{{{promise}}}"] = always(0.1)
    alert = 'ALERTS{alertname="ErrorBudgetBurningSlowly",alertstate="firing"}'
    asked = [promtool.at(28, f"count({alert})", {"{}": 1}), promtool.at(35, f"count({alert})", {})]
    assert not promtool.complaints(promtool.write_rules(tmp_path, only="alerts.yml"), samples, asked)


@needs_promtool
def test_a_router_that_hears_of_no_end_is_told(tmp_path: Path) -> None:
    """Nothing expires and nothing is garbage: its decisions go on, and the edge's connection is dead."""
    silent = {series_named("ironrack_router_events_total"): gauge((10, 9000), (40, 9000), (60, 9000))}
    alert = 'ALERTS{alertname="CompletionLinesLost",alertstate="firing"}'
    asked = [promtool.at(5, f"count({alert})", {}), promtool.at(39, f"count({alert})", {"{}": 1})]
    rules = promtool.write_rules(tmp_path, of_alerts=True)
    assert not promtool.complaints(rules, HEALTHY | silent, asked)
    assert not promtool.complaints(rules, HEALTHY, [promtool.at(39, f"count({alert})", {})])


@needs_promtool
@pytest.mark.parametrize(("share", "fires"), [(0.05, True), (0.005, False)])
def test_leases_that_the_edge_has_no_request_for_are_told_when_they_are_many(
    tmp_path: Path, share: float, *, fires: bool
) -> None:
    """A request that was tried again elsewhere may look like one, so a few are no news."""
    lost = {series_named("ironrack_router_leases_reconciled_total"): pace(share * 30)}
    alert = 'ALERTS{alertname="CompletionLinesLost",alertstate="firing"}'
    asked = [promtool.at(39, f"count({alert})", {"{}": 1} if fires else {})]
    assert not promtool.complaints(promtool.write_rules(tmp_path, of_alerts=True), HEALTHY | lost, asked)


@needs_promtool
def test_a_disk_is_judged_by_hours_not_by_a_deployment(tmp_path: Path) -> None:
    """At this pace it is full within a day; minutes of watching do not show a pace."""
    disk = 'host="gpu-1",mountpoint="/"'
    samples = {
        f"ironrack:host_disk_free_ratio{{{disk}}}": always(0.28),
        f"ironrack:host_disk_free_bytes{{{disk}}}": "300000000000-300000000x400",
    }
    alert = 'ALERTS{alertname="DiskFilling",alertstate="firing"}'
    asked = [promtool.at(120, f"count({alert})", {}), promtool.at(230, f"count({alert})", {"{}": 1})]
    assert not promtool.complaints(promtool.write_rules(tmp_path, only="alerts.yml"), samples, asked)


def test_every_alert_has_a_case() -> None:
    """No alert without a test that fires it."""
    assert sorted(case.alert for case in CASES) == sorted(ALERTS)


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    """docs/runbooks holds one page for each alert, and none for others."""
    pages = {path.name for path in (ROOT / "docs/runbooks").glob("*.md")} - {"README.md"}
    assert pages == {page(name) for name in ALERTS}


@pytest.mark.parametrize("alert", ALERTS.values(), ids=list(ALERTS))
def test_an_alert_says_what_a_person_needs(alert: Alert) -> None:
    """A summary without a full stop, a description with one, and of labels only such as the alert has."""
    assert not alert.summary.endswith(".")
    assert alert.description.endswith(".")
    case = next(case for case in CASES if case.alert == alert.name)
    used = set(re.findall(r"\$labels\.(\w+)", alert.summary + alert.description))
    assert used <= {*re.findall(r"(\w+)=", case.labels), "severity"}


@pytest.mark.parametrize("alert", ALERTS.values(), ids=list(ALERTS))
def test_alerts_read_recorded_series_only(alert: Alert) -> None:
    """But for what doubts that anything is recorded: Prometheus's and Alertmanager's own metrics."""
    read = set(re.findall(r"[a-zA-Z_:][\w:]*(?=[{\[ ]|$)", re.sub(r'"[^"]*"', "", alert.expr)))
    raw = {name for name in read if re.match(r"(vllm:|haproxy_|node_|DCGM_|ironrack_)", name)}
    assert not raw
