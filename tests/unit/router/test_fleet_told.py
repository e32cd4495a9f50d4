"""Where engines tell what they hold, decisions go by that."""

from dataclasses import replace

from router.fleet import Fleet
from router.kv_index import KvIndex
from router.kv_wire import BlockRemoved, BlockStored
from router.pick import Why
from tests.support.fleets import SETTINGS, UP, ask, serve

BLOCKS = (11, 12, 13, 14)
TOKENS = list(range(4000))
STORED = BlockStored(list(range(40)), None, TOKENS, 100)


def told_fleet() -> tuple[Fleet, KvIndex, list[str]]:
    """A fleet whose engines are up and listened to, and a prompt that was learnt."""
    told = KvIndex()
    fleet = Fleet(SETTINGS, 0.0, told)
    names = [engine.name for engine in SETTINGS.engines]
    for engine in SETTINGS.engines:
        fleet.probe(engine.name, UP, 0.0)
        fleet.cache(engine.name, 1_000_000)
        told.follow(engine.name, engine.model)
        told.begin(engine.name, whole=True)
    first = ask("r0", key=1, prompt_tokens=4000, blocks=BLOCKS)
    told.learn(first.model, BLOCKS, first.ends, prompt_tokens=4000, tokens=TOKENS, size=100)
    return fleet, told, names


def test_a_prompt_that_another_router_sent_somewhere_is_found_there() -> None:
    """This one never sent it anywhere."""
    fleet, told, names = told_fleet()
    told.apply(names[-1], [STORED])
    choice = serve(fleet, ask("r1", key=2, prompt_tokens=4000, blocks=BLOCKS))
    assert (choice.engine, choice.why, choice.uncached_tokens) == (names[-1], Why.NEW, 1)


def test_a_home_that_dropped_the_conversation_is_not_waited_for() -> None:
    """The engine's word counts for more than what its last turn must have left there."""
    fleet, told, names = told_fleet()
    told.apply(names[0], [STORED])
    first = serve(fleet, ask("r1", key=1, prompt_tokens=4000, blocks=BLOCKS))
    told.apply(first.engine, [BlockRemoved(list(range(10, 40)))])
    again = serve(fleet, ask("r2", key=1, prompt_tokens=4000, blocks=BLOCKS))
    assert (again.engine, again.uncached_tokens) == (first.engine, 3000)


def test_a_prompt_on_its_way_is_expected_where_it_was_sent() -> None:
    """Until the engine has told, it is not held against it that it has not."""
    fleet, told, names = told_fleet()
    told.apply(names[0], [STORED])
    fleet.drain(names[0])
    first = serve(fleet, ask("r1", key=2, prompt_tokens=4000, blocks=BLOCKS))
    second = serve(fleet, ask("r2", key=3, prompt_tokens=4000, blocks=BLOCKS))
    assert (first.uncached_tokens, second.uncached_tokens) == (4000, 1)
    assert first.engine == second.engine != names[0]


def test_a_cache_that_is_lost_is_forgotten() -> None:
    """What an engine told in an earlier life counts no more."""
    fleet, told, names = told_fleet()
    told.apply(names[0], [STORED])
    for process_started in (1.0, 2.0):
        fleet.probe(names[0], replace(UP, epoch_hint=process_started), 1.0)
    assert (told.blocks(names[0]), told.is_whole(names[0])) == (0, False)
