"""A prompt's beginning, block by block, as a request's Ask carries it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.blocks import chain, ends
from router.parse import Ask, ParseSettings, Request, parse

CHAT = "/v1/chat/completions"
SETTINGS = ParseSettings(models=("tiny", "big"), names={"poet": "tiny", "writer": "tiny"})
LONG = [{"role": "system", "content": "Be kind. " * 200}, {"role": "user", "content": "Why? " * 600}]
TOOLS = [{"type": "function", "function": {"name": "f", "description": "d" * 400}}]


def read(body: dict[str, Any], path: str = CHAT, tenant: str = "-", settings: ParseSettings = SETTINGS) -> Ask:
    data = json.dumps({"model": "tiny"} | body).encode()
    return parse(Request("r", "POST", path, "application/json", "s", "x-session-id", tenant, len(data), data), settings)


def shared(one: Ask, other: Ask) -> int:
    """How many blocks both begin with; none is the same behind the first that differs."""
    same = [mine == theirs for mine, theirs in zip(one.blocks, other.blocks, strict=False)]
    begun = same.index(False) if False in same else len(same)
    assert not any(same[begun:])
    return begun


@given(st.binary(max_size=20_000), st.binary(max_size=3000))
def test_a_longer_prompt_begins_with_the_blocks_of_the_shorter(begun: bytes, more: bytes) -> None:
    """What was hashed once stays, whatever follows; the octets that are less than a block have no hash."""
    one, other = chain(memoryview(begun), 7, 0), chain(memoryview(begun + more), 7, 0)
    assert other[: len(one)] == one
    upto = ends(len(one), 1.0, 0)
    assert all(end < len(begun) for end in upto)
    assert list(upto) == sorted(set(upto))


@given(st.binary(min_size=2000, max_size=20_000), st.data())
def test_no_block_behind_a_difference_is_the_same(prompt: bytes, data: st.DataObject) -> None:
    """Each hash covers everything before it."""
    at = data.draw(st.integers(0, len(prompt) - 1))
    other = prompt[:at] + bytes((prompt[at] ^ 1,)) + prompt[at + 1 :]
    one, two = chain(memoryview(prompt), 7, 0), chain(memoryview(other), 7, 0)
    upto = ends(len(one), 1.0, 0)
    assert [mine == theirs for mine, theirs in zip(one, two, strict=True)] == [end <= at for end in upto]


def test_a_long_prompt_has_a_few_dozen_blocks() -> None:
    """128 KiB, as much as the edge shows, are at most fifty look-ups."""
    assert len(chain(memoryview(bytes(131_072)), 7, 0)) <= 50
    assert len(chain(memoryview(bytes(10_000_000)), 7, 0)) <= 64


def test_every_turn_begins_with_the_blocks_of_the_turn_before() -> None:
    """The next turn appends to the list of messages: what was there keeps its hashes, up to the closing bracket."""
    later = [*LONG, {"role": "assistant", "content": "Because. " * 300}, {"role": "user", "content": "Oh."}]
    one, two = read({"messages": LONG}), read({"messages": later})
    assert shared(one, two) == len(one.blocks) > 2
    assert two.ends[: len(one.ends)] == one.ends
    assert one.ends[-1] < one.prompt_tokens < two.prompt_tokens


def test_a_shared_system_prompt_is_a_shared_beginning() -> None:
    """Other users with the same system prompt have its blocks in common, and no more."""
    one, two = read({"messages": LONG}), read({"messages": [LONG[0], {"role": "user", "content": "How? " * 600}]})
    assert 0 < shared(one, two) < len(one.blocks)


@pytest.mark.parametrize(
    ("other", "tenant"),
    [
        ({"tools": TOOLS}, "-"),
        ({"cache_salt": "s"}, "-"),
        ({"model": "big"}, "-"),
        ({"model": "poet"}, "-"),
        ({}, "acme"),
    ],
)
def test_what_engines_do_not_share_shares_no_block(other: dict[str, Any], tenant: str) -> None:
    """Tools, salt, model, adapter and tenant each begin a chain of their own."""
    assert shared(read({"messages": LONG}), read({"messages": LONG} | other, tenant=tenant)) == 0


def test_tools_and_system_are_a_block_of_their_own() -> None:
    """A first turn with the same tools is worth sending where they are cached, whatever it asks."""
    ask = {"system": "Be kind. " * 100, "tools": TOOLS, "messages": [{"role": "user", "content": "Why?"}]}
    other = ask | {"messages": [{"role": "user", "content": "How?"}]}
    one, two = read(ask, "/v1/messages"), read(other, "/v1/messages")
    assert (len(one.blocks), shared(one, two)) == (1, 1)
    assert 300 < one.ends[0] < one.prompt_tokens


def test_blocks_end_where_their_tokens_are_estimated_to_end() -> None:
    """Images and token ids are not so long as they look: the ends are in proportion to the prompt's tokens."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 40_000}}
    ask = read({"messages": [{"role": "user", "content": [picture]}]})
    assert ask.prompt_tokens == 1024
    assert len(ask.blocks) > 10
    assert ask.ends[-1] < 1024
    ids = read({"prompt": [11111] * 4000}, "/v1/completions")
    assert ids.prompt_tokens == 4000
    assert 2000 < ids.ends[-1] < 4000


def test_what_was_seen_of_a_cut_body_has_the_blocks_of_the_whole() -> None:
    """A conversation that outgrows the edge's buffer still matches what the engine holds of it."""
    messages = [LONG[0], {"role": "user", "content": "Why? " * 20_000}]
    data = json.dumps({"model": "tiny", "messages": messages}).encode()
    whole = parse(Request("r", "POST", CHAT, "", "s", "x", "-", len(data), data), SETTINGS)
    cut = parse(Request("r", "POST", CHAT, "", "s", "x", "-", len(data), data[:60_000]), SETTINGS)
    assert shared(whole, cut) == len(cut.blocks) > 20
    assert cut.prompt_tokens == round(len(data) / 4)


@pytest.mark.parametrize(
    "text",
    ["word " * 6000, "слово " * 3000, "ここに" * 3000, "if (a) { return b[c]; }\n" * 1500, "{'a': 'b'}, " * 2000],
)
def test_no_language_is_taken_for_encoded_binary(text: str) -> None:
    """Prose, code and scripts without spaces are measured by their octets."""
    data = {"messages": [{"role": "user", "content": text}]}
    assert read(data).prompt_tokens == pytest.approx(len(json.dumps(data["messages"])) / 4, abs=1)


def test_a_picture_in_the_middle_of_a_long_prompt_is_noticed() -> None:
    """Encoded binary that is a good part of the prompt is not counted as text."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "QUJD" * 10_000}}
    turns = [
        {"role": "user", "content": "word " * 1000},
        {"role": "user", "content": [picture]},
        {"role": "user", "content": "word " * 1000},
    ]
    assert read({"messages": turns}).prompt_tokens < 6000


def test_a_learnt_ratio_counts_at_once() -> None:
    """What the engines report corrects the estimate of the next request, model by model."""
    ratios = {"big": 8.0}
    settings = ParseSettings(("tiny", "big"), ratios=ratios)
    before = read({"messages": LONG}, settings=settings)
    ratios["tiny"] = 2.0
    after = read({"messages": LONG}, settings=settings)
    assert after.prompt_tokens == pytest.approx(2 * before.prompt_tokens, abs=2)
    assert after.blocks == before.blocks
    assert after.ends == tuple(2 * end for end in before.ends)
