"""A prompt's octets → the hashes of its beginning, block by block. Pure.

Each block's hash covers everything before it, and who asks, so equal hashes mean equal beginnings. Blocks grow along
the prompt: short ones tell shared system prompts apart, long ones keep a long conversation at a few dozen. The last
octets, less than a block, have no hash: what comes after them changes with the next turn.
"""

from bisect import bisect_left
from functools import lru_cache
from itertools import accumulate
from typing import Final

from xxhash import xxh3_64_intdigest

_SIZES: Final = [512] * 4 + [1024] * 6 + [2048] * 8 + [4096] * 38  # octets: 176 KiB in 56 blocks
_UPTO: Final = tuple(accumulate(_SIZES))
_PARTS: Final = tuple(slice(end - size, end) for end, size in zip(_UPTO, _SIZES, strict=True))
_FIRST: Final = 256  # octets before the prompt that make a block of their own


def chain(prompt: memoryview, seed: int, before: int) -> tuple[int, ...]:
    """Return the hashes of the blocks of `prompt`. `seed` covers the `before` octets that stand before it."""
    last = seed
    blocks = [seed] if before >= _FIRST else []
    for part in map(prompt.__getitem__, _PARTS[: bisect_left(_UPTO, len(prompt))]):
        last = xxh3_64_intdigest(part, last)
        blocks.append(last)
    return tuple(blocks)


def ends(number: int, octets_per_token: float, before: int) -> tuple[int, ...]:
    """Return the estimated tokens up to the end of each of `number` blocks, those of `before` octets included."""
    upto = _tokens_upto(octets_per_token)
    if not before:
        return upto[:number]
    first = round(before / octets_per_token)
    if before < _FIRST:
        return tuple([first + tokens for tokens in upto[:number]])
    return (first, *[first + tokens for tokens in upto[: number - 1]])


@lru_cache(maxsize=64)
def _tokens_upto(octets_per_token: float) -> tuple[int, ...]:
    return tuple(round(octets / octets_per_token) for octets in _UPTO)
