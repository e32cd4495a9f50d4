"""What engines publish is read as it is, and what is none is told apart."""

import msgspec
import pytest

from router.kv_wire import AllBlocksCleared, BlockRemoved, BlockStored, read_batch, read_frames, replay_from


def test_events_as_maps_are_read_and_unknown_fields_skipped() -> None:
    stored = {"type": "BlockStored", "block_hashes": [b"h"], "parent_block_hash": None, "token_ids": [1, 2]}
    events = [
        {**stored, "block_size": 2, "lora_id": None, "medium": "GPU", "lora_name": None, "new": [1]},
        {"type": "BlockRemoved", "block_hashes": [7], "medium": "GPU"},
        {"type": "AllBlocksCleared"},
    ]
    batch = read_batch(msgspec.msgpack.encode([1.5, events, 0]))
    assert batch.ts == 1.5
    assert batch.events == [
        BlockStored([b"h"], None, [1, 2], 2, medium="GPU"),
        BlockRemoved([7], "GPU"),
        AllBlocksCleared(),
    ]


def test_events_as_lists_are_read_too() -> None:
    events = [["BlockStored", [5], 4, [1], 1, 3, "GPU"], ["BlockRemoved", [5]], ["AllBlocksCleared"]]
    batch = read_batch(msgspec.msgpack.encode([1.0, events]))
    assert batch.events == [
        BlockStored([5], 4, [1], 1, 3, "GPU", "#3"),
        BlockRemoved([5]),
        AllBlocksCleared(),
    ]


@pytest.mark.parametrize(
    "payload", [b"", b"\xc1", msgspec.msgpack.encode({"a": 1}), msgspec.msgpack.encode([1.0, [1]])]
)
def test_what_is_no_batch_is_a_value_error(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        read_batch(payload)


def test_live_and_replayed_messages_have_their_number_in_the_same_place() -> None:
    number = (9).to_bytes(8, "big")
    assert read_frames([b"kv", number, b"x"]) == (9, b"x")
    assert read_frames([b"", b"kv", number, b"x"]) == (9, b"x")
    assert read_frames([b"", b"", (-1).to_bytes(8, "big", signed=True), b""]) == (-1, b"")
    assert replay_from(9) == [b"", number]
    with pytest.raises(ValueError, match="sequence"):
        read_frames([b"kv"])
