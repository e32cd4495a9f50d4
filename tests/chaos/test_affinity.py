"""Sessions stay where their cache is."""

import pytest

from tests.chaos.conftest import Start
from tests.support.load import conversations, ends, hit_ratio, homes
from tests.support.until import until

pytestmark = pytest.mark.lab


@pytest.mark.parametrize("header", ["x-session-id", ""])
async def test_concurrent_sessions_stay_home_and_hit_their_cache(start: Start, header: str) -> None:
    """Named or recognised by how they began: every later turn is at home and hits all but new text."""
    lab, load = await start(4, "--decode-seconds", "0.002")
    talks = conversations(4, "s", words=400, header=header)
    outcomes = await load.rounds(talks, 12)
    home = homes(outcomes)
    later = [one for one in outcomes if one.turn]
    assert ends(outcomes) == {"ok": len(outcomes)}
    assert {one.reason for one in later} == {"home"}
    assert all(one.served_by == home[one.session] for one in outcomes)
    # An oracle computes each turn's new tokens only; a cache works in whole blocks.
    assert hit_ratio(later) >= 0.95
    await until(lab.idle, "no load is left at the router")


async def test_first_turns_spread_over_all_engines(start: Start) -> None:
    """Sessions without a home go where there is least to do, so none of the engines stays idle."""
    lab, load = await start(4, "--decode-seconds", "0.01")
    outcomes = await load.rounds(conversations(16, "s", words=400), 1)
    served = [one.served_by for one in outcomes]
    assert {served.count(engine) for engine in lab.engines} <= {2, 3, 4, 5, 6}
    assert {one.reason for one in outcomes} == {"new"}
