"""When the edge's certificates run out, asked at its runtime socket: HAProxy's own metrics do not tell."""

import asyncio
import ssl
from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.edge_socket import EdgeError, EdgeSocket
from router.metrics import PREFIX

_LOOK_SECONDS: Final = 60.0
_AGAIN_SECONDS: Final = 5.0
_MOST: Final = 100  # certificates: one is usual
_UNTIL: Final = "notAfter: "


class Certificates:
    """The ends of the certificates in use, Unix seconds by file name without its folder."""

    def __init__(self, socket: EdgeSocket) -> None:
        self._socket = socket
        self.ends: dict[str, float] = {}

    async def run(self) -> None:
        """Look once a minute, until cancelled; a dead socket is told of elsewhere and leaves what was known."""
        while True:
            try:
                await self.look()
                await asyncio.sleep(_LOOK_SECONDS)
            except EdgeError:
                await asyncio.sleep(_AGAIN_SECONDS)

    async def look(self) -> None:
        """Ask for every certificate. Raises EdgeError."""
        said = await self._socket.command("show ssl cert")
        # A `*` marks one that is being replaced; it is not in use yet.
        files = [line for line in said.splitlines() if line.startswith("/")][:_MOST]
        found = [(file, until(await self._socket.command(f"show ssl cert {file}"))) for file in files]
        self.ends = {file.rpartition("/")[2]: end for file, end in found if end is not None}


def until(said: str) -> float | None:
    """Return the end of a certificate as HAProxy describes it, Unix seconds; None where it does not say."""
    for line in said.splitlines():
        if line.startswith(_UNTIL):
            try:
                return float(ssl.cert_time_to_seconds(line.removeprefix(_UNTIL).strip()))
            except ValueError:
                return None
    return None


class CertificateMetrics(Collector):
    """The same for Prometheus; nothing where the edge speaks no TLS."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates

    def describe(self) -> Iterable[Metric]:
        """Return nothing: names are known without a scrape."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Build the family."""
        family = GaugeMetricFamily(
            f"{PREFIX}_edge_certificate_expiry_timestamp_seconds",
            "When a certificate of the edge runs out.",
            labels=("certificate",),
        )
        for name, end in self._certificates.ends.items():
            family.add_metric((name,), end)
        yield family
