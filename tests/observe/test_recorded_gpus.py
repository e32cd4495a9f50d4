"""What dcgm-exporter really wrote on GPUs elsewhere, read by a real Prometheus with our rules."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from observe.dashboards.ask import instant
from observe.rules.hosts import hosts
from observe.rules.parts import Record
from tests.observe.lab import planned, recorded_target, rules_of
from tests.observe.recorded import FOLDER
from tests.support.processes import wait_until
from tests.support.prometheus import pages, prometheus, quick

pytestmark = [pytest.mark.lab, pytest.mark.timeout(360)]

SECONDS = 120.0
PAGES = {path.stem: path for path in sorted((FOLDER / "recorded").glob("dcgm-*.txt"))}
# Told by the watcher of the host's kernel log.
NOT_THE_EXPORTERS = {"gpu_xid:15m"}
# Nobody's page has them: DCGM does not know them of the GPUs at hand, or they were not asked for.
UNKNOWN = {"dcgm-two-gpus": "gpu_memory_temperature_celsius", "dcgm-h100-vgpu": "gpu_temperature_celsius"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that reads each page as that of a host of its name."""
    texts = {name: path.read_text for name, path in PAGES.items()}
    with pages(texts) as port:
        targets = [recorded_target(name, port, host=name) for name in PAGES]
        # A page that comes late is a target that is down: its series would be gone at that moment.
        every = {"scrape_interval": "5s", "scrape_timeout": "5s", "evaluation_interval": "1s"}
        config = {"global": every, "scrape_configs": [{"job_name": "gpu", "static_configs": targets}]}
        folder: Path = tmp_path_factory.mktemp("gpus") / "p"
        with prometheus(folder, config, quick(rules_of(planned(1, gpus=1)))) as found:
            wait_until(lambda: len(instant(found, 'up{job="gpu"} == 1')) == len(PAGES), "every page was read", SECONDS)
            # It is among the last that a group's evaluation records: one that began after that has recorded it.
            newest = max(each.points[-1][1] for each in instant(found, 'timestamp(up{job="gpu"})'))
            later = f"min(timestamp(ironrack:gpu_xid_last)) > {newest}"
            wait_until(lambda: bool(instant(found, later)), "the rules have seen every page", SECONDS)
            yield found


def test_every_gpu_series_is_fed_by_some_recorded_page(url: str) -> None:
    """Names and labels are those that the exporter writes: no rule of ours asks for what it calls otherwise."""
    [group] = [each for each in hosts("1m") if each.name == "gpus"]
    records = [each for each in group.rules if isinstance(each, Record) and each.name not in NOT_THE_EXPORTERS]
    wanted = [(each.name, *each.labels.values()) for each in records]
    deadline = time.monotonic() + SECONDS
    while missing := [key for key in wanted if not _series(url, *key)]:
        assert time.monotonic() < deadline, f"no recorded page feeds {missing}"
        time.sleep(0.5)


def test_values_are_those_that_were_recorded(url: str) -> None:
    """Units become ours; each GPU is one series, whatever labels the exporter hangs on it."""
    assert _series(url, "gpu_temperature_celsius") == {
        ("dcgm-l4", "0"): 31.0,
        ("dcgm-two-gpus", "0"): 36.0,
        ("dcgm-two-gpus", "1"): 31.0,
    }
    assert _series(url, "gpu_sm_clock_hertz")["dcgm-h100-vgpu", "0"] == 1.755e9
    assert _series(url, "gpu_power_watts")["dcgm-l4", "0"] == 16.365
    assert _series(url, "gpu_xid_last")["dcgm-h100-vgpu", "0"] == 0


def test_what_dcgm_does_not_know_is_no_value(url: str) -> None:
    """Its number for "unknown" (9223372036854775794) is not shown as a temperature, and no missing field is made up."""
    for host, name in UNKNOWN.items():
        known = {found for found, _ in _series(url, name)}
        assert known
        assert host not in known


def _series(url: str, name: str, label: str = "") -> dict[tuple[str, str], float]:
    found = [
        each
        for each in instant(url, f'{{__name__="ironrack:{name}"}}')
        if not label or label in (each.labels.get("kind"), each.labels.get("reason"))
    ]
    return {(each.labels["host"], each.labels["gpu"]): each.points[-1][1] for each in found}
