"""The images a production stack runs, pinned, and what counts as pinned."""

from __future__ import annotations

import re

ENGINE_GPU = "vllm/vllm-openai:v0.29.0@sha256:c2914767605584b6d8f45686b82de173ecc99e781897aa3d0a66dacd72c51ae1"
ENGINE_CPU = "vllm/vllm-openai-cpu:v0.29.0@sha256:c2414ae3dfe4fbcd1fb5d1430f032618aca92dcfb0d8e5179165d512a0336f91"
EDGE = "haproxy:3.0-alpine@sha256:56b887da77428b7a6621e59e480cdbd330cc805c22d3cedb66ceea76ffdea2c6"
PROMETHEUS = "prom/prometheus:v3.5.0@sha256:63805ebb8d2b3920190daf1cb14a60871b16fd38bed42b857a3182bc621f4996"
GRAFANA = "grafana/grafana:12.4.0@sha256:b0ae311af06228bcfd4a620504b653db80f5b91e94dc3dc2a5b7dab202bcde20"
ALERTMANAGER = "prom/alertmanager:v0.28.1@sha256:27c475db5fb156cab31d5c18a4251ac7ed567746a2483ff264516437a39b15ba"
NODE_EXPORTER = "prom/node-exporter:v1.9.1@sha256:d00a542e409ee618a4edc67da14dd48c5da66726bbd5537ab2af9c1dfc442c8a"
# 4.5.2-4.8.1-ubuntu22.04, for amd64
GPU_EXPORTER = (
    "nvcr.io/nvidia/k8s/dcgm-exporter@sha256:a7ad6547d4546eaf4dd5d6b4c0b4db4101e63ef7dc3cdff7f42b767d2c60b706"
)
ROUTER = "ironrack/router:0.1.0"

_REFERENCE = re.compile(
    r"^(?P<name>[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)*)"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(@(?P<digest>sha256:[0-9a-f]{64}))?$"
)


def trouble(image: str) -> str | None:
    """What keeps an image reference from naming the same bytes tomorrow, or None."""
    found = _REFERENCE.match(image)
    if not found:
        return "that is no image reference"
    if found["digest"]:
        return None
    if found["tag"] is None:
        return "it has neither tag nor digest"
    return "the tag latest moves" if found["tag"] == "latest" else None


def key(image: str) -> str:
    """A short folder name that changes when the image does."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", image.split("@", maxsplit=1)[0]).strip("-") + _short_digest(image)


def bundled(image: str) -> str:
    """The name a host knows an image by that came from a bundle: loading one cannot bring its registry's digest along.

    The digest's first digits go into the tag: another pin is another name. What carries no digest keeps its name.
    """
    name, _, digest = image.partition("@sha256:")
    if not digest:
        return image
    tagged = ":" in name.rsplit("/", 1)[-1]
    return f"{name}{'-' if tagged else ':'}{digest[:12]}"


def _short_digest(image: str) -> str:
    return f"-{image.split('@sha256:')[1][:12]}" if "@sha256:" in image else ""
