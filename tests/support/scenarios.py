"""Which molecule scenarios take long: read where tests are put in order."""

from __future__ import annotations

# The longest first: begun last, one of them would run alone at the end.
LONG = (
    "bundle-default",
    "gpu_driver-upgrade",
    "container_toolkit-full",
    "container_toolkit-upgrade",
    "compose-default",
    "docker-default",
    "edge-default",
    "observe-default",
    "engine-default",
)
