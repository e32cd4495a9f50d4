"""The board on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from status.board import Alert, Board, Engine, Model

NONE = "-"
_STATES = {"ready": "green", "starting": "cyan", "probing": "cyan", "draining": "yellow", "suspect": "yellow"}


def screen(board: Board) -> RenderableType:
    """One screen: what is wrong first, then models, engines and who waits."""
    return Group(_headline(board), *_wrong(board), _models(board), _engines(board), _footer(board))


def _headline(board: Board) -> Text:
    wrong = len(board.alerts) + len(board.targets_down) + len(board.problems) + board.fallback_active
    engines, ready = len(board.engines), sum(engine.state == "ready" for engine in board.engines)
    mood = Text(" all quiet ", "black on green") if not wrong else Text(f" {wrong} to look at ", "white on red")
    return Text.assemble("ironrack  ", board.at, "  ", mood, f"  {ready} of {engines} engines ready")


def _wrong(board: Board) -> Iterator[RenderableType]:
    for alert in board.alerts:
        yield _alert(alert)
    for target in board.targets_down:
        yield Text(f"target down  {target}", "red")
    if board.fallback_active:
        yield Text("no router decides: the edge places requests by itself; see docs/operations/failures.md", "red")
    if not board.settings_in_force:
        yield Text("a router does not use the settings that lie there; see docs/operations/reload.md", "yellow")
    for problem in board.problems:
        yield Text(problem, "yellow")


def _alert(alert: Alert) -> Text:
    colour = "bold red" if alert.severity == "critical" else "yellow"
    said = f"{alert.name}  {alert.where}  since {alert.since}  {alert.summary}"
    return Text.assemble((f"{alert.severity or 'alert'}  ", colour), said, (f"\n  {alert.runbook}", "dim"))


def _models(board: Board) -> Table:
    table = _table("model", "engines", "req/s", "tokens/s", "prefix hits", "first byte p50", "p99")
    for model in board.models:
        table.add_row(*_model(model))
    return table


def _model(model: Model) -> Iterator[Text]:
    yield Text(model.name)
    colour = "green" if model.available == model.engines else "yellow" if model.available else "red"
    yield Text(f"{model.available}/{model.engines}", colour)
    yield Text(_number(model.requests_per_second, 2))
    yield Text(_number(model.tokens_per_second, 0))
    yield Text(_percent(model.prefix_hit_ratio))
    yield Text(_time(model.first_byte_p50_seconds))
    yield Text(_time(model.first_byte_p99_seconds))


def _engines(board: Board) -> Table:
    columns = ("engine", "state", "in flight", "waiting", "U tokens", "R tokens/s", "KV", "prefix hits")
    table = _table(*columns, "TTFT p50", "p99")
    for engine in board.engines:
        table.add_row(*_engine(engine))
    return table


def _engine(engine: Engine) -> Iterator[Text]:
    yield Text(engine.name)
    yield Text(engine.state, _STATES.get(engine.state, "red"))
    yield Text(_number(engine.in_flight, 0))
    yield Text(_number(engine.waiting, 0))
    yield Text(_number(engine.uncached_tokens, 0))
    yield Text(_number(engine.prefill_tokens_per_second, 0))
    yield Text(_percent(engine.kv_usage_ratio))
    yield Text(_percent(engine.prefix_hit_ratio))
    yield Text(_time(engine.ttft_p50_seconds))
    yield Text(_time(engine.ttft_p99_seconds))


def _footer(board: Board) -> Text:
    room = f"{_number(board.queue_requests, 0)} of {_number(board.queue_capacity_requests, 0)}"
    return Text(
        f"waiting for an engine: {room}    sessions that stayed home: {_percent(board.affinity_hit_ratio)}"
        f"    targets up: {board.targets_up}    {NONE}: no requests lately, or not known",
        "dim",
    )


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _number(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:,.{digits}f}"


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{value:.0%}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return NONE
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
