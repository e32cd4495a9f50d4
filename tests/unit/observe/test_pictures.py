"""Pictures write values as people read them, and draw every kind of panel."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from observe.dashboards.ask import Unanswered, instant
from observe.dashboards.engine import ENGINES
from observe.dashboards.fleet import FLEET
from observe.dashboards.picture_panels import figure_of
from observe.dashboards.pictures import draw_all

_LABELS = '{"model":"m","engine":"e","host":"h","quantile":"0.5"}'
_INSTANT = '{"status":"success","data":{"result":[{"metric":%s,"value":[1000,"2"]}]}}'
_RANGE = '{"status":"success","data":{"result":[{"metric":%s,"values":[[700,"0"],[800,"NaN"],[1000,"2"]]}]}}'


@pytest.fixture
def prometheus() -> Iterator[str]:
    """Answers every question with one series, and a wrong one as Prometheus does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = (_RANGE if "query_range" in self.path else _INSTANT) % _LABELS
            self.send_response(400 if "nonsense" in self.path else 200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.934, "percentunit", "93.4 %"),
        (0.034, "s", "34 ms"),
        (12.5, "s", "12.5 s"),
        (30 * 86400, "s", "30 d"),
        (1234, "suffix: tokens/s", "1.23 ktokens/s"),
        (0, "bool_yes_no", "no"),
        (7, "short", "7"),
    ],
)
def test_figures_are_written_as_people_read_them(value: float, unit: str, text: str) -> None:
    """Shares in per cent, times in the unit that fits, thousands with a letter."""
    assert figure_of(value, unit) == text


def test_every_kind_of_panel_is_drawn(prometheus: str, tmp_path: Path) -> None:
    """A row of each dashboard, one picture for each."""
    boards = [replace(board, rows=board.rows[:1]) for board in (FLEET, ENGINES)]
    assert {panel.kind for board in boards for panel in board.panels} == {"line", "stat", "bars", "states", "table"}
    drawn = list(draw_all(prometheus, 300, tmp_path, boards))
    assert [path.name for path in drawn] == ["dashboard-fleet.png", "dashboard-engine.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


def test_prometheus_that_refuses_or_is_gone_is_told(prometheus: str) -> None:
    """With its address and its own words."""
    with pytest.raises(Unanswered, match="nonsense"):
        instant(prometheus, "nonsense")
    with pytest.raises(Unanswered, match=r"127\.0\.0\.1:9: query: .*check the address"):
        instant("http://127.0.0.1:9", "up")
