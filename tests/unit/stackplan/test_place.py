"""Where engines go: never a GPU twice, neighbours together, the same answer every time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stackplan.model import Host
from stackplan.place import place, run_of
from stackplan.settings import Model

MODELS = st.lists(
    st.builds(
        lambda replicas, gpus, hosts: Model(
            name="m", source="a/b", replicas=replicas, gpus_per_replica=gpus, hosts=hosts
        ),
        st.integers(0, 6),
        st.integers(0, 8),
        st.lists(st.sampled_from(["h0", "h1", "h2", "h3"]), max_size=2, unique=True),
    ),
    max_size=5,
)
HOSTS = st.lists(st.integers(0, 8), min_size=1, max_size=4).map(
    lambda gpus: [Host(f"h{i}", f"10.0.0.{i + 1}", frozenset({"engines"}), n) for i, n in enumerate(gpus)]
)


def _host(name: str, gpus: int) -> Host:
    return Host(name, "10.0.0.1", frozenset({"engines"}), gpus)


def _model(replicas: int, gpus: int, hosts: list[str] | None = None) -> Model:
    return Model(name="m", source="a/b", replicas=replicas, gpus_per_replica=gpus, hosts=hosts or [])


@given(MODELS, HOSTS)
def test_place_gives_no_gpu_twice(models: list[Model], hosts: list[Host]) -> None:
    """Each GPU belongs to one replica, exists on its host, and a replica's GPUs are neighbours."""
    placed = place(models, hosts).replicas
    claims = [(replica.host, gpu) for replica in placed for gpu in replica.gpus]
    assert len(claims) == len(set(claims))
    counts = {host.name: host.gpus for host in hosts}
    assert all(gpu < counts[host] for host, gpu in claims)
    assert all(list(r.gpus) == list(range(r.gpus[0], r.gpus[0] + len(r.gpus))) for r in placed if r.gpus)


@given(MODELS, HOSTS)
def test_place_puts_every_replica_or_says_so(models: list[Model], hosts: list[Host]) -> None:
    """A model has all its replicas, on hosts it allows, each with all its GPUs; or a sentence names it."""
    placement = place(models, hosts)
    names = {host.name for host in hosts}
    for index, model in enumerate(models):
        mine = [replica for replica in placement.replicas if replica.model == index]
        assert all(len(replica.gpus) == model.gpus_per_replica for replica in mine)
        assert all(replica.host in (model.hosts or names) for replica in mine)
        short = len(mine) < model.replicas
        told = any(text.startswith(f"stack_models[{index}] ") for text in placement.problems)
        assert told == (short and (not model.hosts or bool(names & set(model.hosts))))


@given(MODELS, HOSTS)
def test_place_is_deterministic(models: list[Model], hosts: list[Host]) -> None:
    """A second run finds the same places: nothing moves by itself."""
    assert place(models, hosts) == place(models, hosts)


def test_place_spreads_replicas_over_hosts() -> None:
    """A host that dies takes as few replicas of one model as possible."""
    placed = place([_model(4, 1)], [_host("a", 8), _host("b", 8)]).replicas
    assert [replica.host for replica in placed] == ["a", "b", "a", "b"]


def test_place_puts_large_replicas_first() -> None:
    """Small replicas written first do not break up the host a large one needs."""
    placement = place([_model(8, 1), _model(1, 8)], [_host("a", 8), _host("b", 8)])
    assert placement.problems == []
    assert len({replica.host for replica in placement.replicas if replica.model == 0}) == 1


def test_place_lets_pinned_models_choose_before_free_ones() -> None:
    """A model that may go anywhere makes room for one that may not."""
    placement = place([_model(1, 8), _model(1, 8, ["a"])], [_host("a", 8), _host("b", 8)])
    assert [replica.host for replica in placement.replicas] == ["b", "a"]


def test_run_of_takes_the_first_neighbours() -> None:
    """GPUs 0 and 2 are no pair; 2 and 3 are."""
    assert run_of([0, 2, 3], 2) == (2, 3)
    assert run_of([0, 2, 4], 2) is None
    assert run_of([], 0) == ()
