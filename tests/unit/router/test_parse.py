"""From headers and bodies to what a decision needs."""

import json
from typing import Any

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from router.errors import NeedsProxy, Refused
from router.parse import Ask, ParseSettings, Request, parse, response_key
from router.prompt import FORMS, PATHS
from router.truncated import mend
from stackplan.configs import ROUTES

CHAT = "/v1/chat/completions"
FIELDS = ("prompt_cache_key", "conversation", "previous_response_id", "metadata.user_id", "user")
SETTINGS = ParseSettings(models=("tiny",), fields=FIELDS)
SEVERAL = ParseSettings(models=("tiny", "big", "huge", "vast", "endless"), fields=FIELDS)
HELLO = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
plain_values = st.recursive(
    st.none() | st.booleans() | st.text() | st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)
odd_parts = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("type", "role", "text", "content", "tool_calls", "input", "image_url"), json_values),
)
odd_messages = json_values | st.lists(odd_parts | json_values, max_size=5)
odd_bodies = st.fixed_dictionaries(
    {},
    optional={
        "model": st.just("tiny") | json_values,
        **dict.fromkeys(("messages", "input", "prompt", "system", "instructions", "tools"), odd_messages),
        **dict.fromkeys(("query", "documents", "text_1", "text_2", "data_1", "queries", "items"), odd_messages),
        **dict.fromkeys(("stream", "cache_salt", "user", "metadata", "conversation", "prompt_embeds"), json_values),
    },
)
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 9000}}
requests_text = st.text(alphabet=st.characters(), max_size=20)


def request(
    body: Any,
    path: str = CHAT,
    *,
    method: str = "POST",
    session: str = "",
    source: str = "",
    tenant: str = "-",
    size: int | None = None,
) -> Request:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    whole = len(data) if size is None else size
    return Request("r", method, path, "application/json", session, source, tenant, whole, data)


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": HELLO} | fields


def read(body: Any, path: str = CHAT, **changes: Any) -> Ask:
    return parse(request(body, path, **changes), SETTINGS)


def refusal(body: Any, path: str = CHAT, settings: ParseSettings = SETTINGS, **changes: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        parse(request(body, path, **changes), settings)
    return caught.value


def signed(data: bytes) -> str:
    return str(int.from_bytes(xxhash.xxh64_digest(data), signed=True))


# ------------------------------------------------------------------------------------------------ the session's name


def test_a_session_header_comes_before_everything_else() -> None:
    """The header names the session, whatever the body says; its source is the header's name."""
    one = read(chat(user="u1"), session="abc", source="x-session-id")
    two = read(chat(user="u2", messages=[{"role": "user", "content": "other"}]), session="abc", source="x-session-id")
    assert one.source == "x-session-id"
    assert one.key == two.key


def test_the_stick_of_a_header_is_what_the_edge_computes() -> None:
    """Signed xxh64 with seed 0 of the bare value, as HAProxy's converter gives it."""
    assert read(chat(), session="abc").stick == signed(b"abc")
    assert read(chat(), session="abc", tenant="acme").stick == signed(b"abc|acme")


@pytest.mark.parametrize(
    ("body", "source", "value"),
    [
        (chat(user="u", prompt_cache_key="k"), "prompt_cache_key", b"k"),
        (chat(conversation="c"), "conversation", b"c"),
        (chat(conversation={"id": "c"}), "conversation", b"c"),
        (chat(metadata={"user_id": "m"}, user="u"), "metadata.user_id", b"m"),
        (chat(user=42), "user", b"42"),
        (chat(prompt_cache_key="", user="u"), "user", b"u"),
        (chat(conversation={"name": "x"}, user="u"), "user", b"u"),
    ],
)
def test_body_fields_name_the_session_in_the_configured_order(body: Any, source: str, value: bytes) -> None:
    """The first configured field that holds a text wins; an object stands for its id."""
    ask = read(body)
    assert (ask.source, ask.stick) == (source, signed(value))


def test_a_field_name_inside_a_message_is_no_key() -> None:
    """Only the body's own fields count, not what somebody wrote about them."""
    ask = read(chat(messages=[{"role": "user", "content": '{"user": "alice"}', "user": "bob"}]))
    assert ask.source == "fingerprint"


@pytest.mark.parametrize(
    ("path", "first", "later"),
    [
        (
            CHAT,
            chat(),
            chat(messages=[*HELLO, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "?"}]),
        ),
        (
            "/v1/messages",
            {"model": "tiny", "system": "Be kind.", "messages": HELLO[1:]},
            {"model": "tiny", "system": "Be kind.", "messages": [*HELLO[1:], {"role": "assistant", "content": "Hi"}]},
        ),
        (
            "/v1/responses",
            {"model": "tiny", "instructions": "Be kind.", "input": HELLO[1:]},
            {"model": "tiny", "instructions": "Be kind.", "input": [*HELLO[1:], {"type": "reasoning"}], "stream": True},
        ),
        (
            "/v1/completions",
            {"model": "tiny", "prompt": "word " * 1000},
            {"model": "tiny", "prompt": "word " * 1000 + "more"},
        ),
    ],
)
def test_later_turns_have_the_key_of_the_first(path: str, first: Any, later: Any) -> None:
    """Nothing names the conversation: its beginning does, and it stays the same turn after turn."""
    one, two = read(first, path), read(later, path)
    assert one.source == two.source == "fingerprint"
    assert one.key == two.key


