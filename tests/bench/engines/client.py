"""The load: `python -m tests.bench.engines.client` reads its settings as JSON from stdin and prints what came.

It also reads the engines' counters, at the very moments at which the measured window begins and ends.
"""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any

import uvloop
from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, ServerTimeoutError, TCPConnector

from tests.bench.engines.answers import Turn, event
from tests.bench.engines.counters import Counters, read
from tests.bench.engines.traffic import SHARED_PROMPT, Arrival, Message, Talk, Traffic, arrivals, body, prompts, single

GRACE_SECONDS = 60.0
_NO_LIMIT = ClientTimeout(total=None, sock_connect=30.0)


class _Wrong(Exception):
    """An answer that is none; says why."""


@dataclass(frozen=True, slots=True)
class _Load:
    """One run under way. `zero`: when it began, on the finest clock."""

    traffic: Traffic
    url: str
    engines: Sequence[str]
    client: ClientSession
    zero: float
    turns: list[Turn]
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def now(self) -> float:
        # Not the loop's own time, which uvloop keeps in whole milliseconds.
        return perf_counter() - self.zero

    async def until(self, at: float) -> None:
        await asyncio.sleep(max(at - self.now(), 0.0))

    async def user(self, number: int) -> None:
        """Ask, hear, think, ask again."""
        talk = Talk(self.traffic, number)
        await self.until(talk.starts)
        while self.now() < self.traffic.ends:
            pause = talk.hear(await self.turn(talk.ask(), talk.session))
            await self.until(min(self.now() + pause, self.traffic.ends))

    async def question(self, arrival: Arrival, prompt: str, number: int) -> None:
        await self.until(arrival.at)
        await self.turn(single(self.traffic, prompt, number), "")

    async def turn(self, messages: Sequence[Message], session: str) -> str | None:
        """One question; returns its answer, or nothing for one that failed."""
        turn = Turn(self.now())
        self.turns.append(turn)
        try:
            async with asyncio.timeout(self.traffic.ends + GRACE_SECONDS - turn.begun):
                return await self._ask(
                    turn, messages, {**self.headers, **({"x-session-id": session} if session else {})}
                )
        except ServerTimeoutError as problem:
            turn.wrong = str(problem)
        except TimeoutError:
            turn.wrong = f"no end {GRACE_SECONDS:g} s after the window"
        except (ClientError, OSError, _Wrong) as problem:
            turn.wrong = str(problem) or type(problem).__name__
        return None

    async def _ask(self, turn: Turn, messages: Sequence[Message], headers: dict[str, str]) -> str:
        async with self.client.post(self.url, json=body(self.traffic, messages), headers=headers) as response:
            if response.status != 200:
                raise _Wrong(f"{response.status}: {(await response.text())[:200]}")
            answer = await self._hear(turn, response)
        turn.ended = self.now()
        if not answer:
            raise _Wrong("an answer without text")
        return answer

    async def _hear(self, turn: Turn, response: ClientResponse) -> str:
        parts: list[str] = []
        last = turn.begun
        async for line in response.content:
            found = event(line)
            if found.wrong:
                raise _Wrong(found.wrong)
            if found.done:
                return "".join(parts)
            if found.text:
                now = self.now()
                if parts:
                    turn.gaps.append(now - last)
                else:
                    turn.first = now
                last = now
                parts.append(found.text)
        raise _Wrong("the stream was broken off")

    async def counted(self, at: float) -> list[Counters]:
        """What every engine has counted at a time."""
        await self.until(at)
        return list(await asyncio.gather(*map(self._counters, self.engines)))

    async def _counters(self, engine: str) -> Counters:
        async with self.client.get(f"{engine}/metrics") as response:
            return read(await response.text())


async def run(settings: dict[str, Any]) -> dict[str, Any]:
    """Send one workload; every turn, and what each engine counted within the window."""
    traffic = Traffic(**settings["traffic"])
    # A connection for each turn: none is reused in the moment in which the other side gives it up.
    async with ClientSession(connector=TCPConnector(limit=0, force_close=True), timeout=_NO_LIMIT) as client:
        zero = perf_counter()
        # The key comes on stdin as all settings do: whoever lists processes sees none of it.
        headers = {"authorization": f"Bearer {settings['key']}"} if settings.get("key") else {}
        load = _Load(traffic, settings["url"], settings["engines"], client, zero, [], headers)
        async with asyncio.TaskGroup() as group:
            before = group.create_task(load.counted(traffic.warm))
            after = group.create_task(load.counted(traffic.ends))
            _begin(load, group)
    window = [now.since(then) for now, then in zip(after.result(), before.result(), strict=True)]
    return {"turns": [asdict(turn) for turn in load.turns], "engines": [asdict(one) for one in window]}


def _begin(load: _Load, group: asyncio.TaskGroup) -> None:
    if load.traffic.workload != SHARED_PROMPT:
        for number in range(load.traffic.users):
            group.create_task(load.user(number))
        return
    texts = prompts(load.traffic)
    for number, arrival in enumerate(arrivals(load.traffic)):
        group.create_task(load.question(arrival, texts[arrival.tenant], number))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(uvloop.run(run(json.load(sys.stdin)))))
