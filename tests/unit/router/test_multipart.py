"""The model of a form, found in any order and spelling, and nothing a client sends raises."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.multipart import read_model

TYPE = "multipart/form-data; boundary=XX"
MODEL = b'content-disposition: form-data; name="model"\r\n\r\nwhisper'
AUDIO = b'content-disposition: form-data; name="file"; filename="a.wav"\r\ncontent-type: audio/wav\r\n\r\n\x00\xff\r\n-'


def _form(*parts: bytes, newline: bytes = b"\r\n", mark: bytes = b"XX") -> bytes:
    return b"".join(b"--" + mark + newline + part + newline for part in parts) + b"--" + mark + b"--" + newline


@pytest.mark.parametrize("parts", [(MODEL, AUDIO), (AUDIO, MODEL), (AUDIO, AUDIO, MODEL, AUDIO)])
def test_model_is_found_wherever_it_stands(parts: tuple[bytes, ...]) -> None:
    """The order of fields is the client's own."""
    assert read_model(_form(*parts), TYPE) == "whisper"


@pytest.mark.parametrize(
    "disposition",
    [
        b'Content-Disposition: form-data; name="model"',
        b"CONTENT-DISPOSITION:form-data;name=model",
        b'content-disposition : form-data; filename="x"; name = "model"',
        b'x-before: 1\r\ncontent-disposition: form-data; name="model"\r\ncontent-type: text/plain',
    ],
)
def test_spelling_of_headers_does_not_matter(disposition: bytes) -> None:
    """Case, quotes, spaces and neighbours are as clients like them."""
    assert read_model(_form(disposition + b"\r\n\r\nwhisper"), TYPE) == "whisper"


@pytest.mark.parametrize(
    "disposition",
    [
        b'content-disposition: form-data; name="file"; filename="model"',
        b'content-disposition: form-data; filename="a; name=model"; name="file"',
        b'content-disposition: form-data; filename="a\\"; name=\\"model"; name="file"',
        b'content-disposition: form-data; name="modela"',
        b"content-type: text/plain; name=model",
    ],
)
def test_only_the_fields_own_name_counts(disposition: bytes) -> None:
    """A file that is called model, or says so inside quotes, is no model field."""
    assert read_model(_form(disposition + b"\r\n\r\nwhisper"), TYPE) is None


@pytest.mark.parametrize(
    "content_type",
    ['multipart/form-data; boundary="XX"', "multipart/form-data;charset=utf-8; BOUNDARY=XX", "multipart/form-data", ""],
)
def test_boundary_is_read_or_taken_from_the_first_line(content_type: str) -> None:
    """Quoted, late in the header, or missing."""
    assert read_model(_form(AUDIO, MODEL), content_type) == "whisper"


def test_line_ends_may_be_bare() -> None:
    """Some clients write LF only."""
    assert read_model(_form(MODEL.replace(b"\r", b""), newline=b"\n"), TYPE) == "whisper"


def test_preamble_before_the_first_boundary_is_skipped() -> None:
    """RFC 2046 allows text before the first delimiter."""
    assert read_model(b"hello\r\n" + _form(MODEL), TYPE) == "whisper"


def test_value_that_was_cut_is_not_a_value() -> None:
    """Half a name would be another model's name."""
    whole = _form(MODEL, AUDIO)
    cut = whole.index(b"whisper") + 4
    assert read_model(whole[:cut], TYPE) is None
    assert read_model(whole[: whole.index(b"--XX", cut) + 4], TYPE) == "whisper"


def test_last_of_several_counts() -> None:
    """The engine takes the last one, and a tenant may not be let past its list by naming another first."""
    assert read_model(_form(MODEL, MODEL.replace(b"whisper", b"other")), TYPE) == "other"


def test_nothing_after_the_closing_boundary_counts() -> None:
    """What follows the end is not part of the form."""
    assert read_model(_form(AUDIO) + _form(MODEL), TYPE) is None


def test_long_value_is_cut_where_no_name_reaches() -> None:
    """Memory and log lines stay bounded."""
    found = read_model(_form(MODEL + b"r" * 5000), TYPE)
    assert found is not None
    assert len(found) == 256


def test_form_of_many_parts_is_given_up() -> None:
    """A body of nothing but delimiters costs a bounded number of steps."""
    assert read_model(_form(*[b""] * 300, MODEL), TYPE) is None


@given(st.binary(max_size=400), st.text(max_size=60))
@example(b"--", "multipart/form-data; boundary=")
@example(b"--\xff\r\n", "; boundary=\udcff")
@example(b"--\xff\r\n", "; boundary=\ud800")
def test_nothing_raises(body: bytes, content_type: str) -> None:
    """Any octets, any header: an answer or None."""
    read_model(body, content_type)
    read_model(body, TYPE)


_NAMES = st.text(st.characters(categories=["L", "N"], include_characters="./:-_"), min_size=1, max_size=60)
_CONTENT = st.binary(max_size=200).filter(lambda data: b"--XX" not in data)


@given(_NAMES, st.lists(_CONTENT, max_size=4), st.integers(0, 4), st.data())
def test_any_model_between_any_files_is_found_and_never_halved(
    name: str, files: list[bytes], place: int, data: st.DataObject
) -> None:
    """The whole form gives the name; any beginning of it gives the name or None."""
    parts = [b'content-disposition: form-data; name="file"; filename="f"\r\n\r\n' + octets for octets in files]
    parts.insert(place, b'content-disposition: form-data; name="model"\r\n\r\n' + name.encode())
    whole = _form(*parts)
    assert read_model(whole, TYPE) == name
    cut = data.draw(st.integers(0, len(whole)))
    assert read_model(whole[:cut], TYPE) in {name, None}


def test_form_of_more_parts_than_are_read_names_nothing() -> None:
    """What stands behind them could name another model."""
    part = b'--XX\r\nContent-Disposition: form-data; name="%b"\r\n\r\ntiny\r\n'
    form = part % b"model" + part % b"other" * 255
    assert read_model(form + b"--XX--\r\n", TYPE) == "tiny"
    assert read_model(form + part % b"model" + b"--XX--\r\n", TYPE) is None