@pytest.mark.parametrize(
    "other",
    [
        chat(cache_salt="s"),
        chat(tools=[{"type": "function", "function": {"name": "f"}}]),
        chat(messages=[{"role": "system", "content": "Be rude."}, HELLO[1]]),
        chat(messages=[HELLO[0], {"role": "user", "content": "Bye"}]),
    ],
)
def test_conversations_that_begin_differently_have_different_keys(other: Any) -> None:
    """Salt, tools, system and first user message tell conversations apart."""
    assert read(chat()).key != read(other).key


def test_the_stick_of_a_chat_is_its_system_and_first_message() -> None:
    """The edge sees the first content, and the second behind a system message, joined."""
    assert read(chat()).stick == signed(b"Be kind.Hello")
    assert read(chat(messages=HELLO[1:])).stick == signed(b"Hello")


@pytest.mark.parametrize(("tenant", "model"), [("other", "tiny"), ("-", "big")])
def test_keys_are_scoped_by_tenant_and_model(tenant: str, model: str) -> None:
    """The same name in another tenant or model is another session."""
    ours = parse(request(chat(), session="abc"), SEVERAL)
    theirs = parse(request(chat(model=model), session="abc", tenant=tenant), SEVERAL)
    assert ours.key != theirs.key


def test_a_tenant_cannot_compute_its_way_to_anothers_stick() -> None:
    """Sticks are scoped by tenant too, as soon as there are tenants."""
    assert read(chat(), session="abc", tenant="t1").stick != read(chat(), session="abc", tenant="t2").stick


def test_a_conversation_keeps_its_key_when_it_gets_long_or_shows_a_picture() -> None:
    """How a body is read depends on its length and on what is in it; whose it is does not."""
    picture = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
    short = read(chat())
    for more in ([picture], [{"role": "assistant", "content": "Hi " * 20_000}], [picture] * 300):
        ask = read(chat(messages=[*HELLO, *more]))
        assert (ask.key, ask.stick, ask.source) == (short.key, short.stick, "fingerprint")


@pytest.mark.parametrize("more", [{}, {"ts": 1}, {"cache": {"type": "x"}}, {"name": "user"}])
@pytest.mark.parametrize("indent", [None, 2])
def test_later_turns_have_the_key_of_the_first_however_they_are_written(
    more: dict[str, Any], indent: int | None
) -> None:
    """Spaces, and what else stands in a message, do not move the end of the beginning."""
    messages = [HELLO[0] | more, HELLO[1] | more]
    later = [*messages, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "?"}]
    one, two = (read(json.dumps(chat(messages=turns), indent=indent).encode()) for turns in (messages, later))
    assert (one.key, one.stick) == (two.key, two.stick)
    assert one.stick == signed(b"Be kind.Hello")


@pytest.mark.parametrize(
    "first", ["ends with \\", '\\" }, ] \\', 'Hi {"a": [1]}, ' * 400, "x" * 60_000, "}, ] " * 30, 'say "user"', ""]
)
def test_later_turns_have_the_key_of_the_first_whatever_it_says(first: str) -> None:
    """The beginning is found among the octets, and found the same in every turn."""
    messages = [HELLO[0], {"role": "user", "content": first}]
    later = [*messages, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "?"}]
    one, two = read(chat(messages=messages)), read(chat(messages=later))
    assert (one.key, one.stick) == (two.key, two.stick)
    assert one.stick == signed(b"Be kind." + first.encode())


