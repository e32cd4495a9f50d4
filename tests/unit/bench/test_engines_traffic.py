"""What the benchmark of real engines asks, and how it reads what comes back."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.engines.answers import event
from tests.bench.engines.remote import addresses
from tests.bench.engines.subjects import readdressed
from tests.bench.engines.traffic import WORKLOADS, Talk, Traffic, arrivals, body, prompts, single
from tests.bench.errors import BenchError

TRAFFIC = Traffic("multi-round", "sim", "shape", "text", system=10, history=50, question=5, answer=7, tenants=4)


def test_a_talk_grows_below_the_prompt_that_users_share() -> None:
    """Same system prompt, own history, answers kept, and a question that failed is forgotten."""
    one, other = Talk(TRAFFIC, 0), Talk(TRAFFIC, 1)
    first, foreign = one.ask(), other.ask()
    assert first[0] == foreign[0]
    assert first[1] != foreign[1]
    assert [len(said["content"].split()) for said in first] == [10, 55]
    pause = one.hear("fine")
    assert 0.5 * TRAFFIC.think <= pause <= 1.5 * TRAFFIC.think
    second = one.ask()
    assert second[:2] == first
    assert [said["role"] for said in second] == ["system", "user", "assistant", "user"]
    assert len(second[3]["content"].split()) == 5
    one.hear(None)
    assert one.ask()[:3] == second[:3]


def test_after_its_rounds_a_talk_is_another_one() -> None:
    """Under another name and with another history, below the prompt that stays; however many turns failed before."""
    talk = Talk(replace(TRAFFIC, rounds=2), 0)
    first, session = talk.ask(), talk.session
    talk.hear(None)
    talk.ask()
    talk.hear("one")
    assert (len(talk.ask()), talk.session) == (4, session)
    talk.hear("two")
    again = talk.ask()
    assert again[0] == first[0]
    assert [len(said["content"].split()) for said in again] == [10, 55]
    assert again[1] != first[1]
    assert talk.session != session


def test_only_one_workload_names_its_sessions() -> None:
    """`nameless` is the same traffic without names."""
    named, nameless = (Talk(replace(TRAFFIC, workload=name), 3) for name in ("multi-round", "nameless"))
    assert named.session
    assert nameless.session == ""
    assert named.ask() == nameless.ask()
    assert set(WORKLOADS) == {"multi-round", "nameless", "shared-prompt"}


def test_subjects_share_times_but_no_text() -> None:
    """What is in a cache of one subject's run is nothing to the next one's."""
    mine, theirs = TRAFFIC, replace(TRAFFIC, text_seed="other")
    assert arrivals(mine) == arrivals(theirs)
    assert Talk(mine, 2).starts == Talk(theirs, 2).starts
    assert not {said["content"] for said in Talk(mine, 2).ask()} & {said["content"] for said in Talk(theirs, 2).ask()}
    assert not set(prompts(mine)) & set(prompts(theirs))


def test_tenants_follow_zipf_at_the_rate() -> None:
    """The first tenant asks twice as often as the second, and all of them as often as was asked for."""
    found = arrivals(replace(TRAFFIC, rate=100.0, warm=20.0, seconds=80.0))
    assert len(found) == pytest.approx(10_000, rel=0.05)
    assert all(0 <= one.at < 100.0 for one in found)
    asked = Counter(one.tenant for one in found)
    assert asked[0] / asked[1] == pytest.approx(2.0, rel=0.15)
    assert asked[0] / asked[3] == pytest.approx(4.0, rel=0.2)


def test_a_request_asks_for_exactly_so_many_tokens() -> None:
    """A stream of fixed length without chance; questions differ below one prompt."""
    one, other = single(TRAFFIC, "be brief", 1), single(TRAFFIC, "be brief", 2)
    assert one[0] == other[0] == {"role": "system", "content": "be brief"}
    assert one[1] != other[1]
    asked = body(TRAFFIC, one)
    assert (asked["max_tokens"], asked["min_tokens"], asked["ignore_eos"]) == (7, 7, True)
    assert (asked["model"], asked["stream"], asked["temperature"]) == ("sim", True, 0)


def test_events_are_text_or_an_end_or_wrong() -> None:
    """A role alone, a comment, an empty line and usage without a choice say nothing."""
    assert event(b'data: {"choices":[{"delta":{"content":"hi"}}]}\n').text == "hi"
    assert event(b'data: {"choices":[{"delta":{"reasoning_content":"hm"}}]}\n').text == "hm"
    assert event(b"data: [DONE]\n").done
    silent = (
        b"\n",
        b": ping\n",
        b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}',
        b'data: {"usage":1}',
    )
    for line in silent:
        assert event(line) == event(b"")
    assert "overloaded" in event(b'data: {"error":{"message":"overloaded"}}').wrong
    assert "no JSON" in event(b"data: {").wrong


def test_engines_are_two_or_more_plain_addresses() -> None:
    """A slash at the end is no path; what the edge cannot be told is refused with what is allowed."""
    assert addresses(["http://10.0.0.1:8000", "http://gpu-1:9/"]) == ["10.0.0.1:8000", "gpu-1:9"]
    for wrong in ("https://a:1", "http://a", "http://a:1/v1", "http://[::1]:8000", "a:1", "http://a:x"):
        with pytest.raises(BenchError, match="http://HOST:PORT is allowed"):
            addresses([wrong, "http://b:1"])
    for few in (["http://a:1"], ["http://a:1", "http://a:1/"], []):
        with pytest.raises(BenchError, match="at least 2"):
            addresses(few)


def test_addresses_are_replaced_all_at_once() -> None:
    """A given address may be the planned one of another engine, and a port may begin like another."""
    files = {
        Path("a"): "server x 127.0.0.1:100\nserver y 127.0.0.1:101\nbind 127.0.0.1:1001\nurl: http://127.0.0.1:100"
    }
    found = readdressed(files, {"127.0.0.1:100": "127.0.0.1:101", "127.0.0.1:101": "gpu:8000"})
    assert found == {
        Path("a"): "server x 127.0.0.1:101\nserver y gpu:8000\nbind 127.0.0.1:1001\nurl: http://127.0.0.1:101"
    }
