"""What a GPU host needs, from what it is: pure and typed, knows neither Ansible nor the network.

`detect` reads PCI devices, `plan` says which packages follow from them, `problems` what stands in the way.
"""

from hostplan.gpus import Gpu, Hardware, detect
from hostplan.pci import PciDevice, from_lines, from_sysfs
from hostplan.platforms import Platform

__all__ = ["Gpu", "Hardware", "PciDevice", "Platform", "detect", "from_lines", "from_sysfs"]
