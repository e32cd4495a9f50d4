"""What engines say about their KV caches, read from the octets they publish. Pure.

vLLM publishes batches: a list of a time and events, each event a map that names its kind (older engines: a list that
begins with it). Fields that are not needed here are not read, so that an engine may send more than is known here.
"""

from typing import Any

import msgspec

Hash = int | bytes
END = -1  # the sequence number that ends a replay
_SEQUENCE_OCTETS = 8


class BlockStored(msgspec.Struct, tag=True, gc=False):
    """The cache now holds these blocks, each behind the one before; the first one behind `parent_block_hash`.

    `extra_keys`: what makes a block another one although its tokens are the same, by block.
    """

    block_hashes: list[Hash]
    parent_block_hash: Hash | None
    token_ids: list[int]
    block_size: int
    lora_id: int | None = None
    medium: str | None = None
    lora_name: str | None = None
    extra_keys: list[Any] | None = None
    group_idx: int | None = None


class BlockRemoved(msgspec.Struct, tag=True, gc=False):
    """The cache holds these blocks no more."""

    block_hashes: list[Hash]
    medium: str | None = None
    group_idx: int | None = None


class AllBlocksCleared(msgspec.Struct, tag=True, gc=False):
    """The cache is empty."""


Event = BlockStored | BlockRemoved | AllBlocksCleared


class Batch(msgspec.Struct, array_like=True, gc=False):
    """What happened in one step of an engine, at its Unix time `ts`."""

    ts: float
    events: list[Event]


class _OldStored(msgspec.Struct, tag="BlockStored", array_like=True, gc=False):
    block_hashes: list[Hash]
    parent_block_hash: Hash | None
    token_ids: list[int]
    block_size: int
    lora_id: int | None = None
    medium: str | None = None


class _OldRemoved(msgspec.Struct, tag="BlockRemoved", array_like=True, gc=False):
    block_hashes: list[Hash]
    medium: str | None = None


class _OldCleared(msgspec.Struct, tag="AllBlocksCleared", array_like=True, gc=False):
    pass


class _OldBatch(msgspec.Struct, array_like=True, gc=False):
    ts: float
    events: list[_OldStored | _OldRemoved | _OldCleared]


_BATCH = msgspec.msgpack.Decoder(Batch)
_OLD_BATCH = msgspec.msgpack.Decoder(_OldBatch)


def read_batch(payload: bytes) -> Batch:
    """Return the batch in these octets. Raises ValueError where they are none."""
    try:
        return _BATCH.decode(payload)
    except msgspec.ValidationError:
        old = _OLD_BATCH.decode(payload)
        return Batch(old.ts, [_renewed(event) for event in old.events])


def read_frames(frames: list[bytes]) -> tuple[int, bytes]:
    """Return sequence number and payload of a message, live or replayed. Raises ValueError where it has none."""
    if len(frames) < 2 or len(frames[-2]) != _SEQUENCE_OCTETS:
        raise ValueError(f"a message of {len(frames)} frames without a sequence number")
    return int.from_bytes(frames[-2], "big", signed=True), frames[-1]


def replay_from(sequence: int) -> list[bytes]:
    """Return the frames that ask for everything from `sequence` on."""
    return [b"", sequence.to_bytes(_SEQUENCE_OCTETS, "big")]


def _renewed(event: _OldStored | _OldRemoved | _OldCleared) -> Event:
    if isinstance(event, _OldStored):
        return BlockStored(
            event.block_hashes,
            event.parent_block_hash,
            event.token_ids,
            event.block_size,
            event.lora_id,
            event.medium,
            # Nothing else says whose adapter it is: its number keeps it apart from the model itself.
            None if event.lora_id is None else f"#{event.lora_id}",
        )
    if isinstance(event, _OldRemoved):
        return BlockRemoved(event.block_hashes, event.medium)
    return AllBlocksCleared()
