"""Full collections wait for a quiet moment, but not for ever."""

import gc
import subprocess
import sys

import pytest

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


# glibc takes the size of a block that was mapped and freed as a sign that such blocks come and go.
_MAPPED = """\
import ctypes, sys
import router.tidy as tidy

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks mapped a b c d e".split()]

look = ctypes.CDLL(None).mallinfo2
look.restype = Info
if "tame" in sys.argv:
    tidy.tame()
before = look().mapped
large = bytearray(16 << 20)
del large
table = bytearray(8 << 20)
print(look().mapped - before >= len(table))
"""


@pytest.mark.parametrize(("tamed", "apart"), [("tame", "True"), ("wild", "False")])
def test_large_tables_have_a_place_of_their_own_however_often_they_come_and_go(tamed: str, apart: str) -> None:
    """So that what they leave goes back to the system, and no hole stays."""
    ran = subprocess.run([sys.executable, "-c", _MAPPED, tamed], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == apart
