"""What the edge did while this router was silent: which engine served a session then, and what it holds since.

A router that was stopped comes back with the bindings of before, and sessions have grown meanwhile. Without this, each
of them would look as if all that was said in between had to be computed at its home, and all would be spread out.
Empty as long as the router answers, so it costs a decision next to nothing.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from router.bindings import with_belief
from router.engine import Engine
from router.parse import Ask
from router.pick import Belief, Binding

_EXPIRED_PER_CALL: Final = 10_000
_NOTHING: Final = (None, 0.0)
_Session = tuple[str, str]  # model, and the session as the edge names it


class Alone:
    """Sessions by model and `stick`, at most `capacity`, none older than `ttl_seconds`; the oldest make room."""

    def __init__(self, capacity: int, ttl_seconds: float) -> None:
        self._capacity = capacity
        self._ttl = ttl_seconds
        self._by_session: OrderedDict[_Session, tuple[Belief, float]] = OrderedDict()

    def served(self, model: str, stick: str, belief: Belief, now: float) -> None:
        """The edge sent this session to `belief.engine` by itself, which holds `belief.tokens` of it now."""
        self._by_session.pop((model, stick), None)
        if len(self._by_session) >= self._capacity:
            self._by_session.popitem(last=False)
        self._by_session[model, stick] = (belief, now)

    def heard(self, ask: Ask, engines: Mapping[str, Engine]) -> Belief | None:
        """What was heard of this session and is not used yet, if the cache of that engine still lives."""
        if not self._by_session:
            return None
        belief, _ = self._by_session.get((ask.model, ask.stick), _NOTHING)
        engine = engines.get(belief.engine) if belief is not None else None
        return belief if belief is not None and engine is not None and engine.health.epoch == belief.epoch else None

    def used(self, ask: Ask) -> None:
        """A decision has taken it over: the session's binding knows better from now on."""
        if self._by_session:
            self._by_session.pop((ask.model, ask.stick), None)

    def expire(self, now: float) -> None:
        """Forget sessions that did not come back; a bounded number per call."""
        for _ in range(_EXPIRED_PER_CALL):
            if not self._by_session:
                return
            session, (_, heard_at) = next(iter(self._by_session.items()))
            if heard_at + self._ttl > now:
                return
            del self._by_session[session]


def joined(binding: Binding | None, heard: Belief | None) -> Binding | None:
    """`binding` with what was heard, if anything; a session without one is at home where it was served."""
    if heard is None:
        return binding
    if binding is None:
        return Binding(heard.engine, (heard,))
    return Binding(binding.home, with_belief(binding.beliefs, heard), binding.strict)
