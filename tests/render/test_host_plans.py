"""`playbooks/check.yml --tags plan` over recorded hosts: one table, nobody contacted, nothing changed."""

from __future__ import annotations

import os
import re

from tests.support.gpu_hosts import NAMES, planned
from tests.support.playbooks import ansible_playbook
from tests.support.processes import ROOT


def test_plan_of_every_recorded_host_is_printed_as_a_table() -> None:
    """The verdicts are those of the plan, the names of packages stand below, and no task asked a host."""
    bin_ = ROOT / ".venv" / "bin"
    env = os.environ | {"NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1", "PATH": f"{bin_}:{os.environ['PATH']}"}
    done = ansible_playbook("-i", "tests/fixtures/hosts", "playbooks/check.yml", "--tags", "plan", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in NAMES:
        line = re.search(rf"^ +{name} .*$", done.stdout, re.M)
        assert line, name
        assert line[0].rstrip().endswith(planned(name).verdict)
    assert "nvidia-fabricmanager-580 libnvidia-nscq-580" in done.stdout
    assert not re.search(r"changed=[1-9]|failed=[1-9]|Gathering Facts", done.stdout)
