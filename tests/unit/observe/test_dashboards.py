"""What every panel promises, and that all of it is rendered, valid and leads somewhere."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

import stackplan
from observe.dashboards import __main__ as command
from observe.dashboards import render
from observe.dashboards.boards import BOARDS, files
from observe.dashboards.gpu import GPU
from observe.dashboards.links import explained, page, panel_path
from observe.dashboards.model import UNITS, Query
from observe.dashboards.reads import BUILT_IN, VARIABLES, known, needs, query_needs, series_of
from observe.dashboards.schema import problems
from observe.rules import alert_groups, watch
from observe.series import ALL, NAMES

ROOT = Path(__file__).resolve().parents[3]
PANELS = [(f"{board.uid}: {panel.title}", panel) for board in BOARDS for panel in board.panels]
QUERIES = [(f"{name}: {query.expr}", panel, query) for name, panel in PANELS for query in panel.queries]
# Labels whose values come from the configuration or from a short list in a program, never from requests.
BOUNDED = {
    *("host", "engine", "model", "router", "gpu", "tenant", "job", "service", "slo", "window", "certificate"),
    *("why", "source", "reason", "status", "class", "code", "state", "kind", "direction", "quantile", "le"),
    *("mountpoint", "device", "xid", "fatal"),
}
UNIT_OF = {"ratio": "percentunit", "seconds": "s", "bytes": "bytes", "bytes/s": "binBps", "°C": "celsius"}
UNIT_OF |= {"W": "watt", "Hz": "hertz", "tokens/s": "suffix: tokens/s", "tokens": "suffix: tokens"}


PLAN = stackplan.plan(
    {"stack_models": [{"name": "m", "source": "/m"}]},
    [{"name": "h", "groups": ["edge", "engines", "observe"], "gpus": 1}],
)


def _labels(query: Query) -> set[str]:
    return {label for series in known(query) for label in series.labels}


def test_panels_say_what_they_show_and_how_to_read_it() -> None:
    """A title, a sentence, a unit Grafana knows, and thresholds that begin at the bottom and rise."""
    for name, panel in PANELS:
        assert panel.title, name
        assert panel.description.endswith("."), name
        assert len(panel.description) > 8, name
        assert panel.unit in UNITS, name
        assert panel.queries, name
        bounds = [value for value, _ in panel.steps]
        assert bounds[0] is None, name
        rising = [value for value in bounds[1:] if value is not None]
        assert len(rising) == len(bounds) - 1, name
        assert rising == sorted(rising), name


def test_panels_have_numbers_of_their_own() -> None:
    """Within a dashboard an id is a panel's alone, and no row's, which take the full hundreds."""
    for board in BOARDS:
        ids = [panel.id for panel in board.panels]
        assert len(ids) == len(set(ids))
        assert not [number for number in ids if number % 100 == 0]
        assert len({row.panels[0].id // 100 for row in board.rows}) == len(board.rows)


def test_dashboards_have_the_addresses_that_others_link_to() -> None:
    """A uid is part of bookmarks and alerts: it stays."""
    uids = [board.uid for board in BOARDS]
    assert uids == [f"ironrack-{name}" for name in ("fleet", "engine", "router", "edge", "gpu", "capacity")]


def test_queries_read_only_series_of_the_list() -> None:
    """Raw names of exporters change between releases; only rules may know them."""
    for name, _, query in QUERIES:
        assert not [each for each in series_of(query.expr) if each not in NAMES], name
        bare = re.sub(r"ironrack:[a-zA-Z0-9_:]+|\{[^}]*\}|\bby \([^)]*\)", " ", query.expr)
        words = set(re.findall(r"[a-zA-Z_]\w*", bare))
        assert words <= {"sum", "max", "min", "count", "topk", "or", "vector", *BUILT_IN}, name


def test_queries_have_labels_that_the_configuration_bounds() -> None:
    """Neither a request nor a client can make another line."""
    for name, _, query in QUERIES:
        assert _labels(query) <= BOUNDED, name
        grouped = re.findall(r"\bby \(([^)]*)\)", query.expr)
        assert {label.strip() for group in grouped for label in group.split(",")} <= BOUNDED, name


def test_no_panel_sums_a_share() -> None:
    """Two engines at 60 % are not at 120 %."""
    for name, panel, query in QUERIES:
        summed = re.findall(r"\bsum(?: by \([^)]*\))?\s*\(\s*(ironrack:[a-zA-Z0-9_:]+)", query.expr)
        assert not [each for each in summed if NAMES[each].unit in {"ratio", "seconds", "factor", "°C"}], name
        assert not (panel.stacked and panel.unit in {"percentunit", "s"}), name


def test_panels_have_the_unit_of_what_they_show() -> None:
    """A series keeps its unit; where series are divided the panel says what comes out."""
    for name, panel, query in QUERIES:
        if "/" in re.sub(r"\{[^}]*\}", "", query.expr) or query.expr.startswith("count("):
            continue
        for series in known(query):
            assert panel.unit == UNIT_OF.get(series.unit, panel.unit), (name, series.name)
            assert series.unit != "0 or 1" or panel.unit in {"bool_yes_no", "short"}, (name, series.name)


def test_legends_name_labels_that_are_there() -> None:
    """A legend with a label that no series has would be empty."""
    for name, _, query in QUERIES:
        assert set(re.findall(r"\{\{(\w+)\}\}", query.legend)) <= _labels(query), name


def test_panels_use_choices_that_their_dashboard_offers() -> None:
    """A choice that is not offered is an empty panel."""
    for board in BOARDS:
        offered = {variable.name for variable in board.variables}
        used = {each for panel in board.panels for q in panel.queries for each in re.findall(r"\$(\w+)", q.expr)}
        assert used <= offered <= set(VARIABLES), board.uid


def test_every_series_for_people_is_on_a_dashboard() -> None:
    """What is recorded and shown nowhere costs and helps nobody; buckets and inputs of other rules aside."""
    shown = {name for *_, query in QUERIES for name in series_of(query.expr)}
    inputs = re.compile(
        r":bucket_rate$|affinity_(returning|hits):|slo_bad:|engine_state$|backend_model$|config_age|available_bytes$"
    )
    assert not [series.name for series in ALL if series.name not in shown and not inputs.search(series.name)]


def test_alert_leads_to_one_panel_and_its_runbook() -> None:
    """Each alert is explained once, at an address that carries the alert's labels along."""
    counted = Counter(alert for _, panel in PANELS for alert in panel.alerts)
    assert set(counted.values()) == {1}
    groups = [group for found in alert_groups(watch(PLAN, {"m": "model-m"})).values() for group in found]
    assert set(counted) == {rule.name for group in groups for rule in group.rules}
    assert panel_path("EngineFrozen").startswith("/d/ironrack-engine?viewPanel=101{{ with $labels.model }}&var-model=")
    assert panel_path("Nonsense") == ""
    board, panel = explained()["DiskFull"]
    assert panel in list(board.panels)