# -------------------------------------------------------------------------------------------- the length of a prompt


@pytest.mark.parametrize(
    ("path", "body", "tokens"),
    [
        (CHAT, {"messages": [{"role": "user", "content": "x" * 400}]}, 100),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 400}]}]}, 100),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, 1024),
        (
            CHAT,
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": "x" * 400}}]}]},
            100,
        ),
        ("/v1/completions", {"prompt": "x" * 400}, 100),
        ("/v1/completions", {"prompt": ["x" * 200, "x" * 200]}, 100),
        ("/v1/completions", {"prompt": [1, 2, 3]}, 3),
        ("/v1/completions", {"prompt": [[1, 2, 3], [4, 5]]}, 5),
        ("/v1/completions", {"prompt_embeds": "AAAA"}, 0),
        ("/v1/embeddings", {"input": ["x" * 400]}, 100),
        ("/v1/responses", {"instructions": "x" * 200, "input": "x" * 200}, 100),
        ("/v1/responses", {"input": [{"type": "function_call_output", "output": "x" * 400}]}, 100),
        ("/v1/messages", {"system": [{"text": "x" * 200}], "messages": [{"role": "user", "content": "x" * 200}]}, 100),
        (
            "/v1/messages",
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [{"text": "x" * 400}]}]}]},
            100,
        ),
        ("/v1/messages", {"messages": [{"content": [{"type": "tool_use", "input": {"a": "x" * 392}}]}]}, 100),
        ("/v1/rerank", {"query": "x" * 200, "documents": ["x" * 100, "x" * 100]}, 100),
        ("/v1/rerank", {"query": "x" * 200, "documents": [{"text": "x" * 4096}, {"text": "x" * 3704}]}, 2000),
        ("/v1/rerank", {"query": {"content": [PICTURE]}, "documents": {"content": [PICTURE]}}, 2048),
        ("/v1/score", {"text_1": "x" * 200, "text_2": "x" * 200}, 100),
        ("/v1/score", {"text_1": ["x" * 200], "text_2": ["x" * 100, "x" * 100]}, 100),
        ("/v1/score", {"data_1": "x" * 200, "data_2": [{"content": [PICTURE]}]}, 1074),
        ("/v1/score", {"queries": "x" * 200, "documents": ["x" * 200]}, 100),
        ("/v1/score", {"queries": ["x" * 200], "items": "x" * 200}, 100),
        ("/v1/audio/speech", {"input": "x" * 400, "voice": "alloy"}, 100),
    ],
)
def test_prompt_tokens_count_text_wherever_it_stands(path: str, body: dict[str, Any], tokens: int) -> None:
    """Text by octets per token with a little for each message's frame, an image by an estimate, token ids by number."""
    assert tokens <= read({"model": "tiny"} | body, path).prompt_tokens <= tokens + 30


def test_stream_is_only_what_says_true() -> None:
    """Anything but true is not a stream."""
    assert read(chat(stream=True)).stream
    assert not read(chat(stream="yes")).stream
    assert not read(chat()).stream


# ------------------------------------------------------------------------------- other names, stored responses, forms


NAMED = ParseSettings(models=("tiny", "big"), fields=FIELDS, names={"poet": "tiny", "small": "tiny", "big": "big"})


@pytest.mark.parametrize(
    ("asked", "model", "adapter"), [("tiny", "tiny", ""), ("big", "big", ""), ("poet", "tiny", "poet")]
)
def test_an_adapter_or_alias_is_served_by_its_model(asked: str, model: str, adapter: str) -> None:
    """The model decides where it goes; the name asked for travels along where it is another."""
    ask = parse(request(chat(model=asked)), NAMED)
    assert (ask.model, ask.adapter) == (model, adapter)


def test_a_session_with_another_adapter_is_another_session() -> None:
    """Caches of adapters share nothing."""
    one = parse(request(chat(model="poet"), session="abc"), NAMED)
    two = parse(request(chat(model="tiny"), session="abc"), NAMED)
    assert one.key != two.key
    assert one.stick == two.stick


