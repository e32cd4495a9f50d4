"""Members of a body, found without reading the prompt."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import body as reader
from router.body import Body, read_body

BUFFER = 131_072
LONG = 20_000

texts = st.text(max_size=30) | st.sampled_from(['"}]', '}], "model": "big"', '\\"', "]}", '{"role": "user"}', ', "a":'])
scalars = st.none() | st.booleans() | st.integers() | texts
flat = scalars | st.lists(scalars, max_size=3) | st.dictionaries(texts, scalars, max_size=3)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": texts},
    optional={"name": texts, "tool_calls": st.lists(st.dictionaries(texts, flat, max_size=2), max_size=2)},
)
others = st.dictionaries(
    st.sampled_from(["user", "stream", "stop", "metadata", "temperature", "conversation", "seed", "cache_salt"]),
    flat,
    max_size=4,
)
separators = st.sampled_from([(",", ":"), (", ", ": ")])


def members(found: Body) -> dict[str, Any]:
    return {name: msgspec.json.decode(raw) for name, raw in found.members.items()}


def read(data: bytes, *, step_over: bool = True) -> Body:
    return read_body(data, len(data), BUFFER, "messages", step_over=step_over)


@given(others, others, st.lists(messages, min_size=1, max_size=4), separators, st.booleans())
def test_stepping_over_the_prompt_finds_what_reading_everything_finds(
    front: dict[str, Any], back: dict[str, Any], turns: list[Any], joints: tuple[str, str], model_first: bool
) -> None:
    """Wherever the other members stand and whatever the messages say, stepping over them changes nothing."""
    turns = [{"role": "user", "content": "x" * LONG}, *turns]
    around = ({"model": "tiny"}, {}) if model_first else ({}, {"model": "tiny"})
    whole = {**front, **around[0], "messages": turns, **around[1], **{k: v for k, v in back.items() if k not in front}}
    data = json.dumps(whole, separators=joints, ensure_ascii=" " in joints[0]).encode()
    everything, stepped = read(data, step_over=False), read(data)
    expected = members(everything)
    assert members(stepped) | {"messages": turns} == expected
    assert bytes(stepped.prompt) == bytes(everything.prompt)


@pytest.mark.parametrize("model_first", [True, False])
def test_the_prompt_of_a_long_body_is_not_read(model_first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What costs time grows with the members around the prompt, not with the prompt."""
    turns = [{"role": "user", "content": "x" * 100_000}, {"role": "assistant", "content": "y"}]
    last = {"role": "user", "content": "and then?"}
    model, rest = {"model": "tiny"}, {"stream": True, "stop": ["a"], "stream_options": {"include_usage": True}}
    order = {**model, "messages": [*turns, last]} if model_first else {"messages": [*turns, last], **model}
    data = json.dumps(order | rest).encode()
    decoded: list[int] = []

    def decode(octets: bytes) -> Any:
        decoded.append(len(octets))
        return msgspec.json.decode(octets, type=reader.Members)

    monkeypatch.setattr(reader, "_MEMBERS", type("Decoder", (), {"decode": staticmethod(decode)}))
    assert set(read(data).members) >= {"model", "stream", "stop", "stream_options"}
    assert max(decoded) < 1000


def test_tools_after_the_messages_are_no_part_of_them() -> None:
    """A list that ends with an object that is no message is not taken for the prompt."""
    tool = {"function": {"name": "f", "parameters": {"type": "object"}}, "type": "function"}
    body = {"model": "m", "messages": [{"role": "user", "content": "x" * LONG}], "user": "u", "tools": [tool]}
    data = json.dumps(body).encode()
    assert bytes(read(data).prompt) == json.dumps(body["messages"]).encode()
    assert set(read(data).members) >= {"model", "user", "tools"}


@given(st.integers(0, 30_000))
def test_a_cut_body_gives_the_members_before_the_prompt_and_its_beginning(length: int) -> None:
    """Nothing behind the cut is guessed."""
    whole = {"model": "m", "user": "u", "messages": [{"role": "user", "content": 'say "x" ' * 4000}], "stream": True}
    data = json.dumps(whole).encode()
    found = read_body(data[:length], len(data), BUFFER, "messages", step_over=True)
    assert found.cut
    start = data.index(b"[")
    assert data[start:length].startswith(bytes(found.prompt)[:-4])
    if length > start + 8:
        assert {"model", "user"} <= set(found.members)
        assert bytes(found.prompt) == data[start:length]
