"""What traffic consists of: sessions of turns that share blocks."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.engines.scheduler import Speed


@dataclass(frozen=True, slots=True)
class Turn:
    """One request of a session. `pause`: seconds since the answer before it, or since the session's start."""

    prompt_tokens: int
    answer_tokens: int
    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class Session:
    """Turns over one growing text, which `blocks` names block by block, answers included.

    `tenant`: whose prompt it shares, for reading only.
    """

    name: str
    start: float
    turns: Sequence[Turn]
    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Traffic:
    """A workload: who asks what and when, and the engines it is made for. Sizes in tokens."""

    name: str
    sessions: Sequence[Session]
    block_tokens: int
    cache_tokens: int
    speed: Speed
    engines: int = 8

    @property
    def requests(self) -> int:
        """How many turns there are."""
        return sum(len(session.turns) for session in self.sessions)
