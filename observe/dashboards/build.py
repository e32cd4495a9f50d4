"""From plain values to Grafana's JSON, through the typed builders of its own SDK."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog import builder as cog
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as commons
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from observe.dashboards.links import runbook
from observe.dashboards.model import Board, Panel, Query, Row, Step, Variable
from observe.dashboards.reads import needs

DATASOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "ironrack"
_LAST = ["lastNotNull"]


class _Drawn(Protocol):
    """What the builders of all panel kinds share."""

    def build(self) -> models.Panel: ...


def rendered(board: Board) -> str:
    """The dashboard as JSON text: the same bytes for the same board."""
    return written(_dashboard(board))


def _dashboard(board: Board) -> dashboard.Dashboard:
    found = empty(board.uid, board.title, board.description).tooltip(models.DashboardCursorSync.CROSSHAIR)
    found = found.variables([_datasource(), *(_variable(each) for each in board.variables)]).annotation(_alerts())
    for row in board.rows:
        found = found.with_row(dashboard.Row(row.title).id(_row_id(row)))
        for panel in row.panels:
            found = found.with_panel(_panel(panel))
    return found


def empty(uid: str, title: str, description: str) -> dashboard.Dashboard:
    """A dashboard without panels, which lists the others."""
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .timezone("browser")
        .readonly()
        .time("now-1h", "now")
        .refresh("30s")
        .link(_others())
    )


def written(built: dashboard.Dashboard) -> str:
    """A dashboard as JSON text."""
    return json.dumps(built.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _row_id(row: Row) -> int:
    """Rows are numbered a hundred above their first panel's hundred, which no panel uses."""
    return row.panels[0].id // 100 * 100


def _others() -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink("Dashboards")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(False)
        .include_vars(True)
        .keep_time(True)
    )


def _alerts() -> dashboard.AnnotationQuery:
    """A mark where an alert began to fire: what changed stands beside what was felt."""
    return (
        dashboard.AnnotationQuery()
        .name("Alerts")
        .datasource(DATASOURCE)
        .enable(True)
        .icon_color("red")
        .expr('ALERTS{alertstate="firing", severity=~"page|ticket"}')
    )


def _datasource() -> dashboard.DatasourceVariable:
    return dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")


def _variable(variable: Variable) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(variable.name)
        .label(variable.title)
        .datasource(DATASOURCE)
        .query(f"label_values({variable.series}, {variable.name})")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.NATURAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(models.VariableOption(text="All", value="$__all", selected=True))
    )


def _panel(panel: Panel) -> cog.Builder[models.Panel]:
    return _KINDS[panel.kind](panel)


def _common(builder: Any, panel: Panel) -> Any:
    """What every kind of panel has: the builders share these methods, but no type says so."""
    builder = (
        builder.id(panel.id)
        .title(panel.title)
        .description(panel.description)
        .datasource(DATASOURCE)
        .unit(panel.unit)
        .thresholds(_thresholds(panel.steps))
        .span(panel.width)
        .height(panel.height)
        .links([_runbook_link(alert) for alert in panel.alerts])
        .mappings(_mappings(panel.texts))
    )
    if panel.top is not None:
        builder = builder.max(panel.top)
    if missing := needs(panel):
        builder = builder.no_value(f"needs {missing}")
    if panel.decimals is not None:
        builder = builder.decimals(panel.decimals)
    instant = panel.kind in {"stat", "bars", "table"}
    for at, query in enumerate(panel.queries):
        builder = builder.with_target(_target(query, at, instant, table=panel.kind == "table"))
    return builder


def _target(query: Query, at: int, instant: bool, table: bool) -> prometheus.Dataquery:
    found = prometheus.Dataquery().ref_id(chr(ord("A") + at)).datasource(DATASOURCE).expr(query.expr)
    found = (found.instant() if instant else found.range()).legend_format(query.legend or "__auto")
    return found.format(PromQueryFormat.TABLE) if table else found


def _thresholds(steps: Sequence[Step]) -> dashboard.ThresholdsConfig:
    found = [models.Threshold(value=value, color=colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(found)


def _mappings(texts: Sequence[tuple[str, str]]) -> list[Any]:
    options = {value: models.ValueMappingResult(text=text, index=at) for at, (value, text) in enumerate(texts)}
    return [models.ValueMap(options=options)] if options else []


def _runbook_link(alert: str) -> dashboard.DashboardLink:
    link = dashboard.DashboardLink(f"Runbook: {alert}").type(models.DashboardLinkType.LINK)
    return link.url(runbook(alert))


def _line(panel: Panel) -> cog.Builder[models.Panel]:
    several = len(panel.steps) > 1
    style = commons.GraphThresholdsStyleMode.DASHED if several else commons.GraphThresholdsStyleMode.OFF
    stacking = commons.StackingMode.NORMAL if panel.stacked else commons.StackingMode.NONE
    built: cog.Builder[models.Panel] = (
        _common(timeseries.Panel(), panel)
        .stacking(common.StackingConfig().mode(stacking))
        .line_width(1)
        .fill_opacity(8)
        .show_points(commons.VisibilityMode.NEVER)
        .thresholds_style(common.GraphThresholdsStyleConfig().mode(style))
        .tooltip(common.VizTooltipOptions().mode(commons.TooltipDisplayMode.MULTI).sort(commons.SortOrder.DESCENDING))
        .legend(
            common.VizLegendOptions()
            .display_mode(commons.LegendDisplayMode.TABLE)
            .placement(commons.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
    )
    return built


def _stat(panel: Panel) -> cog.Builder[models.Panel]:
    built: cog.Builder[models.Panel] = (
        _common(stat.Panel(), panel)
        .reduce_options(common.ReduceDataOptions().calcs(_LAST))
        .graph_mode(commons.BigValueGraphMode.NONE)
        .color_mode(commons.BigValueColorMode.BACKGROUND_SOLID)
        .text_mode(commons.BigValueTextMode.AUTO)
    )
    return built


def _bars(panel: Panel) -> cog.Builder[models.Panel]:
    built: cog.Builder[models.Panel] = (
        _common(bargauge.Panel(), panel)
        .reduce_options(common.ReduceDataOptions().calcs(_LAST))
        .orientation(commons.VizOrientation.HORIZONTAL)
        .display_mode(commons.BarGaugeDisplayMode.BASIC)
    )
    return built


def _states(panel: Panel) -> cog.Builder[models.Panel]:
    colours = dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS)
    built: cog.Builder[models.Panel] = _common(statetimeline.Panel(), panel).color_scheme(colours)
    return built


def _table(panel: Panel) -> cog.Builder[models.Panel]:
    hidden = dict.fromkeys(("Time", "__name__", "alertstate", "instance", "job"), True)
    tidy = models.DataTransformerConfig(id_val="organize", options={"excludeByName": hidden})
    built: cog.Builder[models.Panel] = _common(table.Panel(), panel).transformations([tidy])
    return built


_KINDS = {"line": _line, "stat": _stat, "bars": _bars, "states": _states, "table": _table}
