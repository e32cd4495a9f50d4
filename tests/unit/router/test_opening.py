"""Where a conversation's beginning ends."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import opening as finder
from router.opening import opening

CHAT = "/v1/chat/completions"
texts = st.text(max_size=20) | st.sampled_from(
    ["\\", '\\"', '"}', "}, ]", '{"role": "user"},', "user", '"user"', "x" * 20_000]
)
values = texts | st.integers() | st.lists(st.dictionaries(texts, texts, max_size=2), max_size=2)
others = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "assistant", "tool"])},
    optional={"content": values, "name": texts, "tool_calls": values},
)
users = st.fixed_dictionaries({"role": st.just("user"), "content": values}, optional={"name": texts, "meta": values})
turns = st.lists(others | users, max_size=4)
layouts = st.sampled_from([{"indent": 1}, {"separators": (",", ":")}, {"ensure_ascii": False}, {}])


def octets(messages: list[Any], layout: dict[str, Any]) -> bytes:
    return json.dumps(messages, **layout).encode("utf-8", "surrogatepass")


@given(st.lists(others, max_size=3), users, turns, layouts)
def test_every_turn_has_the_same_beginning(
    first: list[Any], user: dict[str, Any], later: list[Any], layout: dict[str, Any]
) -> None:
    """Whatever the messages say and however they are written: the octets up to the end of the first user message."""
    begun, whole = octets([*first, user], layout), octets([*first, user, *later], layout)
    found = opening(CHAT, memoryview(begun))
    assert found is not None
    assert found[0] == begun[:-1].rstrip()
    assert opening(CHAT, memoryview(whole)) == found


@given(st.lists(others, max_size=3), users, turns, layouts)
def test_both_ways_find_the_same_end(
    first: list[Any], user: dict[str, Any], later: list[Any], layout: dict[str, Any]
) -> None:
    """The quick way may give up, but never finds another end than the sure one."""
    whole = octets([*first, user, *later], layout)
    quick, sure = finder._likely(whole), finder._sure(whole)
    assert sure is not None
    assert quick is None or quick[0] == sure[0]


@given(
    st.lists(others, max_size=2),
    st.text(max_size=30) | st.text(alphabet='\\"{}[],: \n', max_size=30),
    turns,
    layouts,
)
def test_a_long_first_message_ends_where_all_ways_say(
    first: list[Any], said: str, later: list[Any], layout: dict[str, Any]
) -> None:
    """One that is too long to be read whole is measured, and says the same."""
    user = {"role": "user", "content": said + "x" * 20_000 + said}
    whole = octets([*first, user, *later], layout)
    long, sure = finder._long(whole), finder._sure(whole)
    assert sure is not None
    assert long is None or long[0] == sure[0]
    found = opening(CHAT, memoryview(whole))
    assert found is not None
    assert (bytes(found[0]), found[1]) == (whole[: sure[0]], finder._seen_by_edge(CHAT, sure[1]))


def test_a_long_text_is_not_read() -> None:
    """The usual one: a document with quotes in it, after a system prompt."""
    said = 'He said "no".\n' * 25 + "x" * 100_000
    whole = octets([{"role": "system", "content": "Be brief."}, {"role": "user", "content": said}], {})
    found = finder._long(whole)
    assert found is not None
    assert found[0] == len(whole) - 1


@given(texts, texts, st.booleans(), layouts)
def test_the_edge_sees_what_the_texts_say(system: str, said: str, alone: bool, layout: dict[str, Any]) -> None:
    """However they are written: escaped or not."""
    first = [] if alone else [{"role": "system", "content": system}]
    found = opening(CHAT, memoryview(octets([*first, {"role": "user", "content": said}], layout)))
    assert found is not None
    assert found[1] == ("" if alone else system).encode() + said.encode()


@given(st.lists(others, max_size=3), users, st.data())
def test_a_beginning_that_is_not_all_here_is_not_guessed(
    first: list[Any], user: dict[str, Any], data: st.DataObject
) -> None:
    """Cut before its end, there is no first user message yet."""
    begun = octets([*first, user], {})
    cut = data.draw(st.integers(0, len(begun) - 2))
    assert opening(CHAT, memoryview(begun[:cut])) is None


@pytest.mark.parametrize(
    "odd", [b"", b"[", b"[]", b"{}", b'"user"', b"[1]", b'["user"}]', b'[{"role":"user"', b'[{"role":7}]']
)
def test_what_is_no_list_of_messages_has_no_beginning(odd: bytes) -> None:
    """Odd octets are no error here; who reads the whole says what is wrong."""
    assert opening(CHAT, memoryview(odd)) is None
