"""The engines that were given: where they are, what they serve, and that they begin empty."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from tests.bench.engines.counters import idle, read
from tests.bench.errors import BenchError

_SECONDS = 10.0
_IDLE_SECONDS = 60.0
# A proxy that the environment names is not for engines.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def addresses(urls: Sequence[str]) -> list[str]:
    """`HOST:PORT` of each engine. Raises BenchError for what cannot be used."""
    found = [_address(url) for url in urls]
    if len(set(found)) < 2 or len(set(found)) < len(found):
        raise BenchError(
            f"--engine: {', '.join(urls) or 'none'}: at least 2 different ones are needed: repeat --engine"
        )
    return found


def key(path: Path | None) -> str:
    """The engines' API key, empty for none. Raises BenchError, which never tells what is in the file."""
    if path is None:
        return ""
    try:
        found = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise BenchError(f"--api-key-file {path}: {type(problem).__name__}: give a file that can be read") from None
    if not found.isascii() or not found.isprintable() or len(found.split()) != 1:
        raise BenchError(f"--api-key-file {path}: not a key: one line with nothing but the key is allowed; give that")
    return found


def model(bases: Sequence[str], wanted: str | None, key: str = "") -> str:
    """The model to ask for: the one given, else the one that every engine lists. Raises BenchError."""
    listed = [_models(base, key) for base in bases]
    common = set.intersection(*map(set, listed))
    if wanted in common:
        return str(wanted)
    if wanted is None and len(common) == 1:
        return common.pop()
    said = ", ".join(sorted(common)) or "nothing"
    raise BenchError(f"--model {wanted}: every engine lists {said}: one of these is allowed; give it as --model")


def check_counters(bases: Sequence[str]) -> None:
    """Raises BenchError when an engine does not count what is measured."""
    for base in bases:
        try:
            read(_get(f"{base}/metrics"))
        except KeyError as missing:
            raise BenchError(f"{base}/metrics: no {missing.args[0]}: it has to be there: enable its metrics") from None


def settle(bases: Sequence[str]) -> None:
    """Wait until no engine works on anything. Raises BenchError."""
    deadline = time.monotonic() + _IDLE_SECONDS
    while not all(idle(_get(f"{base}/metrics")) for base in bases):
        if time.monotonic() > deadline:
            raise BenchError(
                f"engines: still busy after {_IDLE_SECONDS:g} s: only this may use them: end other traffic"
            )
        time.sleep(0.1)


def reset(bases: Sequence[str]) -> bool:
    """Empty the engines' caches; whether all of them allow it."""
    allowed = [_allowed(f"{base}/reset_prefix_cache") for base in bases]
    return all(allowed)


def wait_ready(admin: str, seconds: float = 60.0) -> None:
    """Wait until a router gives work to every engine. Raises BenchError."""
    deadline = time.monotonic() + seconds
    while True:
        engines = json.loads(_get(f"{admin}/admin/engines"))["engines"]
        states = {one["name"]: one["state"] for one in engines}
        if set(states.values()) == {"ready"}:
            return
        if time.monotonic() > deadline:
            raise BenchError(f"{admin}/admin/engines: {states} after {seconds:g} s: all must be ready: see the engines")
        time.sleep(0.1)


def wait_measured(admin: str, believed: float, seconds: float = 90.0) -> bool:
    """Wait until a router has measured how fast each engine computes prompts; whether it could.

    It only measures an engine that has nothing to do, and a measurement within the load would be a part of it.
    """
    deadline = time.monotonic() + seconds
    while True:
        engines = json.loads(_get(f"{admin}/admin/engines"))["engines"]
        # No measurement gives exactly what was believed before.
        if all(one["prefill_tokens_per_second"] != believed for one in engines):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    host = parts.hostname or ""
    if parts.scheme != "http" or not host or ":" in host or not port or parts.path not in ("", "/") or parts.username:
        raise BenchError(f"--engine {url}: http://HOST:PORT is allowed, nothing behind it and no IPv6; give that")
    return f"{host}:{port}"


def _models(base: str, key: str) -> list[str]:
    try:
        return [str(one["id"]) for one in json.loads(_get(f"{base}/v1/models", key))["data"]]
    except (ValueError, KeyError, TypeError):
        raise BenchError(f"{base}/v1/models: no list of models: an OpenAI-compatible engine is needed") from None


def _get(url: str, key: str = "") -> str:
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {key}"} if key else {})
    try:
        with _DIRECT.open(request, timeout=_SECONDS) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as problem:
        hint = "give the engines' key with --api-key-file" if problem.code in (401, 403) else "see the engine's log"
        raise BenchError(f"{url}: answered {problem.code}: 200 is needed; {hint}") from problem
    except OSError as problem:
        raise BenchError(f"{url}: {problem}: an answer is needed; start the engine or correct --engine") from problem


def _allowed(url: str) -> bool:
    request = urllib.request.Request(url, data=b"", method="POST")
    try:
        with _DIRECT.open(request, timeout=_SECONDS) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return False
    except OSError as problem:
        raise BenchError(f"{url}: {problem}: an answer is needed; start the engine or correct --engine") from problem