def test_a_name_that_nobody_serves_is_refused() -> None:
    """Neither model nor adapter nor alias."""
    assert refusal(chat(model="bard"), settings=NAMED).status == 404


def test_what_continues_a_response_names_it() -> None:
    """`previous_response_id` becomes the key under which the response was stored, tenant by tenant."""
    body = {"model": "tiny", "input": "And then?", "previous_response_id": "resp_1"}
    ask = read(body, "/v1/responses", session="abc")
    assert ask.previous == response_key("-", "tiny", "resp_1") != 0
    assert read(body, "/v1/responses", tenant="acme").previous == response_key("acme", "tiny", "resp_1") != ask.previous
    assert read({"model": "tiny", "input": "Hello"}, "/v1/responses").previous == 0
    assert read(chat(previous_response_id="resp_1")).previous == 0


def form(model: str | None, audio: bytes = b"RIFF" * 100) -> bytes:
    parts = [b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + audio]
    if model is not None:
        parts.append(b'Content-Disposition: form-data; name="model"\r\n\r\n' + model.encode())
    return b"".join(b"--xyz\r\n" + part + b"\r\n" for part in parts) + b"--xyz--\r\n"


def speech(
    body: bytes, settings: ParseSettings = NAMED, *, session: str = "", size: int | None = None, name: str = "r"
) -> Ask:
    kind = "multipart/form-data; boundary=xyz"
    whole = len(body) if size is None else size
    path = "/v1/audio/transcriptions"
    return parse(Request(name, "POST", path, kind, session, "x" if session else "", "-", whole, body), settings)


def test_a_form_is_served_by_the_model_it_names() -> None:
    """Speech: no prompt to remember, and no session unless a header names one."""
    ask = speech(form("poet"))
    assert (ask.model, ask.adapter, ask.blocks, ask.source) == ("tiny", "poet", (), "none")
    assert ask.key != speech(form("poet"), name="other").key
    assert speech(form("tiny"), session="abc").key == parse(request(chat(), session="abc"), NAMED).key


def test_a_form_whose_model_was_not_seen_needs_the_proxy() -> None:
    """The field may stand behind megabytes of sound; where there is one model only, it does not matter."""
    body = form("tiny", b"RIFF" * 1000)[:2000]
    with pytest.raises(NeedsProxy):
        speech(body, size=9000)
    assert speech(body, SETTINGS, size=9000).model == "tiny"
    with pytest.raises(Refused):
        speech(form(None))


BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": HELLO},
    "/v1/completions": {"prompt": "Once"},
    "/v1/responses": {"input": "Hello"},
    "/v1/messages": {"messages": HELLO[1:]},
    "/v1/embeddings": {"input": ["Hello"]},
    "/v1/rerank": {"query": "Who?", "documents": ["He.", "She."]},
    "/v1/score": {"text_1": "Who?", "text_2": ["He.", "She."]},
    "/v1/audio/speech": {"input": "Hello", "voice": "alloy"},
}
OFFERED = [route["path"] for route in ROUTES if route["kind"] == "inference"]


@pytest.mark.parametrize("path", OFFERED)
def test_every_route_that_the_edge_offers_can_be_decided(path: str) -> None:
    """What the edge lets in, the router takes: nothing is allowed here and unknown there."""
    kind, body = "application/json", json.dumps({"model": "tiny"} | BODIES.get(path, {})).encode()
    if path not in BODIES:
        kind, body = "multipart/form-data; boundary=xyz", form("tiny")
    asked = Request("r", "POST", path, kind, "", "", "-", len(body), body)
    ask = parse(asked, SETTINGS)
    assert (ask.model, bool(ask.prompt_tokens)) == ("tiny", True)
    assert ask.source == ("fingerprint" if path in BODIES else "none")


def test_no_route_is_decided_that_the_edge_does_not_offer() -> None:
    """Both know the same ones."""
    assert sorted([*PATHS, *FORMS]) == sorted(OFFERED)


def test_what_is_compared_with_something_else_is_another_session() -> None:
    """Same query, other documents: nothing says that they belong together, unless a name does."""
    body = {"model": "tiny", "query": "Who?", "documents": ["He."], "user": ""}
    one, two = read(body, "/v1/rerank"), read(body | {"documents": ["She."]}, "/v1/rerank")
    assert one == read(body | {"top_n": 1}, "/v1/rerank")
    assert (one.key != two.key, one.stick != two.stick) == (True, True)
    assert one.key != read(body | {"query": "What?"}, "/v1/rerank").key
    assert read(body | {"user": "u"}, "/v1/rerank").key == read(body | {"user": "u", "query": "?"}, "/v1/rerank").key


