"""The router as its image has it: what is compiled does what its source does."""

import subprocess
import sys
from pathlib import Path

import pytest

from router.compile import MODULES
from tests.support.processes import ROOT

# Loaded before anything can load the source. Whatever imports them then, pytest included, gets these.
_RUN = """\
import importlib, sys
import pytest
folder, *names = sys.argv[1:]
sys.path.insert(0, folder)
wrong = [name for name in names if not importlib.import_module(f"router.{name}").__file__.endswith(".so")]
# One test is about the source alone.
tests = ["tests/unit/router", "--ignore=tests/unit/router/test_compile.py", "-q", "-p", "no:cacheprovider"]
sys.exit(f"not compiled: {wrong}" if wrong else pytest.main(tests))
"""


@pytest.mark.timeout(1200)  # mypyc and the C compiler take a minute each on a busy machine, the tests two
def test_compiled_router_passes_every_test_of_its_source(tmp_path: Path) -> None:
    """Every unit and property test of the router, on the modules that its image runs."""
    subprocess.run([sys.executable, "router/compile.py", str(tmp_path)], cwd=ROOT, check=True, capture_output=True)
    command = [sys.executable, "-c", _RUN, str(tmp_path), *MODULES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
