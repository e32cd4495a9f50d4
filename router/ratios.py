"""How many characters a token has, learnt for each model from what its engines counted. Pure.

A prompt's tokens are estimated from its characters, and how many those make differs between tokenizers, languages and
code. Engines count the real tokens. Over a while in which an engine saw this router's requests and no others, which
its count of first tokens tells, the two sums give the ratio.
"""

from dataclasses import dataclass
from typing import Final

_FEWEST_TOKENS: Final = 2048  # of a comparison
_WEIGHT: Final = 0.2  # of the newest comparison
_CLAMP: Final = (0.5, 2.0)  # times what is configured
_OTHERS: Final = 0.02  # of the requests may be someone else's


@dataclass(frozen=True, slots=True)
class Counted:
    """An engine's own counters: prompt tokens and first tokens since its process began."""

    prompt_tokens: float
    first_tokens: float


class Ledger:
    """What one engine was sent since its counters were last compared."""

    __slots__ = ("_before", "estimated", "requests")

    def __init__(self) -> None:
        self._before: Counted | None = None
        self.estimated = self.requests = 0

    def sent(self, estimated_tokens: int) -> None:
        """A prompt of about so many tokens was computed there."""
        self.estimated += estimated_tokens
        self.requests += 1

    def void(self) -> None:
        """The engine was sent something that is not in this ledger: begin anew."""
        self._before = None

    def compare(self, counted: Counted) -> float | None:
        """Return real tokens per estimated one, once enough was sent; call it when nothing waits for a first token."""
        before = self._before
        if before is not None and 0 < self.estimated < _FEWEST_TOKENS:
            return None
        ratio = self._ratio(before, counted) if before is not None and self.estimated else None
        self._before = counted
        self.estimated = self.requests = 0
        return ratio

    def _ratio(self, before: Counted, now: Counted) -> float | None:
        requests = now.first_tokens - before.first_tokens
        if abs(requests - self.requests) > _OTHERS * self.requests:
            return None  # others send there, too, or the engine was restarted
        tokens = now.prompt_tokens - before.prompt_tokens
        return tokens / self.estimated if tokens > 0 else None


class Ratios:
    """Characters per token by model, in `by_model`; models of which nothing was learnt are not in it."""

    __slots__ = ("_configured", "by_model")

    def __init__(self, characters_per_token: float) -> None:
        self._configured = characters_per_token
        self.by_model: dict[str, float] = {}

    def configure(self, characters_per_token: float, models: frozenset[str]) -> None:
        """Another figure in the settings starts the learning anew; models that are gone are forgotten."""
        keep = models if characters_per_token == self._configured else frozenset[str]()
        self._configured = characters_per_token
        for model in [model for model in self.by_model if model not in keep]:
            del self.by_model[model]

    def learn(self, model: str, real_per_estimated: float) -> None:
        """Take one comparison over, a little; never further than a factor of 2 from what is configured."""
        old = self.by_model.get(model, self._configured)
        low, high = (self._configured * factor for factor in _CLAMP)
        seen = min(max(old / real_per_estimated, low), high)
        self.by_model[model] = old + _WEIGHT * (seen - old)
