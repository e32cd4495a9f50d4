"""Text to tokens to block hashes: the part of a tokenizer that a prefix cache can see.

A token is four characters. Every message is padded to whole tokens, so a conversation that goes on is a prefix of
its next turn, answers included: the property on which a prefix cache lives.
"""

from collections.abc import Iterable, Mapping, Sequence

import xxhash

CHARACTERS_PER_TOKEN = 4
END = "<end"
_SYLLABLES = tuple(f"{a}{b}{c} " for a in "bdlmrstv" for b in "aeio" for c in "nr")
_VOCABULARY = 128_000


def pad(text: str) -> str:
    """Fill `text` up to whole tokens."""
    return text + "\0" * (-len(text) % CHARACTERS_PER_TOKEN)


def count(text: str) -> int:
    """Tokens in `text`, which is padded."""
    return len(text) // CHARACTERS_PER_TOKEN


def message(role: str, content: str) -> str:
    """One message as the chat template writes it."""
    return pad(f"<{role}>") + pad(content) + END


def conversation(messages: Iterable[tuple[str, str]], preamble: str = "") -> str:
    """The whole prompt: tools or other preamble, the messages, and the opening of the answer."""
    return pad(preamble) + "".join(message(role, content) for role, content in messages) + pad("<assistant>")


def plain(content: object) -> str:
    """The text of a message's content: a string, or parts of which text counts as text and the rest as its repr."""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "".join(_part(part) for part in content)
    return "" if content is None else repr(content)


def _part(part: object) -> str:
    if isinstance(part, Mapping):
        text = part.get("text")
        return text if isinstance(text, str) else repr(sorted(part.items(), key=lambda item: str(item[0])))
    return str(part)


def of_ids(ids: Iterable[int]) -> str:
    """A prompt given as token ids, one token each."""
    return "".join(f"{number & 0xFFFF:04x}" for number in ids)


def ids(text: str) -> list[int]:
    """Token ids of a text, as `/tokenize` answers them."""
    padded = pad(text)
    pieces = range(0, len(padded), CHARACTERS_PER_TOKEN)
    return [xxhash.xxh32_intdigest(padded[at : at + CHARACTERS_PER_TOKEN].encode()) % _VOCABULARY for at in pieces]


def block_hashes(text: str, block_tokens: int, salt: str = "") -> tuple[int, ...]:
    """Hash of every full block, each chained to the one before, as vLLM keys its cache."""
    width = block_tokens * CHARACTERS_PER_TOKEN
    parent = xxhash.xxh3_64_intdigest(salt.encode())
    chain = []
    for end in range(width, len(text) + 1, width):
        parent = xxhash.xxh3_64_intdigest(text[end - width : end].encode(), seed=parent)
        chain.append(parent)
    return tuple(chain)


def answer(prompt: str, tokens: int) -> tuple[str, ...]:
    """The answer to a prompt, token by token: always the same for the same prompt."""
    seed = xxhash.xxh32_intdigest(prompt.encode())
    draws = (xxhash.xxh32_intdigest(number.to_bytes(4, "big"), seed) for number in range(tokens))
    return tuple(_SYLLABLES[draw % len(_SYLLABLES)] for draw in draws)
