"""What the tests wait with: silence is no answer, and a mistake is no silence."""

from __future__ import annotations

import pytest

from router.edge_socket import EdgeError
from tests.support import until as module
from tests.support.until import until


async def test_one_that_is_silent_for_a_while_is_asked_again() -> None:
    """A socket that answers late does not end a test whose condition comes true."""
    said = iter([TimeoutError(), EdgeError("found TimeoutError()"), None])

    async def answered() -> bool:
        if (problem := next(said)) is not None:
            raise problem
        return True

    await until(answered, "it answers")
    assert next(said, "all asked") == "all asked"


async def test_one_that_is_silent_for_good_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gives up says what was waited for and what was heard last."""
    monkeypatch.setattr(module, "PATIENCE", 0)

    def refused() -> bool:
        raise ConnectionRefusedError("nobody there")

    with pytest.raises(AssertionError, match=r"it answers: not so within 0 s: .*nobody there"):
        await until(refused, "it answers")


async def test_a_mistake_of_the_test_itself_is_not_waited_for() -> None:
    """A condition that cannot be computed fails at once."""
    with pytest.raises(KeyError):
        await until(lambda: {"a": True}["b"], "never")
