"""What a refused client sees."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import NoEngine, Refused, RouterError, SettingsInvalid, UnknownEngine, openai_body, shown


def test_body_has_openais_shape_and_names_its_producer() -> None:
    """An error body is OpenAI's shape, its type starts with who wrote it, and the request id is beside it."""
    refused = Refused(404, "not_found_error", "model: 'x' is not served here", param="model", code="model_not_found")
    assert json.loads(openai_body(refused, "req-1")) == {
        "error": {
            "message": "model: 'x' is not served here",
            "type": "router_not_found_error",
            "param": "model",
            "code": "model_not_found",
        },
        "request_id": "req-1",
    }


def test_body_of_an_error_without_details_has_nulls() -> None:
    """Param and code are always there, null when there is nothing to say."""
    error = json.loads(openai_body(Refused(400, "invalid_request_error", "body: empty"), "r", producer="edge"))["error"]
    assert error["param"] is None
    assert error["code"] is None
    assert error["type"] == "edge_invalid_request_error"


def test_no_engine_is_a_503_that_says_when_to_come_back() -> None:
    """No engine means 503 with Retry-After, for whoever catches Refused."""
    refused = NoEngine("tiny", "2 ejected", retry_after=7)
    assert isinstance(refused, Refused)
    assert (refused.status, refused.retry_after) == (503, 7)
    assert refused.message == "model: no engine can serve 'tiny' now (2 ejected): try again in 7 s"


@pytest.mark.parametrize("error", [NoEngine("m"), UnknownEngine("e"), SettingsInvalid(("a", "b"))])
def test_everything_raised_on_purpose_is_a_router_error(error: Exception) -> None:
    """One base class catches all of ours and nothing else."""
    assert isinstance(error, RouterError)


def test_settings_invalid_keeps_every_problem() -> None:
    """All problems at once, one a line."""
    assert str(SettingsInvalid(("a: 1", "b: 2"))) == "a: 1\nb: 2"


@given(st.text(max_size=2000))
def test_a_clients_text_is_shown_short_and_on_one_line(text: str) -> None:
    """Whatever a client sends, a message quotes at most a line of it."""
    message = shown(text)
    assert message.isprintable()
    assert len(message) < 800
