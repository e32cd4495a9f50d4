"""router.yml: what is right becomes settings, everything that is wrong is told at once."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from router.config import check, fleet_settings, load, parse_settings, split_address, spop_limits
from router.errors import SettingsInvalid

GOOD: dict[str, Any] = {
    "listen": {"spop": "127.0.0.1:9901", "http": "127.0.0.1:9902", "events": "127.0.0.1:9903"},
    "models": [{"name": "tiny", "backend": "model-tiny"}],
    "engines": [
        {
            "name": "engine-tiny-0",
            "url": "http://127.0.0.1:8101",
            "model": "tiny",
            "prefill_tokens_per_second": 8000,
        },
        {"name": "engine-tiny-1", "url": "http://[::1]:8102", "model": "tiny"},
    ],
    "routing": {"gate_seconds": 0.25, "kv_weight": 0.05, "characters_per_token": 4.0},
    "sessions": {"headers": ["X-Session-Id"], "fields": ["user"], "capacity": 1000, "ttl_seconds": 60},
    "health": {"interval_seconds": 2, "timeout_seconds": 5, "fail_after": 3, "rise_after": 1},
    "leases": {"ttl_seconds": 3700, "capacity": 100},
    "edge": {"buffer_bytes": 131072},
    "log": {"decisions": False},
}


def problems(**changes: Any) -> tuple[str, ...]:
    """Return what is said about GOOD with some places changed; `a__0__b` is `a[0].b`."""
    raw = copy.deepcopy(GOOD)
    for place, value in changes.items():
        *parents, last = [int(part) if part.isdigit() else part for part in place.split("__")]
        target: Any = raw
        for part in parents:
            target = target[part]
        if isinstance(last, int) and last == len(target):
            target.append(value)
        else:
            target[last] = value
    with pytest.raises(SettingsInvalid) as caught:
        check(raw)
    return caught.value.problems


def test_settings_reach_every_part_as_written() -> None:
    """What stands in the file is what the decision, the fleet and the protocol get."""
    settings = check(GOOD)
    assert settings.sessions.headers == ["x-session-id"]
    assert settings.log.decisions is False
    assert parse_settings(settings).models == ("tiny",)
    assert parse_settings(settings).fields == ("user",)
    fleet = fleet_settings(settings)
    assert [(engine.name, engine.url) for engine in fleet.engines] == [
        ("engine-tiny-0", "http://127.0.0.1:8101"),
        ("engine-tiny-1", "http://[::1]:8102"),
    ]
    assert (fleet.rule.gate_seconds, fleet.rule.kv_weight) == (0.25, 0.05)
    assert (fleet.bindings_capacity, fleet.leases_ttl_seconds, fleet.probe_fail_after) == (1000, 3700, 3)
    assert spop_limits(settings).frame == 131072
    assert spop_limits(settings).payload > 131072


def test_settings_need_only_models_and_engines() -> None:
    """Everything else has a default that works on one host."""
    settings = check({key: GOOD[key] for key in ("models", "engines")})
    assert settings.listen.spop == "127.0.0.1:9901"
    assert settings.log.decisions


def test_tenants_may_name_an_alias_and_a_class() -> None:
    """What a tenant may ask for includes every name a model has, and classes come from `admission`."""
    settings = check(
        GOOD
        | {
            "models": [{"name": "tiny", "backend": "model-tiny", "aliases": ["small"], "adapters": ["sql"]}],
            "admission": {"classes": [{"name": "batch", "weight": 1, "priority": 10}]},
            "tenants": [{"name": "acme", "models": ["sql", "small"], "class": "batch", "tokens_per_minute": 60}],
        }
    )
    assert settings.tenants[0].priority_class == "batch"
    assert settings.admission.classes[0].priority == 10


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"engines__0__url": "x"}, "engines[0].url: found 'x': allowed http://host:port, without a path"),
        ({"engines__0__url": "http://a:99999"}, "engines[0].url: found 'http://a:99999': allowed http://host:port"),
        ({"engines__0__url": "http://a:1/v1"}, "engines[0].url: found 'http://a:1/v1': allowed http://host:port"),
        ({"engines__0__model": "tyny"}, "engines[0].model: found 'tyny': allowed tiny; did you mean 'tiny'?"),
        ({"engines__1__name": "engine-tiny-0"}, "engines[1].name: found 'engine-tiny-0', which engines[0] has already"),
        ({"engines__1__url": "http://127.0.0.1:8101"}, "engines[1].url: found 'http://127.0.0.1:8101', which engines"),
        ({"models__1": {"name": "tiny", "backend": "b"}}, "models[1].name: found 'tiny', which models[0] has already"),
        ({"models__1": {"name": "big", "backend": "b"}}, "models[1].name: found 'big', which no engine serves"),
        ({"routing__gate_second": 1}, "routing: found unknown key 'gate_second': allowed characters_per_token, gate"),
        ({"engine": []}, "the file: found unknown key 'engine': allowed admission, calibrate, decider,"),
        (
            {"engines__0__port": 1},
            "engines[0]: found unknown key 'port': allowed gpu_watch, gpus, kv_events, max_requests, model",
        ),
        ({"routing__gate_seconds": -1}, "routing.gate_seconds: found -1: allowed greater than or equal to 0"),
        ({"routing__gate_seconds": "1"}, "routing.gate_seconds: found '1': allowed a valid number"),
        ({"listen__http": "9902"}, "listen.http: found '9902': allowed host:port"),
        ({"listen__http": "127.0.0.1:9901"}, "listen.http: found '127.0.0.1:9901', which spop has: allowed a port"),
        ({"sessions__headers__0": "X-Request-Id"}, "sessions.headers[0]: found 'X-Request-Id': allowed a header that"),
        ({"engines": []}, "engines: found []: allowed"),
        ({"decider": {"index": 2, "of": 2}}, "decider.index: found 2: allowed less than decider.of (2)"),
        ({"decider": {"shared": "run"}}, "decider.shared: found 'run': allowed an absolute path, or nothing"),
        ({"peers": ["http://a:1", "http://a:1/"]}, "peers[1]: found 'http://a:1/', as in peers[0]: allowed once"),
        ({"models__0__aliases": ["tiny"]}, "models[0].aliases[0]: found 'tiny', which models[0] has already"),
        (
            {"models__0__adapters": ["sql", "sql"]},
            "models[0].adapters[1]: found 'sql', which models[0].adapters[0] has",
        ),
        ({"tenants": [{"name": "a"}, {"name": "a"}]}, "tenants[1].name: found 'a', which tenants[0] has already"),
        ({"tenants": [{"name": "a", "models": ["tyny"]}]}, "tenants[0].models[0]: found 'tyny': allowed tiny; did you"),
        ({"tenants": [{"name": "a", "class": "fast"}]}, "tenants[0].class: found 'fast': allowed default; remove or"),
        (
            {"tenants": [{"name": "a", "clas": "x"}]},
            "tenants[0]: found unknown key 'clas': allowed class, models, name",
        ),
        ({"admission": {"queue_seconds": 4000}}, "admission.queue_seconds: found 4000: allowed at most leases.ttl_"),
        ({"admission": {"classes": [{"name": "a"}, {"name": "a"}]}}, "admission.classes[1].name: found 'a', which"),
        ({"engine_key_file": "key"}, "engine_key_file: found 'key': allowed an absolute path, or nothing"),
        ({"routing": {"kv_events": True}}, "routing.kv_events: found true, but no engine has kv_events"),
        (
            {"routing": {"kv_events": True, "prefix_index": False}, "engines__0__kv_events": {"endpoint": "tcp://a:1"}},
            "routing.kv_events: found true with routing.prefix_",
        ),
        (
            {"engines__0__kv_events": {"endpoint": "udp://a:1"}},
            "engines[0].kv_events.endpoint: found 'udp://a:1': all",
        ),
        ({"engines__0__kv_events": {"endpoint": "tcp://a"}}, "engines[0].kv_events.endpoint: found 'tcp://a': allowed"),
        ({"models__0": {"name": "tiny"}}, "models[0].backend: found nothing: allowed a value; add it"),
    ],
)
def test_problem_says_where_what_was_found_and_what_is_allowed(changes: dict[str, Any], expected: str) -> None:
    """One mistake gives one line an operator can act on."""
    found = problems(**changes)
    assert [problem for problem in found if problem.startswith(expected)], found
    assert len(found) == 1


def test_problems_are_told_all_at_once() -> None:
    """Mistakes of shape and contradictions come together, none hides another."""
    found = problems(
        engines__0__url="x",
        engines__1__name="engine-tiny-0",
        engines__1__model="other",
        routing__gate_seconds=-1,
        healt={},
        listen__events="127.0.0.1:9901",
    )
    assert len(found) == 6


def test_problem_cuts_a_long_value() -> None:
    """A huge value in the file does not become a huge message."""
    [problem] = problems(listen__spop="x" * 10_000)
    assert len(problem) < 300


def test_load_names_the_file(tmp_path: Path) -> None:
    """Every line starts with the file it is about, whether it is wrong, broken or missing."""
    path = tmp_path / "router.yml"
    path.write_text(yaml.safe_dump(GOOD), "utf-8")
    assert load(path).models[0].name == "tiny"
    path.write_text("models: 7\nextra: 1\n", "utf-8")
    with pytest.raises(SettingsInvalid) as wrong:
        load(path)
    assert all(problem.startswith("router.yml: ") for problem in wrong.value.problems)
    assert len(wrong.value.problems) == 3
    path.write_text("models: [", "utf-8")
    with pytest.raises(SettingsInvalid, match="allowed YAML"):
        load(path)
    with pytest.raises(SettingsInvalid, match="No such file"):
        load(tmp_path / "none.yml")


@pytest.mark.parametrize(
    ("text", "pair"), [("h:1", ("h", 1)), ("[::1]:80", ("::1", 80)), ("0.0.0.0:0", ("0.0.0.0", 0))]
)
def test_address_splits_into_host_and_port(text: str, pair: tuple[str, int]) -> None:
    """Addresses are host:port, IPv6 in brackets; port 0 asks for any free one."""
    assert split_address(text) == pair


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*GOOD, "name", "url", "model", "x"]) | st.integers(), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
def test_any_yaml_gives_problems_and_no_other_exception(raw: Any) -> None:
    """Whatever stands in the file, the answer is a list of problems."""
    with pytest.raises(SettingsInvalid) as caught:
        check(raw)
    assert caught.value.problems
