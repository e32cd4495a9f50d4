"""The most that a cache could have given to this very order of requests: one without end that all engines share."""

from collections.abc import Sequence

from tests.bench.quality.world import Request


def hit_ratios(requests: Sequence[Request], block_tokens: int) -> tuple[float, float]:
    """Share of prompt tokens that had been seen before: by anybody, and by the same session.

    Kind to the oracle: a request's blocks count as held from the moment it arrives.
    """
    seen: set[int] = set()
    by_session: dict[str, set[int]] = {}
    anybody = own = total = 0
    for request in requests:
        mine = by_session.setdefault(request.session.name, set())
        # The last prompt token is always computed: its output is the first of the answer.
        usable = request.blocks[: (request.prompt_tokens - 1) // block_tokens]
        anybody += _leading(usable, seen) * block_tokens
        own += _leading(usable, mine) * block_tokens
        total += request.prompt_tokens
        seen.update(request.blocks)
        mine.update(request.blocks)
    return (anybody / total, own / total) if total else (0.0, 0.0)


def _leading(blocks: Sequence[int], seen: set[int]) -> int:
    for place, block in enumerate(blocks):
        if block not in seen:
            return place
    return len(blocks)
