"""Whether affinity does anything: sessions that nobody can recognise are balanced, never kept. Pure."""

from typing import Final

_DECISIONS: Final = 200
_UNNAMED: Final = frozenset({"fingerprint", "prefix"})


class Inert:
    """Looks at the decisions in groups of 200, and says what the last whole group showed.

    `never_repeat`: not one of them was for a session that had been seen before: the key changes with every request, or
    every session has one turn. `unnamed`: more than half carried no session key and were told apart by how they begin.
    """

    __slots__ = ("_count", "_returning", "_unnamed", "never_repeat", "unnamed")

    def __init__(self) -> None:
        self.never_repeat = self.unnamed = False
        self._count = self._returning = self._unnamed = 0

    def decided(self, source: str, *, returning: bool) -> None:
        """Count one decision: what its key was taken from, and whether its session had a home."""
        self._count += 1
        self._returning += returning
        self._unnamed += source in _UNNAMED
        if self._count == _DECISIONS:
            self.never_repeat = self._returning == 0
            self.unnamed = self._unnamed * 2 > _DECISIONS
            self._count = self._returning = self._unnamed = 0
