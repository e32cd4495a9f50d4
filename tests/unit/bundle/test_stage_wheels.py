"""Staging wheels finds its tools where scripts/bootstrap leaves them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundle import stage_wheels


def test_uv_beside_the_checkout_is_found_though_it_is_on_no_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who runs playbooks as the guide says has no uv on the path: bootstrap put it into .uv."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert stage_wheels.uv(tmp_path) == str(tmp_path / ".uv" / "bin" / "uv")


def test_own_list_of_authorities_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's list is used unless the environment names another."""
    monkeypatch.setattr(stage_wheels, "AUTHORITIES", tmp_path)
    monkeypatch.setenv("PIP_CERT", "/own.pem")
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    assert stage_wheels.trusted() == {"SSL_CERT_FILE": str(tmp_path), "PIP_CERT": "/own.pem"}
