"""What a GPU host needs, from what it is: pure and typed, knows neither Ansible nor the network.

`detect` finds the GPUs among PCI devices; `plan` decides packages, holds, services and refusals for one host.
"""

from hostplan.driver import Plan, Verdict, as_dict, plan
from hostplan.gpus import Gpu, Hardware, detect
from hostplan.intent import Intent
from hostplan.pci import PciDevice, from_lines, from_sysfs
from hostplan.platforms import Platform
from hostplan.state import State

__all__ = [
    "Gpu",
    "Hardware",
    "Intent",
    "PciDevice",
    "Plan",
    "Platform",
    "State",
    "Verdict",
    "as_dict",
    "detect",
    "from_lines",
    "from_sysfs",
    "plan",
]