def test_documents_are_remembered_under_their_query_only() -> None:
    """An engine that has read documents for one query has not read them for another."""
    body = {"model": "tiny", "query": "Who?", "documents": ["word " * 1000]}
    one, two = read(body, "/v1/rerank"), read(body | {"query": "What?"}, "/v1/rerank")
    assert len(one.blocks) == len(one.ends) > 0
    assert one.ends[-1] <= one.prompt_tokens
    assert not set(one.blocks) & set(two.blocks)


def test_documents_beyond_the_buffer_are_counted_and_their_model_is_found() -> None:
    """Cut in the middle of a document, whose query and model stand before it."""
    body = json.dumps({"model": "big", "query": "Who?", "documents": ["word " * 100] * 100}).encode()
    ask = parse(request(body[:20_000], "/v1/rerank", size=len(body)), SEVERAL)
    assert (ask.model, ask.prompt_tokens) == ("big", round(len(body) / 4))


# --------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("body", "status", "param", "said"),
    [
        (b"", 400, None, "empty"),
        (b'{"model": "tiny"', 400, None, "a JSON object is needed"),
        (b'{"model": "\xff"}', 400, None, "not UTF-8"),
        (b"[1]", 400, None, "a list"),
        (b"7", 400, None, "a number"),
        (b'"text"', 400, None, "a text"),
        (b"[" * 50_000 + b"]" * 50_000, 400, None, "a list"),
        (b'{"messages":' + b"[" * 50_000 + b"]" * 50_000 + b"}", 400, None, "nested too deeply"),
        ({"messages": HELLO}, 400, "model", "nothing"),
        ({"model": 7, "messages": HELLO}, 400, "model", "a number"),
        ({"model": "", "messages": HELLO}, 400, "model", "an empty text"),
        ({"model": "tiny"}, 400, "messages", "nothing"),
        ({"model": "tiny", "messages": []}, 400, "messages", "empty"),
        ({"model": "tiny", "messages": "hi"}, 400, "messages", "not a list"),
        ({"model": "other", "messages": HELLO}, 404, "model", "'other' is not served here"),
    ],
)
def test_bad_requests_are_refused_with_what_was_found(body: Any, status: int, param: str | None, said: str) -> None:
    """Malformed or incomplete is 400, an unknown model 404, and the message says what was found."""
    refused = refusal(body)
    assert (refused.status, refused.param) == (status, param)
    assert said in refused.message


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/completions", "prompt"),
        ("/v1/responses", "input"),
        ("/v1/embeddings", "input"),
        ("/v1/rerank", "query"),
        ("/v1/score", "text_1"),
        ("/v1/audio/speech", "input"),
    ],
)
def test_a_missing_prompt_is_refused_by_its_name(path: str, name: str) -> None:
    """Each API misses its own field."""
    refused = refusal({"model": "tiny"}, path)
    assert (refused.status, refused.param, refused.code) == (400, name, f"missing_{name}")


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/v1/rerank", {"query": "Who?"}, "documents"),
        ("/v1/rerank", {"query": "Who?", "documents": {}}, "documents"),
        ("/v1/score", {"text_1": "Who?"}, "text_2"),
        ("/v1/score", {"data_1": "Who?", "text_2": "He."}, "data_2"),
        ("/v1/score", {"queries": "Who?", "data_2": "He."}, "documents"),
    ],
)
def test_a_missing_side_of_a_comparison_is_refused_by_its_name(path: str, body: dict[str, Any], name: str) -> None:
    """Two things are compared, whatever they are called."""
    refused = refusal({"model": "tiny"} | body, path)
    assert (refused.status, refused.param) == (400, name)


def test_an_unknown_model_lists_only_a_few_others() -> None:
    """A message stays short however many models are served and however long the asked name is."""
    refused = refusal(chat(model="x" * 10_000), settings=SEVERAL)
    assert "tiny, big, huge and 2 more" in refused.message
    assert "vast" not in refused.message
    assert len(refused.message) < 250


