"""A lab that a real Prometheus watches: simulated engines, real router, real edge, recorded pages of the hardware."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import stackplan
from tests.support import load as loads
from tests.support.lab import started
from tests.support.prometheus import Pages, pages, prometheus, quick

HOST = "lab"
Extra = Mapping[str, Sequence[str]]  # names of pages, by the job that reads them


@dataclass(frozen=True)
class Watched:
    """A lab and the Prometheus that watches it."""

    report: Mapping[str, Any]
    prometheus: str


def planned(engines: int, model: str = "sim", gpus: int = 0) -> dict[str, Any]:
    """The plan whose rules fit a lab with so many engines."""
    device = "gpu" if gpus else "cpu"
    intent = {
        "stack_models": [{"name": model, "source": "/simulated", "replicas": engines, "gpus_per_replica": gpus}],
        "stack_engines": {"device": device},
        "stack_observe": {"scrape_interval_seconds": 1},
    }
    hosts = [{"name": HOST, "groups": ["edge", "engines", "observe"], "gpus": engines * gpus}]
    return stackplan.plan(intent, hosts)


def rules_of(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The rule files of a plan, as a deploy writes them."""
    files = stackplan.observe_configs(plan, HOST)
    return {Path(path).name: content for path, content in files.items() if "/rules/" in path}


def config(report: Mapping[str, Any], page: int, extra: Extra) -> dict[str, Any]:
    """What Prometheus reads of a lab: the jobs and labels of a deployed one, every second."""
    model = report["model"]
    jobs: dict[str, list[dict[str, Any]]] = {
        "engines": [_target(one["url"], one["name"], model=model) for one in report["engines"]],
        "router": [_target(one["admin_url"], one["name"]) for one in report["routers"]],
        "haproxy": [_target(report["edge"]["metrics_url"], "edge")],
    }
    found = [{"job_name": job, "static_configs": targets} for job, targets in jobs.items()]
    found += [_recorded(job, names, page) for job, names in extra.items()]
    every = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    return {"global": every, "scrape_configs": found}


@contextlib.contextmanager
def watched(folder: Path, rules: Mapping[str, Any], engines: int, texts: Pages, extra: Extra) -> Iterator[Watched]:
    """A lab with so many engines, watched by these rules, which are evaluated every second."""
    with started(folder / "lab", engines) as report, pages(texts) as page:
        reads = config(report, page, extra)
        with prometheus(folder / "prometheus", reads, quick(rules)) as url:
            yield Watched(report, url)


async def talked(report: Mapping[str, Any], sessions: int, turns: int) -> None:
    """So many conversations at once: some long, some short, one of them about a model that is not there."""
    async with loads.load(str(report["endpoint"]), str(report["model"])) as load:
        talks = loads.conversations(sessions, "walk", words=300)
        await asyncio.gather(
            load.rounds(talks, turns), load.rounds(loads.conversations(2, "unnamed", header=""), turns)
        )
        load.model = "none-of-ours"
        await load.turn(loads.conversations(1, "stranger")[0])


def _target(url: str, service: str, **more: str) -> dict[str, Any]:
    return {"targets": [urlsplit(url).netloc], "labels": {"host": HOST, "service": service, **more}}


def recorded_target(service: str, page: int, **more: str) -> dict[str, Any]:
    """A target that is a page served on this port of loopback."""
    labels = {"host": HOST, "service": service, "__metrics_path__": f"/{service}", **more}
    return {"targets": [f"127.0.0.1:{page}"], "labels": labels}


def _recorded(job: str, names: Sequence[str], page: int) -> dict[str, Any]:
    return {"job_name": job, "static_configs": [recorded_target(name, page) for name in names]}