def test_runbooks_are_named_after_alerts() -> None:
    """CamelCase becomes a file name."""
    assert [page(alert) for alert in ("EngineFrozen", "GpuXidFatal")] == ["engine-frozen.md", "gpu-xid-fatal.md"]


def test_dashboards_are_rendered_fresh_and_valid(capsys: pytest.CaptureFixture[str]) -> None:
    """What is committed is what the code says, and Grafana's schema allows every value of it."""
    assert command.main(["--check"]) == 0
    assert "rendered, fresh, valid" in capsys.readouterr().out


def test_check_notices_what_is_stale_missing_or_strange(tmp_path: Path) -> None:
    """--write mends all three."""
    assert len(list(render.stale(tmp_path))) == len(files()) + 1
    assert len(list(render.written(tmp_path))) == len(files()) + 1
    (tmp_path / "ironrack-fleet.json").write_text("{}")
    (tmp_path / "mine.json").write_text("{}")
    assert [line.split(": ")[1] for line in render.stale(tmp_path)] == ["stale", "no dashboard of this name"]
    assert len(list(render.written(tmp_path))) == 2
    assert not list(render.stale(tmp_path))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("title",), 3, "dashboard.title: 3 was found"),
        (("bogus",), 1, "dashboard.bogus: 1 was found: the schema has no such field"),
        (("panels", 1, "fieldConfig", "defaults", "unit"), 7, "defaults.unit: 7 was found"),
        (("panels", 1, "fieldConfig", "defaults", "thresholds", "mode"), "sometimes", "'sometimes' was found"),
        (("panels", 1, "targets", 0, "expr"), None, "expr: None was found"),
    ],
)
def test_schema_refuses_what_grafana_would_not_read(path: tuple[str | int, ...], value: object, said: str) -> None:
    """A wrong type, an unknown field, a word that is none of the allowed ones."""
    data = json.loads((command.FOLDER / "ironrack-fleet.json").read_text())
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    found = problems(json.dumps(data))
    assert any(said in line for line in found), found


def test_panels_of_kv_offload_are_in_their_variant_only() -> None:
    """Two files of one dashboard: with and without."""
    ids = {name: {panel.id for panel in board.panels} for name, board in files().items()}
    assert ids["ironrack-engine.kv-offload.json"] - ids["ironrack-engine.json"] == {501, 502}
    assert files()["ironrack-engine.json"].uid == files()["ironrack-engine.kv-offload.json"].uid


def test_panel_without_its_hardware_says_so() -> None:
    """Instead of "No data", which looks like a fault."""
    [panel] = [panel for panel in GPU.panels if panel.id == 105]
    assert needs(panel) == "an NVIDIA GPU"
    data = json.loads((command.FOLDER / "ironrack-gpu.json").read_text())
    [drawn] = [each for each in data["panels"] if each["id"] == 105]
    assert drawn["fieldConfig"]["defaults"]["noValue"] == "needs an NVIDIA GPU"
    assert not query_needs(BOARDS[0].rows[0].panels[0].queries[0])


def test_links_of_dashboards_lead_somewhere() -> None:
    """A panel's link is a runbook that is there, as a page and as a panel; dashboards list each other by one tag."""
    texts = {path.name: json.loads(path.read_text()) for path in command.FOLDER.glob("*.json")}
    known = {f"/d/{data['uid']}?viewPanel={panel['id']}" for data in texts.values() for panel in data["panels"]}
    for name, data in texts.items():
        assert data["tags"] == data["links"][0]["tags"] == ["ironrack"], name
        assert {link["url"] for panel in data["panels"] for link in panel.get("links", [])} <= known, name
    assert not [alert for alert in explained() if not (ROOT / "docs" / "runbooks" / page(alert)).exists()]