def test_unknown_path_is_404_and_wrong_method_405() -> None:
    """The router checks the route too, so that it is right without an edge before it."""
    assert refusal(chat(), "/v1/nothing").status == 404
    assert refusal(chat(), method="GET").status == 405


# ------------------------------------------------------------------------------------------------ bodies seen in part


def long_chat() -> bytes:
    turns = [{"role": "assistant", "content": 'Well, "é" \\ and 😀 ' * 40}, {"role": "user", "content": "Why?"}] * 100
    return json.dumps(chat(messages=[*HELLO, *turns], user="u"), ensure_ascii=False).encode()


@given(st.integers(200, 100_000), st.booleans())
def test_a_cut_body_keeps_the_key_of_the_whole(length: int, ascii_only: bool) -> None:
    """A conversation that outgrows the edge's buffer is still the same conversation."""
    whole = long_chat()
    data = json.dumps(json.loads(whole)).encode() if ascii_only else whole
    no_field = data.replace(b', "user": "u"}', b"}")
    seen, all_of_it = parse(request(no_field[:length], size=len(no_field)), SEVERAL), read(no_field)
    assert (seen.key, seen.stick, seen.model) == (all_of_it.key, all_of_it.stick, "tiny")


def test_a_cut_body_counts_its_whole_size() -> None:
    """What was not seen is prefilled too."""
    assert read(json.dumps(chat()).encode()[:60], size=400_000).prompt_tokens == 100_000


def test_no_announced_length_counts_for_more_than_any_context_holds() -> None:
    """One header must not make an engine look busy for a year."""
    assert read(json.dumps(chat()).encode()[:60], size=2**63 - 1).prompt_tokens == 4_000_000


def test_a_cut_body_without_a_model_goes_to_the_only_one() -> None:
    """One model: there is nothing to choose."""
    ask = read(b'{"messages": [{"role": "user", "content": "' + b"x" * 1000, size=300_000)
    assert (ask.model, ask.source) == ("tiny", "fingerprint")


def test_a_cut_body_without_a_model_needs_the_proxy_when_there_are_several() -> None:
    """Several names and none seen: only who reads the whole body can tell."""
    data = b'{"messages": [{"role": "user", "content": "\\"model\\": \\"big\\"'
    with pytest.raises(NeedsProxy):
        parse(request(data, size=300_000), SEVERAL)
    with pytest.raises(NeedsProxy):
        parse(request(data, size=300_000), ParseSettings(("tiny",), names={"poet": "tiny"}))


@pytest.mark.parametrize("begin", [b'{"model": "big", "messages": [', b'{"x": {"messages": 1}, "model": "big", "y": ['])
def test_a_cut_body_that_cannot_be_mended_is_searched_for_its_model(begin: bytes) -> None:
    """Too dense to read, but the model is seen: the rest is the engine's business."""
    ask = parse(request(begin + b"[]," * 40_000, size=300_000), SEVERAL)
    assert (ask.model, ask.source) == ("big", "fingerprint" if b'messages": [' in begin else "prefix")


def test_who_may_use_an_adapter_is_not_decided_by_any_name_in_a_body() -> None:
    """A name within another member is good enough to find an engine, but not where names are allowed one by one."""
    body = b'{"metadata": {"model": "big"}, "messages": [{"role": "user", "content": "' + b"x" * 1000
    assert parse(request(body, size=300_000), SEVERAL).model == "big"
    with pytest.raises(NeedsProxy):
        parse(request(body, size=300_000), NAMED)


def test_a_first_message_that_goes_on_behind_the_cut_is_the_same_in_every_turn() -> None:
    """Of a first message beyond the buffer its beginning stands for the conversation, however much was seen."""
    data = json.dumps(chat(messages=[HELLO[0], {"role": "user", "content": "Why? " * 50_000}])).encode()
    one, two, other = (
        read(seen, size=len(data))
        for seen in (data[:100_000], data[:120_000], data[:100_000].replace(b"kind", b"rude"))
    )
    assert one.key == two.key != other.key
    assert one.source == "fingerprint"


def test_a_body_of_unannounced_length_that_fills_the_buffer_counts_as_cut() -> None:
    """A chunked body has no size to compare with: one that fills the buffer and does not end was cut."""
    data = b'{"model": "tiny", "messages": [{"role": "user", "content": "' + b"x" * 120_000
    assert read(data).model == "tiny"


