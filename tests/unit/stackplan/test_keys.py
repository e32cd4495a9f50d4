"""Keys are shown once, and what is kept of them is enough to know them again."""

from __future__ import annotations

import hashlib

import pytest
import yaml

from stackplan import keys
from tests.unit.stackplan.stacks import problems_of


@pytest.mark.parametrize("name", ["acme", "admin"])
def test_printed_lines_make_the_key_known(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is to be pasted is YAML the plan takes, with the digest of the key above it."""
    assert keys.main([name]) == 0
    shown, _, rest = capsys.readouterr().out.partition("\n\n")
    key = shown.rpartition(" ")[2]
    edge = yaml.safe_load(rest.partition("\n")[2])["stack_edge"]
    found = edge["admin"]["token_hash"] if name == "admin" else edge["tenants"][0]["key_hashes"][0]
    assert found == hashlib.sha256(key.encode()).hexdigest()
    assert problems_of(edge=edge) == []


def test_no_two_keys_are_alike(capsys: pytest.CaptureFixture[str]) -> None:
    """Each has 256 random bits."""
    for _ in range(3):
        keys.main(["acme"])
    found = [line for line in capsys.readouterr().out.splitlines() if line.startswith("key")]
    assert len(set(found)) == 3
    assert all(len(line.rpartition(" ")[2]) >= 43 for line in found)


def test_name_no_tenant_can_have_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Before a key is made."""
    assert keys.main(["a b"]) == 2
    assert capsys.readouterr().out == ""
