"""TOML files are merged into: what somebody wrote stays, and what cannot be edited safely is refused."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostplan.tomlmerge import NotMergeable, Wanted, holds, merged

CRI = ("plugins", "io.containerd.grpc.v1.cri")
FILE = """# mine
version = 2

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "mirror/pause:3.9" # ours
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "/etc/containerd/certs.d"
"""


def test_key_goes_into_the_table_that_is_there() -> None:
    """Comments, order and indent of the other lines stay; the new key stands in its table."""
    text = merged(FILE, {CRI: {"enable_cdi": True}})
    assert set(FILE.splitlines()) <= set(text.splitlines())
    assert "  enable_cdi = true" in text
    assert tomllib.loads(text)["plugins"][CRI[1]]["enable_cdi"] is True
    assert tomllib.loads(text)["plugins"][CRI[1]]["registry"] == {"config_path": "/etc/containerd/certs.d"}


def test_value_that_differs_is_replaced_and_one_that_agrees_changes_nothing() -> None:
    """A second merge returns the very same text."""
    text = merged("[a]\nx = 1\ny = 2\n", {("a",): {"x": 3}})
    assert text == "[a]\nx = 3\ny = 2\n"
    assert merged(text, {("a",): {"x": 3}}) is text


def test_table_that_is_not_there_is_added_at_the_end() -> None:
    """An empty file gets a table; names that need quotes have them."""
    text = merged("", {("plugins", "a.b"): {"dirs": ["/x", "/y"], "mode": "cdi"}})
    assert tomllib.loads(text) == {"plugins": {"a.b": {"dirs": ["/x", "/y"], "mode": "cdi"}}}


@pytest.mark.parametrize("text", ["x = ", "a = 1\n", "a = {x = 1}\n", "a.x = 1\n", "[[a]]\nx = 1\n"])
def test_text_that_cannot_be_edited_by_line_is_refused(text: str) -> None:
    """Inline tables, dotted keys, arrays of tables, nonsense: named, never overwritten."""
    with pytest.raises(NotMergeable):
        merged(text, {("a",): {"x": 2}})
    assert not holds(text, {("a",): {"x": 2}})


@given(
    st.dictionaries(st.sampled_from("abcd"), st.dictionaries(st.sampled_from("xyz"), st.integers(0, 9)), max_size=4),
    st.dictionaries(st.sampled_from("abcd"), st.dictionaries(st.sampled_from("xyz"), st.integers(0, 9), min_size=1)),
)
def test_merge_is_the_deep_union_and_stable(now: dict[str, dict[str, int]], wanted: dict[str, dict[str, int]]) -> None:
    """Whatever the file and the wish: the result says both, the wish first, and a second merge changes nothing."""
    text = "".join(f"[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items()) for name, keys in now.items())
    asked: Wanted = {(name,): keys for name, keys in wanted.items()}
    result = merged(text, asked)
    assert tomllib.loads(result) == {name: {**now.get(name, {}), **wanted.get(name, {})} for name in now | wanted}
    assert merged(result, asked) == result