def test_a_header_names_a_cut_session() -> None:
    """The header is there whatever became of the body."""
    assert read(b"garbage", size=300_000, session="abc").key == read(chat(), session="abc").key


@given(st.dictionaries(st.text(), plain_values, max_size=5), st.booleans(), st.data())
def test_mending_the_beginning_of_any_object_keeps_its_first_members(
    members: dict[str, Any], ascii_only: bool, data: st.DataObject
) -> None:
    """Cut anywhere, an object is an object again: its members in order, whole but for the last."""
    whole = json.dumps({"first": "one"} | members, ensure_ascii=ascii_only).encode()
    mended = mend(whole[: data.draw(st.integers(len('{"first": "one"'), len(whole)))])
    assert mended is not None
    expected = {"first": "one"} | members
    assert list(mended) == list(expected)[: len(mended)]
    assert all(mended[name] == expected[name] for name in list(mended)[:-1])


@pytest.mark.parametrize(
    ("seen", "mended"),
    [
        (b'{"a":"x', {"a": "x"}),
        (b'{"a":"xyz\\"', {"a": 'xyz"'}),
        (b'{"a":"xyz\\', {"a": "xyz"}),
        (b'{"a":"xyz\\\\"', {"a": "xyz\\"}),
        (b'{"a":"xyz\\ud83d', {"a": "xyz"}),
        (b'{"a":"xyz\\ud83d\\ude', {"a": "xyz"}),
        ('{"a":"xyz😀"'.encode()[:-3], {"a": "xyz"}),
        (b'{"a":"x","b', {"a": "x"}),
        (b'{"a":"x","b":', {"a": "x"}),
        (b'{"a":"x","b":tr', {"a": "x"}),
        (b'{"a":[{"b":"x"},{"c"', {"a": [{"b": "x"}, {}]}),
        (b'{"a', {}),
        (b"{", {}),
        (b"", None),
        (b"[1,", None),
        (b"{}}", None),
        (b'{"a":]', None),
        (b'{"a":' * 100, None),
    ],
)
def test_mending_keeps_a_text_up_to_the_cut(seen: bytes, mended: dict[str, Any] | None) -> None:
    """A text loses at most a broken end; a name without its value is left out; what is no object stays none."""
    assert mend(seen) == mended


# ------------------------------------------------------------------------------------------------ nothing crashes it


def survives(asked: Request, settings: ParseSettings) -> None:
    try:
        ask = parse(asked, settings)
    except NeedsProxy:
        assert len(settings.models) > 1
        assert asked.size > len(asked.body)
        return
    except Refused as error:
        refused = error
    else:
        assert ask.model in settings.models
        assert 0 <= ask.key < 2**64
        assert -(2**63) <= int(ask.stick) < 2**63
        assert ask.prompt_tokens >= 0
        assert len(ask.blocks) == len(ask.ends)
        assert list(ask.ends) == sorted(ask.ends)
        return
    assert refused.status in (400, 404, 405)
    assert len(refused.message) < 1500


@given(st.binary(max_size=300), st.sampled_from([*PATHS]), st.integers(0, 500), requests_text, requests_text)
def test_arbitrary_bytes_are_read_or_refused(body: bytes, path: str, more: int, session: str, tenant: str) -> None:
    """Whatever bytes and headers come, the answer is an Ask or a refusal."""
    asked = request(body, path, size=len(body) + more, session=session, tenant=tenant)
    survives(asked, SETTINGS)
    survives(asked, SEVERAL)


@given(odd_bodies, st.sampled_from([*PATHS]), st.integers(0, 200))
def test_arbitrary_json_is_read_or_refused(body: dict[str, Any], path: str, missing: int) -> None:
    """Right names with wrong values, whole or cut: an Ask or a refusal."""
    data = json.dumps(body).encode()
    survives(request(data, path), SETTINGS)
    survives(request(data[: len(data) - missing], path, size=len(data)), SEVERAL)


@given(odd_bodies, st.sampled_from([*PATHS]))
def test_reading_twice_gives_the_same(body: dict[str, Any], path: str) -> None:
    """Reading is a pure function."""
    asked = request(body, path)
    try:
        first = parse(asked, SETTINGS)
    except Refused:
        return
    assert parse(asked, SETTINGS) == first
