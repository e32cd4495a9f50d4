"""Full collections wait for a quiet moment, but not for ever."""

import gc
import subprocess
import sys

from router.tidy import Tidy


def test_full_collection_waits_for_an_idle_router() -> None:
    """At most once a minute when idle, once an hour when busy."""
    runs: list[float] = []
    now = 0.0
    tidy = Tidy(now, lambda: runs.append(now))
    for now in range(1, 3700):
        tidy.tick(now, idle=False)
    assert runs == [3600]
    for now in range(3700, 3800):
        tidy.tick(now, idle=True)
    assert runs == [3600, 3700, 3760]


def test_tame_leaves_only_young_collections_to_the_interpreter() -> None:
    """What lives long is looked at by nobody unless asked."""
    code = "import gc, router.tidy as t; t.tame(); print(gc.get_threshold()[2] > 10**6, gc.get_freeze_count() > 0)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["True", "True"]
    assert gc.get_threshold()[2] < 10**6
