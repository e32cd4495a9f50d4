"""One try of one request at one engine: headers both ways, the body in slices, the answer up to its first byte."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

SERVER = "ironrack-router"
_SLICE = 65_536
# Of one connection only (RFC 9110, section 7.6.1), and what each side writes for itself.
_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_OWN = frozenset(("host", "content-length", "expect"))
_OURS = "x-ironrack-"
# What the edge says to an engine through us; everything else of ours is for us.
_FOR_ENGINES = frozenset(("x-ironrack-priority", "x-ironrack-cache-salt", "x-ironrack-model"))
_SAID_BY_US = frozenset(("x-served-by", "x-route-reason", "x-error-source", "server"))
# The edge writes its own; an engine's would be a second one.
_NOT_ADDED = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


@dataclass(frozen=True, slots=True)
class Times:
    """How long an engine may take, in seconds: to accept a connection, and between two pieces of its answer."""

    connect: float = 2.0
    silence: float = 1800.0


@dataclass(frozen=True, slots=True)
class Begun:
    """An answer whose first bytes are here; `first` is empty only for an answer without a body."""

    answer: aiohttp.ClientResponse
    first: bytes


class Failed(Exception):
    """An engine gave no answer. `termination`: in HAProxy's letters. `again`: another engine may be asked."""

    def __init__(self, termination: str, what: str, *, again: bool = True) -> None:
        super().__init__(what)
        self.termination = termination
        self.again = again


def session() -> aiohttp.ClientSession:
    """Return a client without limits of its own: no pool, so that no dead connection fails a request that has sent it.

    Nothing is decompressed, followed, kept or added.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=_NOT_ADDED,
        trust_env=False,
    )


async def begin(http: aiohttp.ClientSession, url: URL, headers: Mapping[str, str], body: bytes, times: Times) -> Begun:
    """POST `body` and wait for the first byte of the answer. Raises Failed: nothing of an answer has been seen then."""
    limits = aiohttp.ClientTimeout(total=None, sock_connect=times.connect, sock_read=times.silence)
    try:
        answer = await http.post(url, headers=headers, data=_slices(body), allow_redirects=False, timeout=limits)
    except aiohttp.ClientConnectorError as error:
        raise Failed("SC", "did not accept a connection") from error
    except aiohttp.ConnectionTimeoutError as error:
        raise Failed("SC", "did not accept a connection in time") from error
    except TimeoutError as error:
        raise Failed("sH", "did not answer in time", again=False) from error
    except (aiohttp.ClientError, OSError) as error:
        raise Failed("SH", "broke off before it had answered") from error
    try:
        return Begun(answer, await _first(answer))
    except BaseException:  # the connection is closed whatever ends this, a cancellation too
        answer.close()
        raise


async def _first(answer: aiohttp.ClientResponse) -> bytes:
    try:
        first = await answer.content.readany()
    except TimeoutError as error:
        raise Failed("sH", "did not answer in time", again=False) from error
    except (aiohttp.ClientError, OSError) as error:
        raise Failed("SH", "broke off before it had answered") from error
    if not first and answer.status == 200:
        raise Failed("SH", "sent headers and nothing else")
    return first


async def more(answer: aiohttp.ClientResponse) -> bytes:
    """The next piece of an answer as it comes, empty at its end. Raises Failed where it breaks off."""
    try:
        return await answer.content.readany()
    except TimeoutError as error:
        raise Failed("sD", "fell silent") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Failed("SD", "broke off") from error


async def _slices(body: bytes) -> AsyncIterator[bytes]:
    """Slices, so that a body of megabytes does not stand in the transport as a whole."""
    for start in range(0, len(body), _SLICE):
        yield body[start : start + _SLICE]


def request_headers(headers: "CIMultiDictProxy[str]", size: int, key: str) -> CIMultiDict[str]:
    """What an engine is sent: the client's headers without those of the connection; the engines' key if they want one.

    `size`: the body's length in bytes.
    """
    kept = _end_to_end(headers)
    for name in (*_OWN, *_SAID_BY_US, *(name for name in headers if _for_us(name))):
        kept.popall(name, None)
    kept["Content-Length"] = str(size)
    if key:
        kept["Authorization"] = f"Bearer {key}"
    return kept


def answer_headers(headers: "CIMultiDictProxy[str]", engine: str, why: str) -> CIMultiDict[str]:
    """What the edge is sent: the engine's headers without those of the connection, and who served it, and why there."""
    kept = _end_to_end(headers)
    for name in _SAID_BY_US:
        kept.popall(name, None)
    kept["server"] = SERVER
    kept["x-served-by"] = engine
    kept["x-route-reason"] = why
    return kept


def _end_to_end(headers: "CIMultiDictProxy[str]") -> CIMultiDict[str]:
    named = {name.strip().lower() for value in headers.getall("connection", ()) for name in value.split(",")}
    dropped = _HOP_BY_HOP | named
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in dropped)


def _for_us(name: str) -> bool:
    lower = name.lower()
    return lower.startswith(_OURS) and lower not in _FOR_ENGINES
