from hypothesis import given
from hypothesis import strategies as st

from tests.engines import tokens

TEXT = st.text(max_size=80).filter(lambda text: not any(0xD800 <= ord(one) < 0xE000 for one in text))


@given(TEXT, TEXT, TEXT)
def test_a_conversation_is_a_prefix_of_its_next_turn(question: str, answer: str, further: str) -> None:
    """The next turn starts with the tokens of this one, its answer included."""
    first = tokens.conversation([("user", question)])
    second = tokens.conversation([("user", question), ("assistant", answer), ("user", further)])
    assert second.startswith(first + tokens.pad(answer))


def test_block_hashes_share_the_blocks_of_a_common_start() -> None:
    """Equal starts have equal hashes, and everything after the first difference differs."""
    one = tokens.block_hashes("a" * 128 + "b" * 128, 16)
    two = tokens.block_hashes("a" * 128 + "c" * 64 + "b" * 64, 16)
    assert one[:2] == two[:2]
    assert one[2] != two[2]
    assert one[3] != two[3]


def test_block_hashes_count_full_blocks_only_and_depend_on_the_salt() -> None:
    """A partial block is not cached, and a cache salt separates tenants."""
    assert len(tokens.block_hashes("a" * 127, 16)) == 1
    assert tokens.block_hashes("a" * 64, 16) != tokens.block_hashes("a" * 64, 16, salt="tenant")


def test_answer_is_the_same_for_the_same_prompt_and_one_token_a_piece() -> None:
    """Determinism lets a test predict an answer; whole tokens keep the next turn aligned."""
    said = tokens.answer("prompt", 5)
    assert said == tokens.answer("prompt", 5)
    assert said != tokens.answer("other", 5)
    assert {len(piece) for piece in said} == {tokens.CHARACTERS_PER_TOKEN}
