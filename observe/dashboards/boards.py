"""All dashboards, in the order they are read."""

from __future__ import annotations

from observe.dashboards.capacity import CAPACITY
from observe.dashboards.edge import EDGE
from observe.dashboards.engine import ENGINES, KV_OFFLOAD
from observe.dashboards.fleet import FLEET
from observe.dashboards.gpu import GPU
from observe.dashboards.model import Board
from observe.dashboards.router import ROUTER

BOARDS = (FLEET, ENGINES, ROUTER, EDGE, GPU, CAPACITY)


def files() -> dict[str, Board]:
    """Every dashboard by the name of its file, and the variant of the engines' with what KV offload shows."""
    plain = {f"{board.uid}.json": board.with_features(()) for board in BOARDS}
    return {**plain, f"{ENGINES.uid}.{KV_OFFLOAD}.json": ENGINES.with_features((KV_OFFLOAD,))}
