"""The model that a multipart form names, out of as much of the body as was seen. Pure; never raises.

Speech goes to an engine as a form: a file of megabytes and a few short fields, in whatever order the client likes.
Source of the shapes: RFC 7578 and RFC 2046, section 5.1.
"""

import re
from typing import Final

_MOST_PARTS: Final = 256
_MOST_HEADER_OCTETS: Final = 8192
_MOST_VALUE_OCTETS: Final = 256  # no model's name is that long
_BOUNDARY: Final = re.compile(r';\s*boundary\s*=\s*(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_DISPOSITION: Final = re.compile(rb"^content-disposition[ \t]*:(.*)$", re.IGNORECASE | re.MULTILINE)
_PARAMETER: Final = re.compile(rb';\s*([^\s=;"]{1,64})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))')
_HEADERS_END: Final = re.compile(rb"\r?\n[ \t]*\r?\n")


def read_model(body: bytes, content_type: str) -> str | None:
    """Return the form field `model` of `body`, or None where it was not seen whole.

    Of several such fields the last one counts, as it does for the engine. A value over 256 octets is cut there. A form
    of more than 256 parts names none: what stands behind them might be another.
    """
    boundary = _boundary(body, content_type)
    if not boundary:
        return None
    mark, found = b"--" + boundary, None
    begin = 0 if body.startswith(mark) else _next(body, mark, 0)
    for _ in range(_MOST_PARTS + 1):
        if begin < 0:
            break
        begin += len(mark)
        end = _next(body, mark, begin)
        if end < 0 or body.startswith(b"--", begin):
            break
        found = _value(body, begin, end, found)
        begin = end
    else:
        return None
    return found


def _boundary(body: bytes, content_type: str) -> bytes:
    """The announced boundary; where there is none, the first line of the body will be it."""
    announced = _BOUNDARY.search(content_type)
    if announced is not None:
        return (announced[1] or announced[2]).encode("utf-8", "replace")
    first = body[:_MOST_VALUE_OCTETS].split(b"\n", 1)[0].rstrip(b"\r \t")
    return first[2:] if first.startswith(b"--") else b""


def _next(body: bytes, mark: bytes, start: int) -> int:
    """Where the next delimiter begins that stands at the beginning of a line; -1 for nowhere."""
    at = body.find(b"\n" + mark, start)
    return at + 1 if at >= 0 else -1


def _value(body: bytes, begin: int, end: int, otherwise: str | None) -> str | None:
    """The value of the part between two delimiters if its name is `model`."""
    headers_end = _HEADERS_END.search(body, begin, min(end, begin + _MOST_HEADER_OCTETS))
    if headers_end is None or _name(body[begin : headers_end.start()]) != b"model":
        return otherwise
    at = headers_end.end()
    value = body[at : min(end, at + _MOST_VALUE_OCTETS)]
    if at + len(value) == end:
        value = value.removesuffix(b"\n").removesuffix(b"\r")
    return value.decode("utf-8", "replace").strip() or otherwise


def _name(headers: bytes) -> bytes:
    """The field's name, however it is quoted; parameters that hold one inside their own quotes do not count."""
    line = _DISPOSITION.search(headers)
    for key, quoted, plain in _PARAMETER.findall(line[1] if line else b""):
        if key.lower() == b"name":
            return bytes(quoted or plain).strip()
    return b""
